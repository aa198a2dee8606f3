"""The memories that a kernel addresses: global (a launch's buffers), shared, and each thread's local.

Every access is bounds- and alignment-checked. Shared memory knows besides which bytes were ever written and which
an asynchronous copy will still write. Races are looked for elsewhere.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer
from porting.emulators.ptx.types import UNSIGNED, Row

Addresses = npt.NDArray[np.int64]
"""Of bytes, one an active thread."""

SHARED_BASE = 1024
"""Where a program's shared memory begins: the first KiB is the system's from sm_90 on, and a null pointer shows."""
ALIGNMENT = 16
"""Bytes: the largest element that an instruction moves."""
ALL_WRITTEN = {1: 0x01, 2: 0x0101, 4: 0x01010101, 8: 0x0101010101010101}
"""Size -> what the marks of an element of that size read as if each of its bytes is marked."""


class Segment:
    """Consecutive bytes, seen as elements of any size."""

    def __init__(self, name: str, address: int, content: npt.NDArray[np.uint8], lead: int = 0) -> None:
        self.name, self.address, self.content = name, address, content
        self.size = len(content)
        self.lead = lead
        """Bytes before the first that belongs to it: they only make every size of element begin at the address."""
        self.elements = {size: content[: len(content) // size * size].view(kind) for size, kind in UNSIGNED.items()}
        """Size -> content as unsigned integers of it."""

    def places(self, address: Addresses, size: int, count: int) -> npt.NDArray[np.int64]:
        """Which elements of that size lie there: (n,), or (n, count) for several in a row.

        Raises:
            Fault: OUT_OF_BOUNDS or MISALIGNED.
        """
        offset = address - self.address
        extent = size * count
        bits = int(np.bitwise_or.reduce(offset))
        if (
            bits < 0
            or (bits + extent > self.size and int(offset.max()) + extent > self.size)
            or (self.lead and int(offset.min()) < self.lead)
        ):
            wrong = offset[(offset < self.lead) | (offset + extent > self.size)] - self.lead
            own = self.size - self.lead
            raise Fault(
                FaultKind.OUT_OF_BOUNDS,
                f"{extent} bytes at offset {int(wrong[0])} of {self.name} ({own} bytes), in {len(wrong)} threads",
            )
        if bits & (extent - 1):
            wrong = address[(offset & (extent - 1)) != 0]
            raise Fault(
                FaultKind.MISALIGNED, f"address {int(wrong[0]):#x} ({self.name}) is no multiple of {extent} bytes"
            )
        place = offset >> (size.bit_length() - 1)
        return place if count == 1 else place[:, None] + np.arange(count)


class GlobalMemory:
    """The buffers of a launch.

    Raises:
        Fault: MISUSE, if two buffers overlap.
    """

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self._copies: list[tuple[Buffer, Segment]] = []
        self.segments = sorted(
            (self._make_segment(one) for one in buffers if len(one.content)), key=lambda segment: segment.address
        )
        self.starts = [segment.address + segment.lead for segment in self.segments]
        for segment, start, following in zip(self.segments, self.starts[1:], self.segments[1:], strict=False):
            if segment.address + segment.size > start:
                raise Fault(FaultKind.MISUSE, f"buffers {segment.name} and {following.name} overlap")

    def _make_segment(self, buffer: Buffer) -> Segment:
        """The buffer's own bytes, or a copy where it begins at no multiple of 16, as a view of a tensor may."""
        lead = buffer.address % ALIGNMENT
        if not lead:
            return Segment(buffer.name, buffer.address, buffer.content)
        copied = np.concatenate((np.zeros(lead, np.uint8), buffer.content))
        segment = Segment(buffer.name, buffer.address - lead, copied, lead)
        self._copies.append((buffer, segment))
        return segment

    def write_back(self) -> None:
        """Write what was written to copies into their buffers."""
        for buffer, segment in self._copies:
            buffer.content[:] = segment.content[segment.lead :]

    def read(self, address: Addresses, size: int, count: int = 1) -> Row:
        """Unsigned integers of that size: (n,), or (n, count) for several in a row.

        Raises:
            Fault: OUT_OF_BOUNDS or MISALIGNED.
        """
        segment = self._around(int(address[0]))
        end = segment.address + segment.size
        if int(address.max()) < end and int(address.min()) >= segment.address + segment.lead:
            return segment.elements[size].take(segment.places(address, size, count))
        read = np.empty((len(address), count) if count > 1 else len(address), UNSIGNED[size])
        for segment, which in self._split(address):
            read[which] = segment.elements[size].take(segment.places(address[which], size, count))
        return read

    def write(self, address: Addresses, size: int, values: Row) -> None:
        """Store (n,) or (n, count) unsigned integers of that size; of two threads at one address, the last wins.

        Raises:
            Fault: OUT_OF_BOUNDS or MISALIGNED.
        """
        count = values.shape[1] if values.ndim > 1 else 1
        for segment, which in self._split(address):
            part, chosen = (address, values) if which is None else (address[which], values[which])
            segment.elements[size][segment.places(part, size, count)] = chosen

    def _around(self, address: int) -> Segment:
        place = bisect_right(self.starts, address) - 1
        if place < 0:
            raise Fault(FaultKind.OUT_OF_BOUNDS, f"address {address:#x} lies below every buffer")
        return self.segments[place]

    def _split(self, address: Addresses) -> Iterator[tuple[Segment, npt.NDArray[np.bool_] | None]]:
        """Each segment with the threads that address it; None for all of them."""
        first = self._around(int(address[0]))
        if int(address.max()) < first.address + first.size and int(address.min()) >= first.address + first.lead:
            yield first, None
            return
        place = np.searchsorted(self.starts, address, side="right") - 1
        for one in np.unique(place):
            which = place == one
            yield self._around(int(address[which][0])), which


