"""Which writes of warps to shared memory an engine of the asynchronous proxy may see.

Tensor cores and bulk copies see shared memory through another proxy than the warps' own instructions: such an engine
knows of a warp's writes only what a proxy fence, somewhere between the write and the engine's start, made known to it.
Semantics: PTX ISA 9, "Memory Consistency Model: Proxies" and "Causality order".
"""

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.clocks import Clocks

Integers = npt.NDArray[np.int64]


class Proxies:
    """Of every byte of shared memory, who wrote it last.

    Args:
        clocks: of the program.
        size: bytes.
    """

    def __init__(self, clocks: Clocks, size: int) -> None:
        self.clocks = clocks
        self._writer = np.zeros(size, np.int64)
        self._time = np.zeros(size, np.int64)

    def reset(self) -> None:
        """Nothing was written."""
        self._time[:] = 0

    def write(self, offset: Integers, extent: int, agent: Integers) -> None:
        """Agents, one an offset, write `extent` bytes at each."""
        place = _spread(offset, extent)
        self._writer[place] = np.repeat(agent, extent)
        self._time[place] = self.clocks.time

    def expect_fenced(self, offset: Integers, extent: int, engine: Integers) -> None:
        """Engines, one an offset, read `extent` bytes at each: what was written there must be fenced for them.

        Raises:
            Fault: RACE.
        """
        place = _spread(offset, extent)
        writer, time = self._writer.take(place), self._time.take(place)
        least = self.clocks.fenced(np.unique(engine)).min(0)
        if not (least.take(writer) < time).any():
            return
        readers = np.repeat(engine, extent)
        fenced = self.clocks.fenced(np.arange(self.clocks.agents))
        wrong = np.flatnonzero(fenced[readers, writer] < time)
        if len(wrong):
            first = int(wrong[0])
            raise Fault(
                FaultKind.RACE,
                f"{self.clocks.name(int(readers[first]))} reads shared memory at offset {int(place[first])}, which "
                f"{self.clocks.name(int(writer[first]))} wrote: no fence of the asynchronous proxy orders them",
            )


def _spread(offset: Integers, extent: int) -> Integers:
    return (offset[:, None] + np.arange(extent)).ravel()
