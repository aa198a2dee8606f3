"""The memories: what lies at an address, whether it may be touched, and which wave touched it last.

Addresses are int64 arrays, one a lane; data are uint32 arrays (words, ...), the first axis counting the 32-bit words of
one access, whose upper bits are zero where an access is narrower. Knows no instruction.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer

Addresses = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint32]
Shadow = npt.NDArray[Any]
UNITS: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32}
WRITTEN = {1: 0x01, 2: 0x0101, 4: 0x01010101}
"""A byte of one in each byte of a unit."""

GAP = 256
"""Between two buffers in the arena; also what addresses are kept aligned to."""
NOBODY, MANY = -1, -2
"""Of the waves that wrote or read a byte since the last barrier."""
FILL = 0x7F
"""What uninitialised memory holds: floats of it are large, bfloat16 and float32 alike."""


class Bytes:
    """A run of bytes that is read and written through views of every width."""

    def __init__(self, size: int, fill: int = 0) -> None:
        size = (size + 63) // 64 * 64
        self.u8 = np.full(size, fill, np.uint8)
        self.u16 = self.u8.view(np.uint16)
        self.u32 = self.u8.view(np.uint32)

    def read(self, offsets: Addresses, size: int) -> Words:
        """Take `size` bytes (1, 2 or a multiple of 4, at multiples of min(size, 4)) at each offset."""
        if size == 4:
            return self.u32.take(offsets >> 2)[None]
        if size == 1:
            return self.u8.take(offsets).astype(np.uint32)[None]
        if size == 2:
            return self.u16.take(offsets >> 1).astype(np.uint32)[None]
        words = offsets >> 2
        result = np.empty((size // 4, *offsets.shape), np.uint32)
        for place in range(size // 4):
            self.u32.take(words, out=result[place], mode="clip")
            words = words + 1
        return result

    def write(self, offsets: Addresses, data: Words, size: int) -> None:
        """Put the words of `data` at each offset; where offsets meet, the last one stays."""
        if size == 1:
            self.u8[offsets] = data[0]
        elif size == 2:
            self.u16[offsets >> 1] = data[0]
        else:
            words = offsets >> 2
            for place in range(size // 4):
                self.u32[words + place] = data[place]


def check_alignment(addresses: Addresses, size: int, space: str) -> None:
    """Refuse addresses that are no multiple of the access's size, or of 4 where it is larger.

    Raises:
        Fault: one is misaligned.
    """
    low = min(size, 4) - 1
    if low and (np.bitwise_or.reduce(addresses, axis=None) & low):
        bad = addresses[(addresses & low) != 0].flat[0]
        raise Fault(FaultKind.MISALIGNED, f"{space} address {int(bad):#x} of an access of {size} bytes")


class GlobalMemory:
    """The buffers of a launch in one arena; every byte beside them is out of bounds.

    Args:
        buffers: that the kernel may touch; `give_back` writes them.
    """

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self._buffers = sorted((each for each in buffers if each.content.size), key=lambda each: each.address)
        starts, place = [], GAP
        for buffer in self._buffers:
            place += (buffer.address - place) % GAP
            starts.append(place)
            place += buffer.content.size + GAP
        self.bytes = Bytes(place + GAP)
        self._starts = np.array([each.address for each in self._buffers], np.int64)
        self._ends = np.array([each.address + each.content.size for each in self._buffers], np.int64)
        self._shifts = np.array(starts, np.int64) - self._starts
        self._last = (0, 0, 0)
        for buffer, start in zip(self._buffers, starts, strict=True):
            self.bytes.u8[start : start + buffer.content.size] = buffer.content.reshape(-1)

    def give_back(self) -> None:
        """Write what the arena holds into the buffers."""
        for number, buffer in enumerate(self._buffers):
            start = buffer.address + int(self._shifts[number])
            buffer.content.reshape(-1)[...] = self.bytes.u8[start : start + buffer.content.size]

    def locate(self, addresses: Addresses, size: int) -> Addresses:
        """Addresses -> offsets in the arena.

        Raises:
            Fault: some byte of an access lies in no buffer.
        """
        low, high = int(addresses.min()), int(addresses.max()) + size
        start, end, shift = self._last
        if start <= low and high <= end:
            return addresses + shift
        number = int(np.searchsorted(self._starts, low, side="right")) - 1
        if number >= 0 and high <= self._ends[number]:
            self._last = (int(self._starts[number]), int(self._ends[number]), int(self._shifts[number]))
            return addresses + self._last[2]
        numbers = np.searchsorted(self._starts, addresses, side="right") - 1
        outside = numbers < 0
        if self._starts.size:
            outside |= addresses + size > self._ends[numbers]
        if outside.any():
            raise self._outside(int(addresses[outside].flat[0]), size)
        return addresses + self._shifts[numbers]

    def _outside(self, address: int, size: int) -> Fault:
        """Says which buffer lies nearest."""
        if not self._buffers:
            return Fault(FaultKind.OUT_OF_BOUNDS, f"{size} bytes at {address:#x}: the launch has no buffers")
        distances = [
            max(each.address - address, address + size - each.address - each.content.size) for each in self._buffers
        ]
        near = self._buffers[int(np.argmin(distances))]
        detail = (
            f"{size} bytes at {address:#x}; nearest is {near.name!r} of {near.content.size} bytes at "
            f"{near.address:#x}, byte {address - near.address} of it"
        )
        return Fault(FaultKind.OUT_OF_BOUNDS, detail)

    def read(self, addresses: Addresses, mask: Bools | None, size: int) -> Words:
        """Read `size` bytes of each lane in the mask (None: all); other lanes get zeros. -> (words, *addresses.shape).

        Raises:
            Fault: out of bounds, or misaligned.
        """
        if mask is None:
            check_alignment(addresses, size, "global")
            return self.bytes.read(self.locate(addresses, size), size)
        result = np.zeros((max(size // 4, 1), *addresses.shape), np.uint32)
        chosen = addresses[mask]
        if chosen.size:
            check_alignment(chosen, size, "global")
            result[:, mask] = self.bytes.read(self.locate(chosen, size), size)
        return result

    def write(self, addresses: Addresses, mask: Bools | None, data: Words, size: int) -> None:
        """Write the words of each lane in the mask (None: all).

        Raises:
            Fault: out of bounds, or misaligned.
        """
        if mask is not None:
            addresses, data = addresses[mask], data[:, mask]
        if addresses.size:
            check_alignment(addresses, size, "global")
            self.bytes.write(self.locate(addresses, size), data, size)


class ScratchMemory:
    """Private memory: `size` bytes of each lane of a batch."""

    def __init__(self, waves: int, lanes: int, size: int) -> None:
        self.size = size
        self.stride = (size + 3) // 4 * 4 + 4
        self.bytes = Bytes(waves * lanes * self.stride, FILL)
        self.base = (np.arange(waves * lanes, dtype=np.int64) * self.stride).reshape(waves, lanes)

    def locate(self, addresses: Addresses, mask: Bools, size: int) -> Addresses:
        """Offsets of the lanes in the mask.

        Raises:
            Fault: outside of the lane's own bytes, or misaligned.
        """
        chosen = addresses[mask]
        check_alignment(chosen, size, "scratch")
        if chosen.size and (int(chosen.min()) < 0 or int(chosen.max()) + size > self.size):
            bad = chosen[(chosen < 0) | (chosen + size > self.size)][0]
            raise Fault(FaultKind.OUT_OF_BOUNDS, f"scratch byte {int(bad)} of {self.size}")
        offsets: Addresses = chosen + self.base[mask]
        return offsets


class LocalMemory:
    """LDS of the workgroups of a batch, with what each wave did to each byte since the last barrier.

    Args:
        groups: workgroups of the batch.
        size: bytes of one.
        check: look for races and uninitialised reads.
    """

    def __init__(self, groups: int, size: int, check: bool) -> None:
        self.size, self.check = size, check
        self.stride = (size + 63) // 64 * 64
        self.bytes = Bytes(max(groups * self.stride, 64), FILL)
        if check:
            shape = len(self.bytes.u8)
            self.writer = np.full(shape, NOBODY, np.int8)
            self.reader = np.full(shape, NOBODY, np.int8)
            self.written = np.zeros(shape, np.uint8)

    def barrier(self, group: int) -> None:
        """The waves of a workgroup met: what they did before is ordered before what they do now."""
        if self.check:
            part = slice(group * self.stride, (group + 1) * self.stride)
            self.writer[part] = NOBODY
            self.reader[part] = NOBODY

    def _offsets(self, addresses: Addresses, groups: npt.NDArray[np.int64], size: int) -> Addresses:
        check_alignment(addresses, size, "LDS")
        if int(addresses.min()) < 0 or int(addresses.max()) + size > self.size:
            bad = addresses[(addresses < 0) | (addresses + size > self.size)].flat[0]
            raise Fault(FaultKind.OUT_OF_BOUNDS, f"{size} bytes at LDS address {int(bad):#x} of {self.size}")
        return addresses + groups * self.stride

    def _trace_read(self, offsets: Addresses, places: npt.NDArray[np.int8], size: int) -> None:
        """Look at what was read (any shape), and note who read it."""
        for at, written, writer, reader, mine, nobody, _ in self._shadow(offsets, places, size):
            missing = written.take(at) != written.dtype.type(WRITTEN[written.dtype.itemsize])
            if missing.any():
                self._name_unwritten(at[missing].flat[0] * written.dtype.itemsize, written.dtype.itemsize)
            wrote = writer.take(at)
            raced = (wrote != nobody) & (wrote != mine)
            if raced.any():
                self._compare_bytes("reads", at, writer, places, raced, "wrote")
            read = reader.take(at)
            if ((read != nobody) & (read != mine)).any():
                self._note_readers(at * reader.dtype.itemsize, places, reader.dtype.itemsize)
            else:
                reader[at] = mine

    def _note_readers(self, offsets: Addresses, places: npt.NDArray[np.int8], size: int) -> None:
        """Byte by byte: another wave has read some of them too."""
        for byte in range(size):
            at = offsets + byte
            reader = self.reader[at]
            self.reader[at] = np.where((reader == NOBODY) | (reader == places), places, np.int8(MANY))

    def _trace_write(self, offsets: Addresses, places: npt.NDArray[np.int8], size: int) -> None:
        """Look at what is written (any shape), and note who wrote it."""
        for at, written, writer, reader, mine, nobody, _ in self._shadow(offsets, places, size):
            for table, did in ((writer, "wrote"), (reader, "read")):
                others = table.take(at)
                raced = (others != nobody) & (others != mine)
                if raced.any():
                    self._compare_bytes("writes", at, table, places, raced, did)
            writer[at] = mine
            if (writer.take(at) != mine).any():
                self._compare_bytes("writes", at, writer, places, writer.take(at) != mine, "writes")
            written[at] = WRITTEN[written.dtype.itemsize]

    def _shadow(
        self, offsets: Addresses, places: npt.NDArray[np.int8], size: int
    ) -> Iterator[tuple[Addresses, Shadow, Shadow, Shadow, Shadow, Any, Any]]:
        """The shadow of an access in units of its width, one to four bytes, whose bytes are compared at once."""
        unit = min(size, 4)
        kind = UNITS[unit]
        repeated = kind(WRITTEN[unit])
        mine = places.view(np.uint8).astype(kind) * repeated
        nobody, many = kind(NOBODY & 0xFF) * repeated, kind(MANY & 0xFF) * repeated
        written, writer, reader = (table.view(kind) for table in (self.written, self.writer, self.reader))
        for place in range(size // unit):
            yield offsets // unit + place, written, writer, reader, mine, nobody, many

    def _name_unwritten(self, offset: int, unit: int) -> None:
        byte = next(offset + place for place in range(unit) if not self.written[offset + place])
        raise Fault(FaultKind.UNINITIALISED, f"LDS byte {int(byte % self.stride):#x} that nothing wrote")

    def _compare_bytes(
        self, does: str, at: Addresses, table: Shadow, places: npt.NDArray[np.int8], raced: Bools, did: str
    ) -> None:
        """Of units that differ, find a byte that another wave touched: if there is one, it is a race."""
        unit = table.dtype.itemsize
        offsets, mine = at[raced] * unit, places[raced]
        bytes_of = table.view(np.int8)
        for byte in range(unit):
            others = bytes_of[offsets + byte]
            found = (others != NOBODY) & (others != mine)
            if found.any():
                raise self._race(does, offsets + byte, mine, others, found, did)

    def _race(
        self, does: str, at: Addresses, places: npt.NDArray[Any], others: npt.NDArray[Any], raced: Bools, did: str
    ) -> Fault:
        byte = int(at[raced].flat[0] % self.stride)
        other = int(others[raced].flat[0])
        wave = f"wave {other}" if other >= 0 else "another wave"
        detail = f"wave {int(places[raced].flat[0])} {does} LDS byte {byte:#x} that {wave} {did} since the last barrier"
        return Fault(FaultKind.RACE, detail)

    def conflicts(self, addresses: Addresses, mask: Bools, size: int, banks: int) -> int:
        """Turns beyond the least that the accesses of each wave take, one word a bank and turn.

        Lanes go in groups that could fill the banks once; lanes that read one word share a turn.
        """
        if not self.check:
            return 0
        words = max(size // 4, 1)
        together = max(banks // words, 1)
        lines = addresses.reshape(-1, min(together, addresses.shape[1]))
        masks = mask.reshape(lines.shape)
        word = np.where(masks, lines >> 2, -1)
        word.sort(axis=1)
        fresh = np.ones(word.shape, np.bool_)
        fresh[:, 1:] = word[:, 1:] != word[:, :-1]
        fresh &= word >= 0
        rows = np.nonzero(fresh)[0]
        bank = (word[fresh] % banks) // words
        slots = -(-banks // words)
        counted = np.bincount(rows * slots + bank, minlength=len(lines) * slots).reshape(len(lines), slots)
        worst = counted.max(axis=1)
        return int((worst - (worst > 0)).sum())

    def read(
        self,
        addresses: Addresses,
        mask: Bools,
        size: int,
        groups: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
    ) -> Words:
        """Read `size` bytes of each lane in the mask; other lanes get zeros. -> (words, waves, lanes).

        Args:
            addresses: (waves, lanes), of the lane's own workgroup.
            mask: (waves, lanes).
            size: of one access, in bytes.
            groups: of each wave (waves,), an index into this memory.
            places: number of each wave in its workgroup (waves,).

        Raises:
            Fault: out of bounds, misaligned, uninitialised, or a race.
        """
        result = np.zeros((max(size // 4, 1), *addresses.shape), np.uint32)
        rows = np.nonzero(mask)[0]
        if rows.size:
            offsets = self._offsets(addresses[mask], groups[rows], size)
            if self.check:
                self._trace_read(offsets, places[rows].astype(np.int8), size)
            result[:, mask] = self.bytes.read(offsets, size)
        return result

    def write(
        self,
        addresses: Addresses,
        mask: Bools,
        data: Words,
        size: int,
        groups: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
    ) -> None:
        """Write the words (words, waves, lanes) of each lane in the mask; arguments as of `read`.

        Raises:
            Fault: out of bounds, misaligned, or a race.
        """
        rows = np.nonzero(mask)[0]
        if rows.size:
            offsets = self._offsets(addresses[mask], groups[rows], size)
            if self.check:
                self._trace_write(offsets, places[rows].astype(np.int8), size)
            self.bytes.write(offsets, data[:, mask], size)

    def bytes_of_wave(self, group: int, place: int, offsets: Addresses, writing: bool) -> Addresses:
        """Single bytes of a workgroup's LDS -> their places in `bytes.u8`, looked at as one wave's access.

        Raises:
            Fault: as of `read`.
        """
        flat = offsets.reshape(-1)
        if not flat.size:
            return flat
        at = self._offsets(flat, np.full(flat.shape, group, np.int64), 1)
        if self.check:
            places = np.full(flat.shape, place, np.int8)
            trace = self._trace_write if writing else self._trace_read
            trace(at, places, 1)
        return at

    def read_bytes(self, group: int, place: int, offsets: Addresses) -> npt.NDArray[np.uint8]:
        """Bytes at LDS addresses of any shape, read by one wave. Raises as `read` does."""
        return self.bytes.u8[self.bytes_of_wave(group, place, offsets, writing=False)].reshape(offsets.shape)

    def write_bytes(self, group: int, place: int, offsets: Addresses, data: npt.NDArray[np.uint8]) -> None:
        """Write bytes at LDS addresses of any shape, by one wave. Raises as `write` does."""
        at = self.bytes_of_wave(group, place, offsets, writing=True)
        self.bytes.u8[at] = data.reshape(-1)
