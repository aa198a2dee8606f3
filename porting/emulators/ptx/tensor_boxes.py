"""What a bulk copy moves: which elements of global memory, and where in shared memory they lie.

Semantics: PTX ISA 9, "Tensors: Tiled Mode, Bounding Box", "Swizzling Modes", "Out of Boundary Access".
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.asynchronous import CHUNK
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.matrix_descriptors import swizzled
from porting.emulators.ptx.memory import Addresses
from porting.emulators.ptx.tensor_maps import TensorMap


@dataclass(frozen=True)
class Extent:
    """What one copy moves: elements of global memory in the order of the bytes of chunks of shared memory."""

    chunks: Addresses
    element: int
    """Bytes."""
    address: Addresses
    """Of each element in global memory."""
    inside: npt.NDArray[np.bool_]
    """Which elements lie within the tensor; others read as zero and are not written."""

    def fetch(self, machine: Machine) -> npt.NDArray[np.uint64]:
        """What lies in global memory, as (chunks, 2).

        Raises:
            Fault: OUT_OF_BOUNDS.
        """
        read = machine.memory.read(self.address[self.inside], self.element) if self.inside.any() else None
        values = np.zeros(len(self.address), f"u{self.element}")
        if read is not None:
            values[self.inside] = read
        machine.counts.bytes_read["global"] += self.element * int(self.inside.sum())
        return values.view(np.uint64).reshape(-1, 2)

    def store(self, machine: Machine, words: npt.NDArray[np.uint64]) -> None:
        """Write (chunks, 2) to global memory.

        Raises:
            Fault: OUT_OF_BOUNDS.
        """
        values = np.ascontiguousarray(words).view(f"u{self.element}").ravel()
        if self.inside.any():
            machine.memory.write(self.address[self.inside], self.element, values[self.inside])
        machine.counts.bytes_written["global"] += self.element * int(self.inside.sum())


def box_extent(made: TensorMap, place: tuple[int, ...], shared: int) -> Extent:
    """The box of a tensor at a place, the innermost coordinate first, in shared memory from an address on."""
    places = np.indices(made.box[::-1]).reshape(len(made.box), -1)[::-1]
    inside = np.ones(places.shape[1], bool)
    address = np.full(places.shape[1], made.address, np.int64)
    for within, start, size, stride in zip(places, place, made.dimensions, made.strides, strict=True):
        coordinate = start + within
        inside &= (coordinate >= 0) & (coordinate < size)
        address += coordinate * stride
    chunks = swizzled(shared + np.arange(0, made.bytes, CHUNK), made.swizzle)
    return Extent(chunks, made.element, address, inside)


def line_extent(source: int, size: int, shared: int) -> Extent:
    """So many consecutive bytes.

    Raises:
        Fault: MISALIGNED or MISUSE.
    """
    if source % CHUNK:
        raise Fault(FaultKind.MISALIGNED, f"a bulk copy from or to {source:#x} in global memory")
    if size % CHUNK or size <= 0:
        raise Fault(FaultKind.MISUSE, f"a bulk copy of {size} bytes")
    address = source + np.arange(0, size, 8)
    return Extent(shared + np.arange(0, size, CHUNK), 8, address, np.ones(len(address), bool))
