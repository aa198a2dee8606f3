"""The tensor cores' pipe: who gives it operations, in which order they take effect, and which cells they touch.

The operations of one warp take effect in their order; those of another warp come after them where that warp was told of
them. It does not know what an operation computes.
Semantics: PTX ISA 9, "TensorCore 5th Generation: Memory Consistency Model", "Data Layout".
"""

import numpy as np

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.asynchronous import tell
from porting.emulators.ptx.clocks import Integers
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.mbarrier import MBarriers
from porting.emulators.ptx.tensor_memory import GRANULE, LANES, Area, TensorMemory

ALL_LANES = slice(0, LANES // GRANULE)


class Pipe:
    """What each warp has given to the tensor cores."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.memory = machine.unit(TensorMemory)
        self.barriers = machine.unit(MBarriers)
        self._engines: dict[int, int] = {}
        self._issued: dict[int, list[tuple[int, Integers]]] = {}
        """Warp -> when it gave something, and what the engine did and knew by then."""

    def reset(self) -> None:
        """Nothing is under way."""
        self._issued.clear()

    def finish(self) -> None:
        """Everything has taken effect."""

    def enter(self, warp: int) -> int:
        """A warp is about to give the pipe something: its engine."""
        if self.machine.shadow is None:
            return 0
        clocks = self.machine.clocks
        if warp not in self._engines:
            self._engines[warp] = clocks.engine(f"the tensor cores, for warp {warp},")
        engine = self._engines[warp]
        for other, issued in self._issued.items():
            known = [told for time, told in issued if other != warp and time <= clocks.known[warp, other]]
            if known:
                clocks.learn([engine], known[-1])
        clocks.learn([engine], clocks.tell([warp]))
        return engine

    def leave(self, warp: int, engine: int) -> Integers | None:
        """A warp has given it: what there is to know once it has taken effect."""
        told = tell(self.machine, engine)
        if told is not None:
            issued = self._issued.setdefault(warp, [])
            issued.append((self.machine.clocks.tell([warp])[warp], told))
            del issued[:-64]
        return told

    def touch(self, engine: int, areas: list[Area], writes: bool) -> None:
        """The pipe is going to read or write cells.

        Raises:
            Fault: OUT_OF_BOUNDS or RACE.
        """
        for area in areas:
            self.memory.expect_owned(area.columns)
            if self.memory.order is not None and writes:
                self.memory.order.write(engine, [area])
            elif self.memory.order is not None:
                self.memory.order.read(engine, [area])


def rows_of(address: int, rows: int) -> tuple[Integers, slice]:
    """Lane of each row of a matrix of 64 or 128 rows at an address, and the granules of lanes.

    Raises:
        Fault: MISUSE.
    """
    lane, row = address >> 16, np.arange(rows)
    if lane not in ((0,) if rows == 128 else (0, 16)):
        raise Fault(FaultKind.MISUSE, f"a matrix of {rows} rows at lane {lane} of tensor memory")
    if rows == 128:
        return row, ALL_LANES
    return lane + row // 16 * 32 + row % 16, slice(lane // GRANULE, LANES // GRANULE, 2)
