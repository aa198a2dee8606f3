"""What the matrix units' descriptors say: where a matrix lies in shared memory, and which multiplication is meant.

Pure functions of numbers: they know no machine. A bit that the architecture leaves undefined is a fault.
Semantics: PTX ISA 9, "Asynchronous Warpgroup Level Matrix: Matrix Descriptor Format" and "Strides", and "TensorCore 5th
Generation: Shared Memory Descriptor", "Instruction Descriptor"; the longer K of sm_107 as Triton 3.9 encodes it.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind

Addresses = npt.NDArray[np.int64]

CHUNK = 16
"""Bytes that stay together, whatever the swizzle."""
_PERIOD = 1024
"""Bytes after which every swizzle repeats."""
_SWIZZLES_4 = {0: 0, 1: 128, 2: 64, 3: 32}
_SWIZZLES_5 = {0: 0, 2: 128, 4: 64, 6: 32}
_SWIZZLE_MASKS = {0: 0, 32: 1, 64: 3, 128: 7}


@dataclass(frozen=True)
class SharedMatrix:
    """A matrix in shared memory as a descriptor gives it, all in bytes."""

    start: int
    leading: int
    """Offset of the leading dimension (LBO)."""
    stride: int
    """Offset of the stride dimension (SBO)."""
    swizzle: int
    """0, 32, 64 or 128."""

    @property
    def span(self) -> int:
        """Bytes of a row that lie in a row."""
        return self.swizzle or CHUNK


def swizzled(address: Addresses, swizzle: int) -> Addresses:
    """Where what is meant for an address lies: its chunk's number is changed by bits 7 and up of the address."""
    return address ^ ((address >> 7 & _SWIZZLE_MASKS[swizzle]) << 4)


def wgmma_matrix(descriptor: int) -> SharedMatrix:
    """What wgmma reads there.

    Raises:
        Fault: MISUSE for a bit that is not defined, UNKNOWN for a base offset.
    """
    _expect_nothing(descriptor, "matrix descriptor", (14, 2), (30, 2), (46, 3), (52, 10))
    return _matrix(descriptor, _SWIZZLES_4[_field(descriptor, 62, 2)], 14)


def tcgen05_matrix(descriptor: int, architecture: int) -> SharedMatrix:
    """What tcgen05.mma and tcgen05.cp read there.

    Raises:
        Fault: MISUSE for a bit that is not defined, UNKNOWN for a base offset, an absolute offset or swizzled pairs.
    """
    address_bits = 15 if architecture == 107 else 14  # 328 KiB of shared memory
    _expect_nothing(descriptor, "matrix descriptor", (address_bits, 16 - address_bits), (30, 2), (53, 8))
    if _field(descriptor, 46, 3) != 1:
        raise Fault(FaultKind.MISUSE, f"bits 46 to 48 of matrix descriptor {descriptor:#018x} are not 0b001")
    if _field(descriptor, 52, 1):
        raise Fault(FaultKind.UNKNOWN, f"absolute leading offset in matrix descriptor {descriptor:#018x}")
    mode = _field(descriptor, 61, 3)
    if mode == 1:
        raise Fault(FaultKind.UNKNOWN, f"swizzle of 32-byte pieces in matrix descriptor {descriptor:#018x}")
    if mode not in _SWIZZLES_5:
        raise Fault(FaultKind.MISUSE, f"swizzle mode {mode} in matrix descriptor {descriptor:#018x}")
    return _matrix(descriptor, _SWIZZLES_5[mode], address_bits)


def _matrix(descriptor: int, swizzle: int, address_bits: int) -> SharedMatrix:
    if _field(descriptor, 49, 3):
        raise Fault(FaultKind.UNKNOWN, f"base offset in matrix descriptor {descriptor:#018x}")
    start, leading, stride = (_field(descriptor, at, bits) << 4 for at, bits in ((0, address_bits), (16, 14), (32, 14)))
    matrix = SharedMatrix(start, leading, stride, swizzle)
    # Without a base offset the swizzle's pattern of eight rows begins at a multiple of its size.
    if swizzle and start % (8 * swizzle) >= swizzle:
        raise Fault(
            FaultKind.MISUSE,
            f"matrix at {start:#x}, in the midst of a swizzle pattern of {8 * swizzle} bytes, without a base offset",
        )
    return matrix


