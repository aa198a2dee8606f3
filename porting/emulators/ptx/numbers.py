"""Rounding once: sums and products of floats as if exact, then brought to a type under a rounding mode.

The way: compute in float64 with the last bit made odd where anything was lost ("round to odd"), which a second
rounding to 50 bits or fewer cannot spoil. Source: Boldo, Melquiond, "Emulation of FMA and correctly rounded sums".
"""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from porting.emulators.ptx.types import DTYPES, UNSIGNED, Row

Doubles = npt.NDArray[np.float64]

_LOST = {"f32": 29, "f16": 42, "bf16": 45}
"""Type -> bits of a float64's fraction that it lacks."""
_SMALLEST = {"f32": 2.0**-126, "f16": 2.0**-14, "bf16": 2.0**-126}
"""Type -> its smallest normal number."""
NOT_A_NUMBER = {"f32": 0x7FFFFFFF, "f16": 0x7FFF, "bf16": 0x7FFF}
"""Type -> the one NaN that the hardware makes."""


def sum_to_odd(first: Doubles, second: Doubles) -> Doubles:
    """The sum, its last bit odd where the exact sum is no float64."""
    total = first + second
    back = total - first
    lost = (first - (total - back)) + (second - back)
    inexact = (lost != 0) & np.isfinite(total)
    if not inexact.any():
        return total
    bits = total.view(np.int64)
    even = inexact & (bits & 1 == 0)
    # Toward the exact sum: the magnitude grows if the loss has the sum's sign.
    step = np.where((lost > 0) == (total > 0), 1, -1)
    return np.where(even, bits + step, bits).view(np.float64)


def narrowed(value: Doubles, kind: str, mode: str = "rn") -> Row:
    """A float64, rounded to odd where not exact, as that type: to the nearest ("rn"), zero ("rz"), down or up."""
    if kind == "f64":
        return value
    dtype = DTYPES[kind]
    if kind == "bf16":
        nearest: Row = odd_single(value).astype(ml_dtypes.bfloat16)
    else:
        nearest = value.astype(dtype)
    if mode == "rn":
        return nearest
    return _directed(nearest, value, mode)


def odd_single(value: Doubles) -> npt.NDArray[np.float32]:
    """As float32, the last bit odd where the value is no float32."""
    single = value.astype(np.float32)
    back = single.astype(np.float64)
    inexact = (back != value) & (value == value)
    if not inexact.any():
        return single
    bits = single.view(np.uint32)
    bits = np.where(inexact & (np.abs(back) > np.abs(value)), bits - np.uint32(1), bits)
    return np.where(inexact, bits | np.uint32(1), bits).view(np.float32)


def _directed(nearest: Row, value: Doubles, mode: str) -> Row:
    """Move the nearest number by one where it lies on the wrong side of the value."""
    bits = nearest.view(UNSIGNED[nearest.dtype.itemsize])
    back = nearest.astype(np.float64)
    one = bits.dtype.type(1)
    away = np.abs(back) > np.abs(value)
    within = np.abs(back) < np.abs(value)
    negative = np.signbit(value)
    if mode == "rz":
        grow: Any = np.zeros_like(away)
    elif mode == "rm":
        away, grow = away & ~negative, within & negative
    elif mode == "rp":
        away, grow = away & negative, within & ~negative
    else:
        raise ValueError(f"numbers: rounding mode {mode!r}; known are rn, rz, rm, rp")
    moved = np.where(away, bits - one, np.where(grow, bits + one, bits))
    return moved.view(nearest.dtype)


def fused(first: Row, second: Row, third: Row, kind: str) -> Row:
    """first * second + third of numbers no wider than float32, rounded once to the nearest of that type."""
    product = np.multiply(first, second, dtype=np.float64)  # exact: 24 + 24 bits
    addend = third.astype(np.float64)
    total = product + addend
    lost = _LOST[kind]
    # Rounding twice errs only if the first rounding met a middle between two numbers, or the numbers lie closer there.
    middle = (total.view(np.int64) & ((1 << lost) - 1)) == 1 << (lost - 1)
    if kind == "bf16" or middle.any() or (np.abs(total) < _SMALLEST[kind]).any():
        return narrowed(sum_to_odd(product, addend), kind)
    return total.astype(DTYPES[kind])


def flushed(row: Row) -> Row:
    """Subnormal numbers become a zero of their sign."""
    bits = row.view(np.uint32)
    small = bits & np.uint32(0x7F800000) == 0
    return np.where(small, bits & np.uint32(0x80000000), bits).view(np.float32)


def canonical(row: Row, kind: str) -> Row:
    """Every NaN as the one that the hardware makes."""
    wrong = row != row
    if kind not in NOT_A_NUMBER or not wrong.any():
        return row
    bits = row.view(UNSIGNED[row.dtype.itemsize])
    return np.where(wrong, bits.dtype.type(NOT_A_NUMBER[kind]), bits).view(row.dtype)


def saturated(row: Row) -> Row:
    """Held between 0 and 1; NaN becomes 0."""
    held = np.clip(row, row.dtype.type(0), row.dtype.type(1))
    return np.where(row == row, held, row.dtype.type(0))
