"""The narrow number formats of matrix instructions: what their bits mean, and how numbers are rounded to them.

Both vendors use the OCP formats (fp8 E4M3 and E5M2, fp6 E2M3 and E3M2, fp4 E2M1, scales E8M0); AMD's gfx942 has the
FNUZ flavours of fp8 instead. Knows no instruction and no register: arrays of codes in, arrays of numbers out.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NumberFormat:
    """One format, of at most 16 bits."""

    name: str
    bits: int
    dtype: np.dtype[Any]
    """As ml_dtypes or numpy name it; formats of less than 8 bits sit in the low bits of a byte there."""

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return LARGEST[self.dtype.name]


LARGEST = {
    "float16": 65504.0,
    "bfloat16": float.fromhex("0x1.fep127"),
    "float8_e4m3fn": 448.0,
    "float8_e5m2": 57344.0,
    "float8_e4m3fnuz": 240.0,
    "float8_e5m2fnuz": 57344.0,
    "float6_e2m3fn": 7.5,
    "float6_e3m2fn": 28.0,
    "float4_e2m1fn": 6.0,
    "float8_e8m0fnu": 2.0**127,
}
F16 = NumberFormat("fp16", 16, np.dtype(np.float16))
BF16 = NumberFormat("bf16", 16, np.dtype(ml_dtypes.bfloat16))
E4M3 = NumberFormat("fp8 E4M3", 8, np.dtype(ml_dtypes.float8_e4m3fn))
E5M2 = NumberFormat("fp8 E5M2", 8, np.dtype(ml_dtypes.float8_e5m2))
E4M3_FNUZ = NumberFormat("fp8 E4M3 FNUZ", 8, np.dtype(ml_dtypes.float8_e4m3fnuz))
E5M2_FNUZ = NumberFormat("fp8 E5M2 FNUZ", 8, np.dtype(ml_dtypes.float8_e5m2fnuz))
E2M3 = NumberFormat("fp6 E2M3", 6, np.dtype(ml_dtypes.float6_e2m3fn))
E3M2 = NumberFormat("fp6 E3M2", 6, np.dtype(ml_dtypes.float6_e3m2fn))
E2M1 = NumberFormat("fp4 E2M1", 4, np.dtype(ml_dtypes.float4_e2m1fn))
E8M0 = NumberFormat("scale E8M0", 8, np.dtype(ml_dtypes.float8_e8m0fnu))


@cache
def _numbers(form: NumberFormat) -> Doubles:
    """Code -> number, for every code of a format of at most 8 bits; a byte's upper bits do not count."""
    codes = (np.arange(256) & ((1 << form.bits) - 1)).astype(np.uint8)
    with np.errstate(invalid="ignore"):
        return codes.view(form.dtype).astype(np.float64)


def decode(codes: Array, form: NumberFormat) -> Doubles:
    """Codes (unsigned, one an element, any shape) -> the numbers that they stand for."""
    if form is BF16:
        widened = codes.astype(np.uint32) << np.uint32(16)
        return widened.view(np.float32).astype(np.float64)
    if form is F16:
        return codes.astype(np.uint16, copy=False).view(np.float16).astype(np.float64)
    return _numbers(form).take(codes)


def encode(numbers: Array, form: NumberFormat, saturate: bool = False) -> Array:
    """Round to the nearest number of a format, ties to even. -> codes, uint8 or uint16.

    Args:
        numbers: that float32 can hold, or too small for `form` anyway: they are rounded once.
        form: of the codes.
        saturate: what is too large, infinities too, becomes the largest finite number; else it becomes what the
            format has for it: infinity, NaN where there is none, the largest number where there is neither. A NaN
            stays one (a format without NaN makes it a zero).
    """
    values = np.asarray(numbers).astype(np.float32)
    if saturate:
        values = np.clip(values, -form.largest, form.largest)
    codes: Array = values.astype(form.dtype).view(np.uint16 if form.bits == 16 else np.uint8)
    return codes


def unpack(words: Array, bits: int) -> Array:
    """Fields of 4, 6, 8, 16 or 32 bits of the last axis' 32-bit words, the lowest bits first.

    words: uint32 (..., n), contiguous. -> (..., 32 * n / bits), uint8, uint16 or uint32.
    """
    if bits >= 8:
        whole: Array = words.view({8: np.uint8, 16: np.uint16, 32: np.uint32}[bits])
        return whole
    octets = words.view(np.uint8)
    if bits == 4:
        fields = np.stack((octets & np.uint8(15), octets >> np.uint8(4)), axis=-1)
        return fields.reshape(*octets.shape[:-1], -1)
    # Three bytes hold four fields.
    triples = octets.reshape(*octets.shape[:-1], -1, 3).astype(np.uint32)
    joined = triples[..., 0] | triples[..., 1] << np.uint32(8) | triples[..., 2] << np.uint32(16)
    shifts = np.arange(0, 24, 6, dtype=np.uint32)
    sixes: Array = ((joined[..., None] >> shifts) & np.uint32(63)).astype(np.uint8)
    return sixes.reshape(*octets.shape[:-1], -1)


def pack(fields: Array, bits: int) -> Array:
    """The reverse of `unpack`: fields of the last axis -> uint32 words (..., n)."""
    if bits >= 8:
        kind = {8: np.uint8, 16: np.uint16, 32: np.uint32}[bits]
        return np.ascontiguousarray(fields, kind).view(np.uint32)
    if bits == 4:
        pairs = fields.reshape(*fields.shape[:-1], -1, 2).astype(np.uint8)
        return np.ascontiguousarray(pairs[..., 0] | pairs[..., 1] << np.uint8(4)).view(np.uint32)
    fours = fields.reshape(*fields.shape[:-1], -1, 4).astype(np.uint32)
    joined = np.zeros(fours.shape[:-1], np.uint32)
    for place in range(4):
        joined |= fours[..., place] << np.uint32(6 * place)
    octets = np.stack([joined >> np.uint32(shift) for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
    words: Array = octets.reshape(*fields.shape[:-1], -1).view(np.uint32)
    return words


def power_of_two(exponents: Array) -> Doubles:
    """Scales E8M0: 2 ** (code - 127); code 255 is NaN."""
    return _numbers(E8M0).take(exponents)
