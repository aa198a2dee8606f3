"""Triton's narrow float types as numpy arrays, and the conversions between them as devices round them.

A bf16 or fp8 value is stored as what it is (ml_dtypes), not as the integer of its bits, so numpy's own arithmetic,
comparisons and reductions are right. Knows neither kernels nor the interpreter.
"""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import triton.language as tl

from porting.errors import KernelError

Array = npt.NDArray[Any]

STORED = {
    tl.bfloat16: np.dtype(ml_dtypes.bfloat16),
    tl.float8e4nv: np.dtype(ml_dtypes.float8_e4m3fn),
    tl.float8e5: np.dtype(ml_dtypes.float8_e5m2),
    tl.float8e4b8: np.dtype(ml_dtypes.float8_e4m3fnuz),
    tl.float8e5b16: np.dtype(ml_dtypes.float8_e5m2fnuz),
}
"""Triton's type -> what an array of it is made of; every other type is numpy's own."""
E2M1 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0], np.float32)
"""The sixteen values of fp4. Source: OCP Microscaling Formats v1.0, table 5."""
LARGEST = {np.dtype(ml_dtypes.float8_e4m3fn): 448.0, np.dtype(ml_dtypes.float8_e5m2): 57344.0}
LARGEST |= {np.dtype(ml_dtypes.float8_e4m3fnuz): 240.0, np.dtype(ml_dtypes.float8_e5m2fnuz): 57344.0}
UNSIGNED_ZERO = (np.dtype(ml_dtypes.float8_e4m3fnuz), np.dtype(ml_dtypes.float8_e5m2fnuz))
POISON_BYTE = 0x5A


def refuse_unknown_format(element: tl.dtype) -> None:
    """Refuse fp8e4b15: no device of ours has it, and ml_dtypes has no such format.

    Raises:
        KernelError: it is that type.
    """
    if element == tl.float8e4b15:
        raise KernelError("tl.float8e4b15: the interpreter cannot compute in it; use float8e4nv or float8e5")


def is_float(dtype: np.dtype[Any]) -> bool:
    """True for numpy's floats and for the narrow ones of `STORED`."""
    return dtype.kind == "f" or dtype in STORED.values()


def unsigned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The unsigned integer of the same width, to look at bits."""
    return np.dtype(f"u{dtype.itemsize}")


def convert(values: Array, target: np.dtype[Any], toward_zero: bool = False) -> Array:
    """values as floats of the target's format, rounded once: to nearest even, or toward zero.

    NaN stays NaN. What is too large becomes infinite in bf16 and fp16, and the largest number in fp8, as
    cvt.rn.satfinite does. Sources: PTX ISA 9.0, cvt; OCP 8-bit Floating Point Specification v1.0, section 5.2.
    """
    with np.errstate(all="ignore"):  # devices overflow without a word
        exact = values
        if target.itemsize < 4 and (values.dtype.itemsize > 4 or not is_float(values.dtype)):
            exact = _round_to_odd(values.astype(np.float64))
        if target.itemsize == 1:
            largest = LARGEST[target]
            exact = np.clip(exact.astype(np.float32), -largest, largest)
        rounded = np.asarray(exact.astype(target))
        if toward_zero:
            away = np.abs(rounded.astype(np.float64)) > np.abs(exact.astype(np.float64))
            # The formats order magnitudes as their bits do: one less is the next number towards zero.
            bits = rounded.view(unsigned(target)) - away.astype(unsigned(target))
            if target in UNSIGNED_ZERO:  # where negative zero would be, there is NaN
                bits[away & (bits == 0x80)] = 0
            rounded = bits.view(target)
    return rounded


def _round_to_odd(values: Array) -> Array:
    """float64 -> float32 so that rounding once more to a narrower format is as if there had been one rounding only.

    Source: Boldo and Melquiond, Emulation of FMA and correctly rounded sums, IEEE ToC 57(4), 2008.
    """
    narrow = convert(values, np.dtype(np.float32), toward_zero=True)
    inexact = (narrow.astype(np.float64) != values) & np.isfinite(values)
    odd: Array = narrow.view(np.uint32) | inexact.astype(np.uint32)
    return odd.view(np.float32)


def truncate_to_tf32(values: Array) -> Array:
    """float32 with the 13 lowest bits cleared: what tensor cores see of a float32 operand in tf32 mode.

    Source: PTX ISA 9.0, mma: the lower 13 bits of a .tf32 operand are ignored.
    """
    kept: Array = np.ascontiguousarray(values).view(np.uint32) & np.uint32(0xFFFFE000)
    return kept.view(np.float32)


def unpack_e2m1(packed: Array) -> Array:
    """uint8 (..., n) -> float32 (..., 2 n): the low half of a byte comes first."""
    codes = np.stack([packed & 0x0F, packed >> 4], axis=-1)
    values: Array = E2M1[codes.reshape(*packed.shape[:-1], 2 * packed.shape[-1])]
    return values


def decode_scales(scales: Array) -> Array:
    """Block scales in float32: integers are e8m0 exponents (255 is NaN), floats are themselves (nvfp4: e4m3).

    Source: OCP Microscaling Formats v1.0, section 5.4.1.
    """
    if is_float(scales.dtype):
        return np.asarray(scales, dtype=np.float32)
    return np.asarray(scales.view(np.uint8).view(ml_dtypes.float8_e8m0fnu), dtype=np.float32)


def poison(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """What memory that nobody wrote is taken for: NaN, or an integer that is far from every index."""
    if is_float(dtype):
        return np.full(shape, np.nan, dtype)
    if dtype.kind == "b":
        return np.ones(shape, dtype)
    values: Array = np.full((*shape, dtype.itemsize), POISON_BYTE, np.uint8).view(dtype)[..., 0]
    return values
