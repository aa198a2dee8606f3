"""Conversions between float formats: every bf16, fp16 and fp8 pattern against oracles that do no float arithmetic."""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import triton.language as tl

from porting.errors import KernelError
from porting.kernel_library.number_formats import (
    LARGEST,
    STORED,
    convert,
    decode_scales,
    is_float,
    poison,
    refuse_unknown_format,
    truncate_to_tf32,
    unpack_e2m1,
    unsigned,
)

Array = npt.NDArray[Any]
BF16 = np.dtype(ml_dtypes.bfloat16)
FP8 = [dtype for dtype in STORED.values() if dtype.itemsize == 1]
FP16_VALUES = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FP16_VALUES = FP16_VALUES[~np.isnan(FP16_VALUES) | (FP16_VALUES.view(np.uint16) == 0x7E00)]
"""Every number, both infinities, and the one NaN that numpy converts without a warning."""


def same(found: Array, expected: Array) -> bool:
    """Equal as numbers, NaN equal to NaN, and of the same sign where they are zero."""
    left, right = found.astype(np.float64), expected.astype(np.float64)
    return bool(np.array_equal(left, right, equal_nan=True) and np.array_equal(signs(left), signs(right)))


def signs(values: Array) -> Array:
    return np.signbit(values) & ~np.isnan(values)


