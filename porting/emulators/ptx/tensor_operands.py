"""What a tcgen05.mma multiplies: A and B in shared or tensor memory, and their scale factors in tensor memory.

Semantics: PTX ISA 9, "TensorCore 5th Generation: Data Layout", "Packing formats" (.b4x16_p64, .b6x16_p32), "Block
Scaling: Layout of the scale factors". Not covered: narrow types in tensor memory that share a kind with wide ones.
"""

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.asynchronous import read_chunks
from porting.emulators.ptx.clocks import Integers
from porting.emulators.ptx.convert import DECODED
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.matrix_descriptors import Multiplication, tcgen05_matrix, tile_chunks
from porting.emulators.ptx.mma import values_of
from porting.emulators.ptx.tensor_memory import Area, TensorMemory
from porting.emulators.ptx.tensor_pipe import ALL_LANES, Pipe, rows_of

Numbers = npt.NDArray[np.float64]

BITS = {"f16": 16, "bf16": 16, "tf32": 32, "e4m3": 8, "e5m2": 8, "e2m1": 4, "s8": 8, "u8": 8}
"""Type -> bits of an element in memory; where narrow types share a kind with wide ones, they are padded to 8."""
_DENSE = ("mxf4", "mxf4nvf4")
"""Kinds whose 4-bit elements lie close together."""


class Operand:
    """A or B of one multiplication: (rows, depth)."""

    def __init__(self, machine: Machine, asked: Multiplication, second: bool, place: int, tensor: bool) -> None:
        self.machine, self.place = machine, place
        self.kind = asked.type_b if second else asked.type_a
        self.rows = asked.columns if second else asked.rows
        self.transposed = asked.transposed_b if second else asked.transposed_a
        self.negated = asked.negated_b if second else asked.negated_a
        self.depth = asked.depth
        self.padded = self.kind not in BITS or (BITS[self.kind] == 4 and asked.kind not in _DENSE)
        bits = 8 if self.padded else BITS[self.kind]
        self.chunks: Integers | None = None
        if not tensor:
            matrix = tcgen05_matrix(place, machine.architecture)
            self.chunks = tile_chunks(matrix, self.rows, self.depth, bits, self.transposed)
        elif self.padded or self.transposed:
            raise Fault(FaultKind.UNKNOWN, f"{self.kind} in tensor memory, {asked}")
        self.columns = self.depth * bits // 32

    def start(self, pipe: Pipe, engine: int) -> None:
        """The pipe is going to read it."""
        if self.chunks is not None:
            read_chunks(self.machine, self.chunks, engine)
            return
        _, lanes = rows_of(self.place, self.rows)
        first = self.place & 0xFFFF
        pipe.touch(engine, [Area(lanes, slice(first, first + self.columns))], writes=False)

    def read(self, memory: TensorMemory) -> Numbers:
        """Its numbers."""
        if self.chunks is None:
            lanes, _ = rows_of(self.place, self.rows)
            words = memory.read(lanes[:, None] * memory.columns + (self.place & 0xFFFF) + np.arange(self.columns))
        else:
            raw = self.machine.shared.read(self.chunks.ravel(), 8, 2, self.machine.schedule.check)
            words = np.ascontiguousarray(raw).view(np.uint32).reshape(len(self.chunks), -1)
        values = _padded_values(words, self.kind) if self.padded else _values(words, self.kind)
        values = values.reshape(len(words), -1)
        if self.transposed:
            values = values.T
        return -values if self.negated else values


def _values(words: npt.NDArray[np.uint32], kind: str) -> Numbers:
    if kind != "e2m1":
        return values_of(words, kind)
    octets = words.view(np.uint8)
    return DECODED["e2m1"][np.stack([octets & 15, octets >> 4], -1)].astype(np.float64)


def _padded_values(words: npt.NDArray[np.uint32], kind: str) -> Numbers:
    """16 elements of less than 8 bits lie together, then as much is left free as 16 bytes hold."""
    bits = {"e2m1": 4, "e2m3": 6, "e3m2": 6}[kind]
    chunks = words.view(np.uint8).reshape(-1, 16)
    flat = np.unpackbits(chunks, axis=1, bitorder="little")[:, : 16 * bits].reshape(-1, 16, bits)
    codes = flat @ (1 << np.arange(bits))
    return DECODED[kind][codes].astype(np.float64)


class Scales:
    """The scale factors of A or B: each row's, of every 16 or 32 elements along K."""

    def __init__(self, asked: Multiplication, rows: int, identity: int, address: int, block: int) -> None:
        self.rows, self.identity, self.block, self.kind = rows, identity, block, asked.scale_type
        self.count = asked.depth // block
        self.column = address & 0xFFFF
        if address >> 16:
            raise Fault(FaultKind.MISUSE, f"scale factors at lane {address >> 16} of tensor memory")
        if identity + self.count > 4 and (identity or self.count % 4):
            raise Fault(FaultKind.MISUSE, f"{self.count} scale factors from byte {identity} on")
        self.step = -(-rows // 32)

    @property
    def area(self) -> Area:
        """The cells that hold them."""
        return Area(ALL_LANES, slice(self.column, self.column + self.step * -(-self.count // 4)))

    def read(self, memory: TensorMemory) -> Numbers:
        """(rows, depth).

        Raises:
            Fault: MISUSE, if the lanes' quarters differ.
        """
        row, number = np.arange(self.rows)[:, None], self.identity + np.arange(self.count)[None]
        columns = self.column + row // 32 + self.step * (number // 4)
        shift = (8 * (number % 4)).astype(np.uint32)
        quarters = [
            memory.read((32 * quarter + row % 32) * memory.columns + columns) >> shift & np.uint32(0xFF)
            for quarter in range(4)
        ]
        if any((one != quarters[0]).any() for one in quarters[1:]):
            raise Fault(FaultKind.MISUSE, "scale factors that differ between the four quarters of the lanes")
        return np.repeat(DECODED[self.kind][quarters[0]].astype(np.float64), self.block, 1)