def tile_chunks(matrix: SharedMatrix, rows: int, depth: int, bits: int, transposed: bool) -> Addresses:
    """Where a tile lies, in chunks of 16 bytes.

    Args:
        matrix: where it begins.
        rows: M of A, N of B.
        depth: K.
        bits: of one element.
        transposed: whether consecutive rows lie beside each other (MN-major), not consecutive k.

    Returns:
        K-major: (rows, depth * bits / 128); MN-major: (depth, rows * bits / 128). Addresses, not to be changed.

    Raises:
        Fault: UNKNOWN, for what the architecture does not lay out.
    """
    low = matrix.start % _PERIOD
    relative = _chunks(replace(matrix, start=low), rows, depth, bits, transposed)
    return relative + (matrix.start - low)


@lru_cache(maxsize=4096)
def _chunks(matrix: SharedMatrix, rows: int, depth: int, bits: int, transposed: bool) -> Addresses:
    length = (rows if transposed else depth) * bits // 8
    if length % CHUNK or (transposed and depth % 8) or (not transposed and rows % 8):
        raise Fault(FaultKind.UNKNOWN, f"a tile of {rows} rows by {depth} elements of {bits} bits")
    line, place = np.arange(depth if transposed else rows)[:, None], np.arange(0, length, CHUNK)[None]
    span, swizzle = matrix.span, matrix.swizzle
    if not transposed:
        if swizzle and matrix.start % span + length > span:
            raise Fault(FaultKind.UNKNOWN, f"rows of {length} bytes beyond the end of a swizzle's {swizzle} bytes")
        groups, spans = matrix.stride, matrix.leading
    elif swizzle:
        groups, spans = matrix.stride, matrix.leading
    else:
        groups, spans = matrix.leading, matrix.stride
    offset = line % 8 * span + line // 8 * groups + place % span + place // span * spans
    return swizzled(matrix.start + offset, swizzle)


@dataclass(frozen=True)
class Multiplication:
    """What a tcgen05.mma's instruction descriptor asks for: D (rows, columns) = A (rows, depth) B (depth, columns)."""

    kind: str
    rows: int
    columns: int
    depth: int
    type_a: str
    type_b: str
    type_d: str
    transposed_a: bool
    """A is MN-major."""
    transposed_b: bool
    negated_a: bool
    negated_b: bool
    saturated: bool = False
    scale_type: str = ""
    """Of block scales: "ue8m0" or "ue4m3"."""
    scale_id_a: int = 0
    """Byte of a scale column at which A's factors begin."""
    scale_id_b: int = 0


_F8F6F4 = {0: "e4m3", 1: "e5m2", 3: "e2m3", 4: "e3m2", 5: "e2m1"}
_FACTORS = {
    "f16": {0: "f16", 1: "bf16"},
    "tf32": {2: "tf32"},
    "f8f6f4": _F8F6F4,
    "i8": {0: "u8", 1: "s8"},
    "mxf8f6f4": _F8F6F4,
    "mxf4": {1: "e2m1"},
    "mxf4nvf4": {1: "e2m1"},
}
_ACCUMULATORS = {"f16": {0: "f16", 1: "f32"}, "tf32": {1: "f32"}, "f8f6f4": {0: "f16", 1: "f32"}, "i8": {2: "s32"}}
_DEPTHS = {"f16": 16, "tf32": 8, "f8f6f4": 32, "i8": 32, "mxf8f6f4": 32, "mxf4": 64, "mxf4nvf4": 64}
_LONGER = {"f8f6f4": 29, "mxf8f6f4": 31, "mxf4": 3, "mxf4nvf4": 3}
"""Kind -> the bit that doubles K on sm_107."""
_SCALE_TYPES = {"mxf8f6f4": {1: "ue8m0"}, "mxf4": {1: "ue8m0"}, "mxf4nvf4": {0: "ue4m3", 1: "ue8m0"}}


