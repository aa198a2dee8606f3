"""Readers and writers of vector operands by type: a name of a type, an operand -> a function of the waves."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.arithmetic import bfloat_to_float, float_to_bfloat
from porting.emulators.amdgcn.operands import Operand, UndecodedError, constant_bits
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.targets import Target

Array = npt.NDArray[Any]
Read = Callable[[Waves], Any]
"""Waves -> a value that broadcasts to (waves, lanes)."""
Write = Callable[[Waves, Any], None]

TYPES: dict[str, Any] = {
    "u16": np.uint16,
    "i16": np.int16,
    "f16": np.float16,
    "bf16": np.float32,
    "u32": np.uint32,
    "i32": np.int32,
    "f32": np.float32,
    "u64": np.uint64,
    "i64": np.int64,
    "f64": np.float64,
}
"""What an operand of a type is as numpy; a bfloat16 is read as a float32."""
BITS = {"u16": 16, "i16": 16, "f16": 16, "bf16": 16, "u64": 64, "i64": 64, "f64": 64}
FLOATS = ("f16", "bf16", "f32", "f64")


def bits_of(kind: str) -> int:
    """The width of a type."""
    return BITS.get(kind, 32)


def read_32(operand: Operand, kind: str) -> Read:
    """Reader of a 32-bit operand."""
    index = operand.index
    if operand.kind == "vector":
        if kind == "f32":
            return lambda waves: waves.f32[index]
        if kind == "i32":
            return lambda waves: waves.i32[index]
        return lambda waves: waves.u32[index]
    dtype = TYPES[kind]
    if operand.kind == "scalar":
        return lambda waves: waves.column[index].view(dtype)
    if operand.kind == "scc":
        return lambda waves: waves.scc.astype(np.uint32)[:, None].view(dtype)
    if operand.kind != "literal":
        raise UndecodedError(f"operand kind {operand.kind}")
    constant = np.uint32(constant_bits(operand.value, 32)).view(dtype)
    return lambda waves: constant


def read_64(operand: Operand, kind: str) -> Read:
    """Reader of a 64-bit operand."""
    index, dtype = operand.index, TYPES[kind]
    if operand.kind == "vector":

        def joined(waves: Waves) -> Array:
            words = np.empty((waves.count, waves.lanes, 2), np.uint32)
            words[..., 0], words[..., 1] = waves.u32[index], waves.u32[index + 1]
            result: Array = words.view(dtype)[..., 0]
            return result

        return joined
    if operand.kind == "scalar":
        if index % 2:
            raise UndecodedError(f"a pair of scalar registers that begins at {index}")
        return lambda waves: waves.column64[index].view(dtype)
    if operand.kind != "literal":
        raise UndecodedError(f"operand kind {operand.kind}")
    if kind == "f64" and isinstance(operand.value, int) and not -16 <= operand.value <= 64:
        # A 32-bit literal is the upper half of a double.
        constant = np.uint64((operand.value & 0xFFFFFFFF) << 32).view(dtype)
    else:
        constant = np.uint64(constant_bits(operand.value, 64)).view(dtype)
    return lambda waves: constant


def read_16(operand: Operand, kind: str, high: bool) -> Read:
    """Reader of a half of a 32-bit operand."""
    index, dtype = operand.index, TYPES[kind]
    high = high or operand.half == "h"
    if kind == "bf16":
        bits = read_16(operand, "u16", high)
        return lambda waves: bfloat_to_float(bits(waves))
    if operand.kind == "vector":
        if high:
            return lambda waves: waves.high16[index].view(dtype)
        return lambda waves: waves.low16[index].view(dtype)
    if operand.kind == "scalar":
        shift = np.uint32(16 if high else 0)
        return lambda waves: (waves.column[index] >> shift).astype(np.uint16).view(dtype)
    if operand.kind != "literal":
        raise UndecodedError(f"operand kind {operand.kind}")
    constant = np.uint16(constant_bits(operand.value, 16)).view(dtype)
    return lambda waves: constant


def bfloat_constant(value: int | float) -> Any:
    """An inline constant of a bfloat16 operand, as the float32 that it is read as."""
    if isinstance(value, float):
        return bfloat_to_float(float_to_bfloat(np.asarray(value, np.float32)))
    return bfloat_to_float(np.asarray(value & 0xFFFF, np.uint16))


def reader(operand: Operand, kind: str, high: bool = False) -> Read:
    """Reader of an operand with its sign modifiers.

    high: take the upper half of the register, for the types of 16 bits.

    Raises:
        UndecodedError: the operand cannot be one of that type.
    """
    if operand.extended:
        raise UndecodedError("a sign extension outside of SDWA")
    bits = bits_of(kind)
    if kind == "bf16" and operand.kind == "literal":
        constant = bfloat_constant(operand.value)
        plain: Read = lambda waves: constant  # noqa: E731
    elif bits == 16:
        plain = read_16(operand, kind, high)
    else:
        plain = read_64(operand, kind) if bits == 64 else read_32(operand, kind)
    return with_sign(plain, operand.negated, operand.absolute, kind)


def with_sign(plain: Read, negated: bool, absolute: bool, kind: str) -> Read:
    """The reader with abs, then neg, applied."""
    if not (negated or absolute):
        return plain
    if kind == "u32":
        # v_cndmask and v_mov: the modifiers act on the bits of a float32.
        mask, flip = np.uint32(0x7FFFFFFF if absolute else 0xFFFFFFFF), np.uint32(0x80000000 if negated else 0)
        return lambda waves: (plain(waves) & mask) ^ flip
    if kind not in FLOATS:
        raise UndecodedError(f"a sign modifier on an operand of type {kind}")
    if negated and absolute:
        return lambda waves: -np.abs(plain(waves))
    if absolute:
        return lambda waves: np.abs(plain(waves))
    return lambda waves: -plain(waves)


def put_half(waves: Waves, row: int, bits: Any, high: bool, keep: bool) -> None:
    """Write 16 bits into a half of the active lanes; keep: the other half stays, else it becomes zero."""
    if not keep:
        waves.put(row, np.asarray(bits).view(np.uint16).astype(np.uint32) << np.uint32(16 if high else 0))
        return
    half = waves.high16[row] if high else waves.low16[row]
    if waves.full:
        half[...] = np.asarray(bits).view(np.uint16)
    else:
        np.copyto(half, np.asarray(bits).view(np.uint16), where=waves.mask)


def writer(operand: Operand, kind: str, target: Target, high: bool = False) -> Write:
    """Writer of a vector register of a type into the active lanes.

    high: into the upper half, whose other half stays.

    Raises:
        UndecodedError: the operand is no vector register.
    """
    if operand.kind != "vector":
        raise UndecodedError(f"a result in {operand.kind}")
    row, bits = operand.index, bits_of(kind)
    if bits == 32:
        return lambda waves, value: waves.put(row, value)
    if bits == 64:

        def split(waves: Waves, value: Any) -> None:
            words = np.asarray(value).view(np.uint64)
            waves.put(row, words.astype(np.uint32))
            waves.put(row + 1, (words >> np.uint64(32)).astype(np.uint32))

        return split
    keep = target.keeps_high_half or high or bool(operand.half)
    high = high or operand.half == "h"
    if kind == "bf16":
        return lambda waves, value: put_half(waves, row, float_to_bfloat(value), high, keep)
    return lambda waves, value: put_half(waves, row, value, high, keep)


def read_list(text: str) -> list[int]:
    """The numbers of a modifier's value: "[0,1,0]" -> [0, 1, 0]."""
    return [int(number, 0) for number in text.strip("[]").split(",")]