class SharedMemory:
    """One program's shared memory, at addresses from `SHARED_BASE`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._room = -(-size // 16) * 16
        self.content = Segment("shared memory", SHARED_BASE, np.zeros(self._room, np.uint8))
        self.written = Segment("shared memory", SHARED_BASE, np.zeros(self._room, np.uint8))
        """1 for every byte that was ever written."""
        self.arriving = np.zeros(self._room, np.uint8)
        """1 for every byte that an asynchronous copy, already issued, will write."""
        self.arrivals = 0
        """Copies that are under way: where 0, nobody needs to look."""
        self.content.size = self.written.size = size

    def reset(self) -> None:
        """As a program finds it: poisoned, and nothing written."""
        self.content.content[:] = 0xFF
        self.written.content[:] = 0
        self.arriving[:] = 0
        self.arrivals = 0

    def read(self, address: Addresses, size: int, count: int = 1, check: bool = True) -> Row:
        """Unsigned integers of that size: (n,), or (n, count) for several in a row.

        Raises:
            Fault: OUT_OF_BOUNDS or MISALIGNED; if looked at, UNINITIALISED or PENDING.
        """
        places = self.content.places(address, size, count)
        if check:
            if self.arrivals:
                self.expect_settled(address, size * count)
            marks = self.written.elements[size].take(places)
            if not (marks == ALL_WRITTEN[size]).all():
                self._uninitialised(address, size * count)
        return self.content.elements[size].take(places)

    def write(self, address: Addresses, size: int, values: Row, check: bool = True) -> None:
        """Store (n,) or (n, count) unsigned integers of that size; of two threads at one address, the last wins.

        Raises:
            Fault: OUT_OF_BOUNDS or MISALIGNED; if looked at, PENDING.
        """
        count = values.shape[1] if values.ndim > 1 else 1
        places = self.content.places(address, size, count)
        if check and self.arrivals:
            self.expect_settled(address, size * count)
        self.content.elements[size][places] = values
        self.written.elements[size][places] = ALL_WRITTEN[size]

    def gather(self, address: Addresses, check: bool = True) -> npt.NDArray[np.uint8]:
        """The bytes at addresses of any shape, as the tensor units read them.

        Raises:
            Fault: OUT_OF_BOUNDS; if looked at, UNINITIALISED or PENDING.
        """
        offset = address - SHARED_BASE
        if int(offset.min()) < 0 or int(offset.max()) >= self.size:
            raise Fault(
                FaultKind.OUT_OF_BOUNDS,
                f"shared memory of {self.size} bytes, offsets {int(offset.min())} to {int(offset.max())}",
            )
        if check:
            if self.arrivals and self.arriving.take(offset).any():
                raise Fault(FaultKind.PENDING, "shared memory that an asynchronous copy will still write")
            if not self.written.content.take(offset).all():
                self._uninitialised(address.ravel(), 1)
        return self.content.content.take(offset)

    def scatter(self, address: Addresses, values: npt.NDArray[np.uint8]) -> None:
        """Write bytes at addresses of the same shape, as an asynchronous engine does.

        Raises:
            Fault: OUT_OF_BOUNDS.
        """
        offset = address - SHARED_BASE
        if int(offset.min()) < 0 or int(offset.max()) >= self.size:
            raise Fault(
                FaultKind.OUT_OF_BOUNDS,
                f"shared memory of {self.size} bytes, offsets {int(offset.min())} to {int(offset.max())}",
            )
        self.content.content[offset] = values
        self.written.content[offset] = 1

    def expect_settled(self, address: Addresses, extent: int) -> None:
        """See that no asynchronous copy will still write any of `extent` bytes at each address.

        Raises:
            Fault: PENDING.
        """
        offset = (address - SHARED_BASE)[:, None] + np.arange(extent)
        arriving = self.arriving.take(offset)
        if arriving.any():
            raise Fault(
                FaultKind.PENDING,
                f"shared memory at {int(address[arriving.any(1)][0]):#x}: a copy into it was not waited for",
            )

    def _uninitialised(self, address: Addresses, extent: int) -> None:
        offset = (address - SHARED_BASE)[:, None] + np.arange(extent)
        missing = ~self.written.content.take(offset).all(1)
        raise Fault(
            FaultKind.UNINITIALISED,
            f"shared memory at {int(address[missing][0]):#x} was never written, read in {int(missing.sum())} threads",
        )


class LocalMemory:
    """Each thread's own bytes: (threads, size)."""

    def __init__(self, threads: int, size: int) -> None:
        self.stride = -(-max(size, 16) // 16) * 16
        self.content = Segment("local memory", 0, np.zeros(threads * self.stride, np.uint8))
        self.size = size

    def read(self, thread: Addresses, address: Addresses, size: int, count: int = 1) -> Row:
        """As `SharedMemory.read`, of the bytes of those threads."""
        return self.content.elements[size].take(self._places(thread, address, size, count))

    def write(self, thread: Addresses, address: Addresses, size: int, values: Row) -> None:
        """As `SharedMemory.write`, into the bytes of those threads."""
        count = values.shape[1] if values.ndim > 1 else 1
        self.content.elements[size][self._places(thread, address, size, count)] = values

    def _places(self, thread: Addresses, address: Addresses, size: int, count: int) -> npt.NDArray[np.int64]:
        if int(address.min()) < 0 or int(address.max()) + size * count > self.size:
            raise Fault(FaultKind.OUT_OF_BOUNDS, f"offset {int(address.max())} of {self.size} bytes of local memory")
        return self.content.places(thread * self.stride + address, size, count)