def around_every_bf16() -> Array:
    """float32: every bf16 number, the number halfway to the next, and the float32 numbers beside that."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    return np.concatenate([upper | low for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]).astype(np.uint32).view("f4")


def bf16_by_bits(values: Array) -> Array:
    """Round to nearest even on integers. NaN is not handled."""
    bits = values.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).view(BF16)


def test_every_bf16_survives_the_way_through_float32() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(BF16)
    wide = convert(every, np.dtype(np.float32))
    numbers = ~np.isnan(wide)
    assert np.array_equal(wide.view(np.uint32)[numbers] >> 16, every.view(np.uint16)[numbers])
    assert np.array_equal(convert(wide, BF16).view(np.uint16)[numbers], every.view(np.uint16)[numbers])


def test_float32_is_rounded_to_the_nearest_even_bf16() -> None:
    values = around_every_bf16()
    numbers = ~np.isnan(values)
    rounded = convert(values, BF16)
    assert np.array_equal(rounded.view(np.uint16)[numbers], bf16_by_bits(values[numbers]).view(np.uint16))
    assert np.isnan(rounded[~numbers].astype(np.float32)).all()


def test_float32_is_cut_to_bf16_when_that_is_asked_for() -> None:
    values = around_every_bf16()
    numbers = ~np.isnan(values)
    cut = convert(values, BF16, toward_zero=True)
    assert np.array_equal(cut.view(np.uint16)[numbers], (values[numbers].view(np.uint32) >> 16).astype(np.uint16))


def nearest(values: Array, target: np.dtype[Any]) -> Array:
    """The finite fp8 number nearest to each value; of two equally near, the one whose code is even."""
    codes = np.arange(256, dtype=np.uint8)
    numbers = codes.view(target).astype(np.float64)
    finite = np.isfinite(numbers) & ~np.signbit(numbers)
    codes, numbers = codes[finite], numbers[finite]
    wanted = np.nan_to_num(np.abs(values.astype(np.float64)), nan=0.0)
    distance = np.abs(np.minimum(wanted, numbers.max())[:, None] - numbers[None])
    # An odd code loses a tie: the smallest possible difference is far above this.
    choice = np.argmin(distance + (codes & 1) * 1e-12, axis=1)
    return np.where(np.isnan(values), np.nan, np.copysign(numbers[choice], values.astype(np.float64)))


@pytest.mark.parametrize("target", FP8, ids=str)
@pytest.mark.parametrize("source", [np.float16, np.float32, np.float64], ids=["fp16", "fp32", "fp64"])
def test_every_fp16_is_rounded_to_the_nearest_fp8(target: np.dtype[Any], source: Any) -> None:
    values = FP16_VALUES.astype(source)
    expected = nearest(values, target)
    if "fnuz" in str(target):  # there is no negative zero
        expected = expected + 0.0
    assert same(convert(values, target), expected)


@pytest.mark.parametrize("target", FP8, ids=str)
def test_every_fp16_is_cut_to_fp8_toward_zero(target: np.dtype[Any]) -> None:
    finite = FP16_VALUES[np.isfinite(FP16_VALUES)]
    cut = convert(finite, target, toward_zero=True).astype(np.float64)
    numbers = np.arange(256, dtype=np.uint8).view(target).astype(np.float64)
    numbers = np.sort(numbers[np.isfinite(numbers) & (numbers >= 0)])
    below = numbers[np.searchsorted(numbers, np.abs(finite.astype(np.float64)), side="right") - 1]
    assert np.array_equal(np.abs(cut), below)


@pytest.mark.parametrize("target", FP8, ids=str)
def test_every_fp8_is_itself_in_every_wider_format(target: np.dtype[Any]) -> None:
    every = np.arange(256, dtype=np.uint8).view(target)
    for wide in (BF16, np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)):
        assert same(convert(every, wide), every), wide
        assert same(
            convert(convert(every, wide), target)[np.isfinite(every.astype("f4"))],
            every[np.isfinite(every.astype("f4"))],
        )


@pytest.mark.parametrize("target", FP8, ids=str)
def test_fp8_saturates_and_keeps_nan(target: np.dtype[Any]) -> None:
    values = np.array([1e30, -1e30, np.inf, -np.inf, np.nan, LARGEST[target]], np.float32)
    found = convert(values, target).astype(np.float64)
    largest = float(ml_dtypes.finfo(target).max)  # type: ignore[no-untyped-call]
    assert np.array_equal(found, [largest, -largest, largest, -largest, np.nan, largest], equal_nan=True)


@pytest.mark.parametrize("target", [BF16, np.dtype(np.float16), *FP8], ids=str)
def test_float64_is_rounded_once(target: np.dtype[Any]) -> None:
    """A hair above a tie: rounded to float32 first, it would be the tie and fall to the even side."""
    one, above = np.array([1.0]).astype(target), np.array([1.0]).astype(target)
    above = (above.view(unsigned(target)) + 1).view(target)
    halfway = (one.astype(np.float64) + above.astype(np.float64)) / 2
    assert convert(halfway, target) == one
    assert convert(halfway + 2.0**-45, target) == above
    assert convert(-halfway - 2.0**-45, target) == -above
    assert convert(halfway - 2.0**-45, target) == one


def test_whole_numbers_are_rounded_once() -> None:
    values = np.array([0, -7, 257, 2**31 - 1, 2**53 + 1, 2**40 + 2**32 + 1])
    expected = [0.0, -7.0, 256.0, 2.0**31, 2.0**53, 2.0**40 + 2.0**33]
    assert convert(values, BF16).astype(np.float64).tolist() == expected
    assert convert(np.array([True, False]), BF16).astype(np.float64).tolist() == [1.0, 0.0]


def test_every_byte_of_fp4_and_of_its_scales_is_decoded() -> None:
    codes = np.arange(256, dtype=np.uint8)
    expected = np.stack([codes & 15, codes >> 4], axis=-1).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    assert same(unpack_e2m1(codes[:, None]), expected)
    exponents = decode_scales(codes)
    assert np.array_equal(exponents[:255].astype(np.float64), 2.0 ** (np.arange(255) - 127.0))
    assert np.isnan(exponents[255])
    scales = codes.view(ml_dtypes.float8_e4m3fn)
    assert same(decode_scales(scales), scales)


def test_tf32_drops_thirteen_bits() -> None:
    values = np.array([1 + 2**-10, 1 + 2**-10 + 2**-11, -1 - 2**-11, 3.0, np.inf], np.float32)
    assert truncate_to_tf32(values).tolist() == [1 + 2**-10, 1 + 2**-10, -1.0, 3.0, np.inf]


@pytest.mark.parametrize("dtype", [*STORED.values(), np.dtype("f2"), np.dtype("f4"), np.dtype("f8")], ids=str)
def test_poison_is_nan(dtype: np.dtype[Any]) -> None:
    assert is_float(dtype)
    assert np.isnan(poison((2, 3), dtype).astype(np.float64)).all()


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "i8", "u8"])
def test_poison_is_no_index(dtype: str) -> None:
    assert (poison((2, 3), np.dtype(dtype)) >= 0x5A).all()
    assert not is_float(np.dtype(dtype))


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(KernelError, match="float8e4b15: the interpreter cannot compute in it"):
        refuse_unknown_format(tl.float8e4b15)