def multiplication(descriptor: int, kind: str, architecture: int) -> Multiplication:
    """What an instruction descriptor of that kind means, for one CTA's tensor core.

    Raises:
        Fault: MISUSE for a bit or a shape that is not defined, UNKNOWN for sparse matrices.
    """
    if _field(descriptor, 2, 1):
        raise Fault(FaultKind.UNKNOWN, f"sparse multiplication in instruction descriptor {descriptor:#010x}")
    scaled = kind in _SCALE_TYPES
    rows = _field(descriptor, 24, 5) << 4
    wide = kind in _LONGER and architecture == 107 and bool(_field(descriptor, _LONGER[kind], 1))
    _expect_nothing(descriptor, f"{kind} instruction descriptor", *_undefined(kind, architecture))
    asked = Multiplication(
        kind,
        rows,
        columns=_field(descriptor, 17, 6) << 3,
        depth=_DEPTHS[kind] * (2 if wide else 1),
        type_a=_named(_FACTORS[kind], _field(descriptor, 7, 3), "type of A", descriptor),
        type_b=_named(_FACTORS[kind], _field(descriptor, 10, 3), "type of B", descriptor),
        type_d="f32" if scaled else _named(_ACCUMULATORS[kind], _field(descriptor, 4, 2), "type of D", descriptor),
        transposed_a=bool(_field(descriptor, 15, 1)),
        transposed_b=bool(_field(descriptor, 16, 1)),
        negated_a=bool(_field(descriptor, 13, 1)),
        negated_b=bool(_field(descriptor, 14, 1)),
    )
    if scaled:
        scale = _named(_SCALE_TYPES[kind], _field(descriptor, 23, 1), "type of the scales", descriptor)
        identities = _field(descriptor, 29, 2), _field(descriptor, 4, 2)
        asked = replace(asked, scale_type=scale, scale_id_a=identities[0], scale_id_b=identities[1])
    elif kind == "i8":
        asked = replace(asked, saturated=bool(_field(descriptor, 3, 1)))
    _expect_shape(asked, descriptor)
    return asked


def _undefined(kind: str, architecture: int) -> list[tuple[int, int]]:
    """(first bit, bits) that have to be 0 in an instruction descriptor."""
    scaled = kind in _SCALE_TYPES
    # 0 and 1 select among sparse elements; 30 and 31 shift where .ws reuses B, which none of these do.
    places = {0, 1, 6} | ({24, 25, 26, 31} if scaled else {23, 29, 30, 31})
    if kind != "i8":
        places.add(3)
    if kind in ("mxf4", "mxf4nvf4"):
        places |= {12, 15, 16}  # both matrices are K-major
    elif kind == "i8":
        places |= {13, 14}
    if architecture == 107 and kind in _LONGER:
        places.discard(_LONGER[kind])
    return [(place, 1) for place in sorted(places)]


def _expect_shape(asked: Multiplication, descriptor: int) -> None:
    scaled = bool(asked.scale_type)
    step = 8 if scaled or asked.rows == 64 else 16
    wrong_integers = asked.kind == "i8" and asked.rows == 64 and asked.columns > 32 and asked.columns % 16
    if (
        asked.rows not in ((128,) if scaled else (64, 128))
        or not step <= asked.columns <= 256
        or asked.columns % step
        or wrong_integers
    ):
        shape = f"{asked.rows}x{asked.columns}x{asked.depth}"
        raise Fault(FaultKind.MISUSE, f"{asked.kind} has no shape {shape} (instruction descriptor {descriptor:#010x})")


def _named(names: dict[int, str], value: int, what: str, descriptor: int) -> str:
    if value not in names:
        raise Fault(FaultKind.MISUSE, f"{what} {value} is not defined (instruction descriptor {descriptor:#010x})")
    return names[value]


def _field(number: int, place: int, bits: int) -> int:
    return number >> place & ((1 << bits) - 1)


def _expect_nothing(number: int, what: str, *fields: tuple[int, int]) -> None:
    for place, bits in fields:
        if _field(number, place, bits):
            raise Fault(FaultKind.MISUSE, f"bit {place} and up ({bits}) of {what} {number:#x} are not defined")
