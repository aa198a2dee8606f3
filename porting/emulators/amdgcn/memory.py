"""The memories: what lies at an address, whether it may be touched, and which wave touched it last.

Addresses are int64 arrays, one a lane; data are uint32 arrays (words, ...), the first axis counting the 32-bit words of
one access, whose upper bits are zero where an access is narrower. Knows no instruction.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.shadow import Shadow
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer

Addresses = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint32]

GAP = 256
"""Between two buffers in the arena; also what addresses are kept aligned to."""
MASKED = 0x7FFF0000
"""LDS drops what lies past its end. Compilers mask lanes, and whole waves, by an address from here on; one past the
end but below is a fault."""
FILL, OTHER_FILL = 0x7F, 0x3C
"""What uninitialised memory holds: large floats, bfloat16 and float32 alike; by a reversed schedule small ones."""


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

    Raises:
        Fault: two of them overlap.
    """

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self._buffers = sorted((each for each in buffers if each.content.size), key=lambda each: each.address)
        starts, place, end = [], GAP, 0
        for buffer in self._buffers:
            if buffer.address < end:
                raise Fault(FaultKind.MISUSE, f"buffer {buffer.name!r} overlaps another one")
            end = buffer.address + buffer.content.size
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
    """Private memory: `size` bytes of each lane of a batch, `fill` before they are written."""

    def __init__(self, waves: int, lanes: int, size: int, fill: int = FILL) -> None:
        self.size = size
        self.stride = (size + 3) // 4 * 4 + 4
        self.bytes = Bytes(waves * lanes * self.stride, fill)
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
        waves: of one workgroup.
        check: look for races and uninitialised reads.
        fill: what bytes hold before they are written.
    """

    def __init__(self, groups: int, size: int, waves: int, check: bool, fill: int = FILL) -> None:
        self.size = size
        self.stride = (size + 63) // 64 * 64
        self.bytes = Bytes(max(groups * self.stride, 64), fill)
        self.shadow = Shadow(self.bytes.u8, self.stride, waves) if check else None

    def barrier(self, group: int) -> None:
        """The waves of a workgroup met: what they did before is ordered before what they do now."""
        if self.shadow is not None:
            self.shadow.barrier(group)

    def _offsets(self, addresses: Addresses, groups: npt.NDArray[np.int64], size: int) -> Addresses:
        check_alignment(addresses, size, "LDS")
        if int(addresses.min()) < 0 or int(addresses.max()) + size > self.size:
            bad = addresses[(addresses < 0) | (addresses + size > self.size)].flat[0]
            raise Fault(FaultKind.OUT_OF_BOUNDS, f"{size} bytes at LDS address {int(bad):#x} of {self.size}")
        return addresses + groups * self.stride

    def conflicts(self, addresses: Addresses, mask: Bools, size: int, banks: int) -> int:
        """Turns beyond the least that the accesses of each wave take, one word a bank and turn.

        Lanes go in groups that could fill the banks once; lanes that read one word share a turn.
        """
        if self.shadow is None:
            return 0
        words = max(size // 4, 1)
        together = 1 << (max(banks // words, 1).bit_length() - 1)
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
        mask = mask & (addresses < MASKED)
        rows = np.nonzero(mask)[0]
        if rows.size:
            offsets = self._offsets(addresses[mask], groups[rows], size)
            if self.shadow is not None:
                self.shadow.reads(offsets, places[rows], size)
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
        mask = mask & (addresses < MASKED)
        rows = np.nonzero(mask)[0]
        if rows.size:
            offsets = self._offsets(addresses[mask], groups[rows], size)
            self._write_at(offsets, places[rows], data[:, mask], size)

    def _write_at(self, offsets: Addresses, places: npt.NDArray[np.int64], words: Words, size: int) -> None:
        """Write (words, lanes), looked at before and after."""
        if self.shadow is not None:
            self.shadow.writes(offsets, places, size, words)
        self.bytes.write(offsets, words, size)
        if self.shadow is not None:
            self.shadow.after_write(offsets, places, size, words)

    def act_on(
        self,
        addresses: Addresses,
        size: int,
        groups: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
    ) -> Addresses:
        """Where atomic operations act, one address, workgroup and wave a lane: offsets in `bytes`.

        Raises:
            Fault: out of bounds, misaligned, uninitialised, or a race with what is not atomic.
        """
        offsets = self._offsets(addresses, groups, size)
        if self.shadow is not None:
            self.shadow.acts(offsets, places, size)
        return offsets

    def read_bytes(self, group: int, place: int, offsets: Addresses) -> npt.NDArray[np.uint8]:
        """Bytes at LDS addresses of any shape, read by one wave. Raises as `read` does."""
        flat = offsets.reshape(-1)
        if not flat.size:
            return np.zeros(offsets.shape, np.uint8)
        at = self._offsets(flat, np.full(flat.shape, group, np.int64), 1)
        if self.shadow is not None:
            self.shadow.reads(at, np.full(flat.shape, place, np.int64), 1)
        return self.bytes.u8[at].reshape(offsets.shape)

    def write_bytes(self, group: int, place: int, offsets: Addresses, data: npt.NDArray[np.uint8]) -> None:
        """Write bytes at LDS addresses of any shape, by one wave. Raises as `write` does."""
        flat = offsets.reshape(-1)
        if flat.size:
            at = self._offsets(flat, np.full(flat.shape, group, np.int64), 1)
            places = np.full(flat.shape, place, np.int64)
            self._write_at(at, places, data.reshape(1, -1).astype(np.uint32), 1)
