"""What each wave did to each byte of LDS since the last barrier: finds races and reads of what nothing wrote.

Two waves race if both touch one byte, one of them writes, and no barrier orders them; writing the same value is no
race: waves that hold copies of a tensor's elements store them all.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind

Addresses = npt.NDArray[np.int64]
Table = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
WAVES_OF_PLANE = 8
UNITS: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32}
REPEATED = {1: 0x01, 2: 0x0101, 4: 0x01010101}
"""A byte of one in each byte of a unit."""


class Shadow:
    """Of the local memory of some workgroups.

    Args:
        content: the bytes themselves.
        stride: bytes of one workgroup.
        waves: of one workgroup.
    """

    def __init__(self, content: Table, stride: int, waves: int) -> None:
        self.content, self.stride = content, stride
        planes = -(-waves // WAVES_OF_PLANE)
        self.writers = [np.zeros(len(content), np.uint8) for _ in range(planes)]
        self.readers = [np.zeros(len(content), np.uint8) for _ in range(planes)]
        """Bit w % 8 of plane w // 8: wave w did."""
        self.actors = [np.zeros(len(content), np.uint8) for _ in range(planes)]
        """Waves that acted atomically: no race among themselves."""
        self.acted = False
        """Some wave did."""
        self.written = np.zeros(len(content), np.uint8)

    def barrier(self, group: int) -> None:
        """What the waves of a workgroup did before is ordered before what they do from now on."""
        part = slice(group * self.stride, (group + 1) * self.stride)
        for table in (*self.writers, *self.readers, *self.actors):
            table[part] = 0

    def units(self, offsets: Addresses, size: int) -> Iterator[tuple[Addresses, Any]]:
        """An access in units of one, two or four bytes that are looked at at once: (indices, type of the unit)."""
        unit = min(size, 4)
        first = offsets // unit
        for place in range(size // unit):
            yield first + place, UNITS[unit]

    def _bits(self, places: Array, plane: int, kind: Any) -> Array:
        """Each lane's wave as a bit of a plane, in every byte of a unit; 0 in the other planes."""
        bits = np.where(places // WAVES_OF_PLANE == plane, np.left_shift(1, places % WAVES_OF_PLANE), 0)
        result: Array = bits.astype(kind) * kind(REPEATED[kind().itemsize])
        return result

    def reads(self, offsets: Addresses, places: Array, size: int) -> None:
        """Waves `places` read `size` bytes at `offsets` (both (lanes,)).

        Raises:
            Fault: nothing wrote a byte, or another wave wrote it since the last barrier.
        """
        if self.acted:
            self._check_bytes(self.actors, offsets, places, size, "reads", "changed")
        bits: dict[Any, list[Array]] = {}
        for at, kind in self.units(offsets, size):
            if (self.written.view(kind).take(at) != kind(REPEATED[kind().itemsize])).any():
                self._name_unwritten(at, kind)
            mine = bits.setdefault(kind, [self._bits(places, plane, kind) for plane in range(len(self.writers))])
            if any((table.view(kind).take(at) & ~own).any() for table, own in zip(self.writers, mine, strict=True)):
                self._find_writer(at, places, kind)
            for table, own in zip(self.readers, mine, strict=True):
                mark(table.view(kind), at, own)

    def writes(self, offsets: Addresses, places: Array, size: int, data: Array) -> None:
        """Waves write the words `data` (words, lanes): to be told before they are written.

        Raises:
            Fault: another wave read a byte since the last barrier, or wrote another value there.
        """
        if self.acted:
            self._check_bytes(self.actors, offsets, places, size, "writes", "changed")
        unit = min(size, 4)
        bits: dict[Any, list[Array]] = {}
        for number, (at, kind) in enumerate(self.units(offsets, size)):
            mine = bits.setdefault(kind, [self._bits(places, plane, kind) for plane in range(len(self.writers))])
            if any((table.view(kind).take(at) & ~own).any() for table, own in zip(self.readers, mine, strict=True)):
                self._find_other(self.readers, at, places, kind, "writes", "read")
            values = data[number].astype(kind)
            if any((table.view(kind).take(at) & ~own).any() for table, own in zip(self.writers, mine, strict=True)):
                changed = self.content.view(kind).take(at) != values
                self._find_other(self.writers, at[changed], places[changed], kind, "writes", "wrote")
            for table, own in zip(self.writers, mine, strict=True):
                mark(table.view(kind), at, own)
            self.written.view(kind)[at] = REPEATED[unit]

    def acts(self, offsets: Addresses, places: Array, size: int) -> None:
        """Waves act atomically on bytes, which others may do too, but not read or write.

        Raises:
            Fault: nothing wrote a byte, or another wave read or wrote it since the last barrier.
        """
        for byte in range(size):
            if (self.written[offsets + byte] == 0).any():
                self._name_unwritten(offsets + byte, np.uint8)
        self._check_bytes(self.readers, offsets, places, size, "changes", "read")
        self._check_bytes(self.writers, offsets, places, size, "changes", "wrote")
        self.acted = True
        for byte in range(size):
            for plane, table in enumerate(self.actors):
                mark(table, offsets + byte, self._bits(places, plane, np.uint8))

    def _check_bytes(
        self, tables: list[Table], offsets: Addresses, places: Array, size: int, does: str, did: str
    ) -> None:
        for byte in range(size):
            self._find_other(tables, offsets + byte, places, np.uint8, does, did)

    def after_write(self, offsets: Addresses, places: Array, size: int, data: Array) -> None:
        """After the words were written: what another wave overwrote in the same step is a race too."""
        for number, (at, kind) in enumerate(self.units(offsets, size)):
            lost = self.content.view(kind).take(at) != data[number].astype(kind)
            if lost.any():
                self._find_other(self.writers, at[lost], places[lost], kind, "writes", "wrote")

    def _find_other(self, tables: list[Table], at: Addresses, places: Array, kind: Any, does: str, did: str) -> None:
        """Byte by byte: did another wave, in these units? If none did, there is no race."""
        unit = kind().itemsize
        for byte in range(unit):
            offsets = at * unit + byte
            for plane, table in enumerate(tables):
                others = table[offsets] & ~self._bits(places, plane, np.uint8)
                if others.any():
                    lane = int(np.flatnonzero(others)[0])
                    other = plane * WAVES_OF_PLANE + int(others[lane]).bit_length() - 1
                    raise self._race(int(places[lane]), does, int(offsets[lane]), other, did)

    def _find_writer(self, at: Addresses, places: Array, kind: Any) -> None:
        """A byte that another wave wrote and this one did not: if there is one, it is a race."""
        unit = kind().itemsize
        for byte in range(unit):
            offsets = at * unit + byte
            own = np.zeros(len(at), np.bool_)
            for plane, table in enumerate(self.writers):
                own |= (table[offsets] & self._bits(places, plane, np.uint8)) != 0
            self._find_other(self.writers, offsets[~own], places[~own], np.uint8, "reads", "wrote")

    def _name_unwritten(self, at: Addresses, kind: Any) -> None:
        unit = kind().itemsize
        for byte in range(unit):
            missing = self.written[at * unit + byte] == 0
            if missing.any():
                offset = int(at[missing][0]) * unit + byte
                raise Fault(FaultKind.UNINITIALISED, f"LDS byte {offset % self.stride:#x} that nothing wrote")

    def _race(self, place: int, does: str, offset: int, other: int, did: str) -> Fault:
        byte = offset % self.stride
        detail = f"wave {place} {does} LDS byte {byte:#x} that wave {other} {did} since the last barrier"
        return Fault(FaultKind.RACE, detail)


def mark(table: Array, at: Addresses, bits: Array) -> None:
    """table[at] |= bits, also where indices repeat with other bits."""
    table[at] = table.take(at) | bits
    if (table.take(at) & bits != bits).any():
        for one in np.unique(bits):
            chosen = at[bits == one]
            table[chosen] = table.take(chosen) | one
