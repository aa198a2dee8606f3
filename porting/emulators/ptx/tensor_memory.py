"""Tensor memory: 128 lanes of 32-bit columns, handed out by columns, and who touched what unordered.

Cells know whether they were ever written. Order is looked at by granules of 16 lanes and one column: every access
touches whole ones. It does not know any instruction.
Semantics: PTX ISA 9, "Tensor Memory" and "tcgen05.alloc, tcgen05.dealloc, tcgen05.relinquish_alloc_permit".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.clocks import Clocks
from porting.emulators.ptx.machine import Machine

LANES = 128
GRANULE = 16
"""Lanes."""
LEAST_COLUMNS = 32
Cells = npt.NDArray[np.int64]
"""Places: lane * columns + column."""
Words = npt.NDArray[np.uint32]


def columns_of(architecture: int) -> int:
    """Columns of an architecture's tensor memory: 256 KiB, from sm_107 on 288 KiB."""
    return 576 if 107 <= architecture < 110 else 512


@dataclass(frozen=True)
class Area:
    """Cells that one access touches."""

    lanes: slice
    """In granules."""
    columns: slice


class TensorMemory:
    """One program's tensor memory."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.columns = columns_of(machine.architecture)
        self.content: Words = np.zeros(LANES * self.columns, np.uint32)
        self.written = np.zeros(LANES * self.columns, bool)
        self.owner: npt.NDArray[np.int64] = np.full(self.columns, -1)
        """Of each column: the first column of its allocation."""
        # Other bits in each schedule, so that a result that depends on them shows.
        octet = 0xFD if machine.schedule.reverse else 0xFF if machine.schedule.lazy else 0x7F
        self.poison = np.uint32(0x01010101 * octet)
        self.relinquished = False
        self.order = None if machine.shadow is None else TensorOrder(machine.clocks, self.columns)
        self._touched = True

    def reset(self) -> None:
        """As a program finds it: nobody's, poisoned, and nothing written."""
        self.owner[:] = -1
        self.relinquished = False
        if self._touched:
            self.content[:] = self.poison
            self.written[:] = False
            self._touched = False
        if self.order is not None:
            self.order.reset()

    def finish(self) -> None:
        """All of it must have been given back."""
        left = int((self.owner >= 0).sum())
        if left:
            raise Fault(FaultKind.MISUSE, f"{left} columns of tensor memory were not given back")

    def allocate(self, columns: int) -> int:
        """Hand out so many columns: the first one.

        Raises:
            Fault: MISUSE; DEADLOCK, where a device would wait for columns that nobody gives back.
        """
        if columns < LEAST_COLUMNS or columns & (columns - 1) or columns > self.columns:
            raise Fault(FaultKind.MISUSE, f"{columns} columns of tensor memory")
        if self.relinquished:
            raise Fault(FaultKind.MISUSE, "tensor memory is asked for after the right to do so was given up")
        starts = range(0, self.columns - columns + 1, LEAST_COLUMNS)
        # Code must go by the address that it is told, whichever it is.
        for start in reversed(starts) if self.machine.schedule.reverse else starts:
            if (self.owner[start : start + columns] < 0).all():
                self.owner[start : start + columns] = start
                self._touched = True
                return start
        raise Fault(FaultKind.DEADLOCK, f"no {columns} columns of tensor memory are free")

    def release(self, address: int, columns: int, agent: int) -> None:
        """Take an allocation back.

        Raises:
            Fault: MISUSE; RACE, if something under way may still touch it.
        """
        if address >> 16 or not 0 <= address < self.columns:
            raise Fault(FaultKind.MISUSE, f"tensor memory at {address:#x} is given back, which is no allocation's")
        mine = self.owner == address
        if int(mine.sum()) != columns:
            raise Fault(FaultKind.MISUSE, f"{columns} columns at {address} are given back, {int(mine.sum())} were had")
        if self.order is not None:
            self.order.write(agent, [Area(slice(0, LANES // GRANULE), slice(address, address + columns))])
        self.owner[mine] = -1
        self.written.reshape(LANES, -1)[:, mine] = False
        self.content.reshape(LANES, -1)[:, mine] = self.poison

    def expect_owned(self, columns: slice) -> None:
        """See that these columns are of one allocation.

        Raises:
            Fault: OUT_OF_BOUNDS.
        """
        owner = self.owner[columns]
        if columns.start < 0 or columns.stop > self.columns or owner[0] < 0 or (owner != owner[0]).any():
            raise Fault(
                FaultKind.OUT_OF_BOUNDS,
                f"columns {columns.start} to {columns.stop - 1} of tensor memory are not those of one allocation",
            )

    def load(self, cells: Cells) -> Words:
        """The words there, poison where none was written: code loads ahead what it then does not use."""
        return self.content.take(cells)

    def read(self, cells: Cells) -> Words:
        """The words there, for what surely uses them.

        Raises:
            Fault: UNINITIALISED, if looked at.
        """
        if self.machine.schedule.check and not self.written.take(cells).all():
            missing = int(cells[~self.written.take(cells)].flat[0])
            raise Fault(
                FaultKind.UNINITIALISED,
                f"tensor memory was never written at lane {missing // self.columns}, column {missing % self.columns}",
            )
        return self.content.take(cells)

    def write(self, cells: Cells, values: Words) -> None:
        """Write words there."""
        self.content[cells] = values
        self.written[cells] = True


class TensorOrder:
    """Happens-before over tensor memory, among the agents of the clocks."""

    def __init__(self, clocks: Clocks, columns: int) -> None:
        self.clocks = clocks
        shape = (LANES // GRANULE, columns)
        self._writer = np.zeros(shape, np.int64)
        self._written = np.zeros(shape, np.int64)
        """When; 0: never."""
        self._read: dict[int, npt.NDArray[np.int64]] = {}
        """By whom: when last."""

    def reset(self) -> None:
        """Nobody touched anything."""
        self._written[:] = 0
        self._read.clear()

    def read(self, agent: int, areas: Sequence[Area]) -> None:
        """An agent reads.

        Raises:
            Fault: RACE.
        """
        for area in areas:
            self._expect_written_before(agent, area, "reads")
            if agent not in self._read:
                self._read[agent] = np.zeros_like(self._written)
            self._read[agent][area.lanes, area.columns] = self.clocks.time

    def write(self, agent: int, areas: Sequence[Area]) -> None:
        """An agent writes.

        Raises:
            Fault: RACE.
        """
        known = self.clocks.known[agent]
        for area in areas:
            self._expect_written_before(agent, area, "writes")
            for other, when in self._read.items():
                if other != agent and (when[area.lanes, area.columns] > known[other]).any():
                    self._raise(agent, "writes", area, when[area.lanes, area.columns] > known[other], other, "reads")
            self._writer[area.lanes, area.columns] = agent
            self._written[area.lanes, area.columns] = self.clocks.time

    def _expect_written_before(self, agent: int, area: Area, does: str) -> None:
        writer = self._writer[area.lanes, area.columns]
        unknown = self._written[area.lanes, area.columns] > self.clocks.known[agent].take(writer)
        unknown &= writer != agent
        if unknown.any():
            self._raise(agent, does, area, unknown, int(writer[unknown][0]), "writes")

    def _raise(self, agent: int, does: str, area: Area, where: npt.NDArray[np.bool_], other: int, did: str) -> None:
        column = area.columns.start + int(np.argwhere(where)[0, 1])
        me, they = self.clocks.name(agent), self.clocks.name(other)
        raise Fault(
            FaultKind.RACE,
            f"{me} {does} column {column} of tensor memory, which {they} {did}: nothing orders them",
        )
