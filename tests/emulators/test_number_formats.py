"""The narrow formats, against their definitions: OCP 8-bit floating point and OCP microscaling formats."""

import math
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest

from porting.emulators.number_formats import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E4M3_FNUZ,
    E5M2,
    E5M2_FNUZ,
    E8M0,
    F16,
    NumberFormat,
    decode,
    encode,
    pack,
    power_of_two,
    unpack,
)

DEFINITIONS = {
    # format: (exponent bits, fraction bits, bias)
    E4M3: (4, 3, 7),
    E5M2: (5, 2, 15),
    E4M3_FNUZ: (4, 3, 8),
    E5M2_FNUZ: (5, 2, 16),
    E2M3: (2, 3, 1),
    E3M2: (3, 2, 3),
    E2M1: (2, 1, 1),
}


def meaning(form: NumberFormat, code: int) -> float:
    """What the definition says of one code."""
    exponent_bits, fraction_bits, bias = DEFINITIONS[form]
    if form in (E4M3_FNUZ, E5M2_FNUZ) and code == 0x80:
        return math.nan
    sign = -1.0 if code >> (form.bits - 1) else 1.0
    exponent = code >> fraction_bits & (1 << exponent_bits) - 1
    fraction = code & (1 << fraction_bits) - 1
    if form is E4M3 and exponent == 15 and fraction == 7:
        return math.nan
    if form is E5M2 and exponent == 31:
        return sign * math.inf if fraction == 0 else math.nan
    if exponent == 0:
        return sign * fraction * 2.0 ** (1 - bias - fraction_bits)
    return sign * (1 + fraction / (1 << fraction_bits)) * 2.0 ** (exponent - bias)


@pytest.mark.parametrize("form", DEFINITIONS, ids=lambda form: form.name)
def test_every_code_means_what_the_definition_says(form: NumberFormat) -> None:
    codes = np.arange(1 << form.bits, dtype=np.uint8)
    np.testing.assert_array_equal(decode(codes, form), [meaning(form, int(code)) for code in codes])


@pytest.mark.parametrize("form", DEFINITIONS, ids=lambda form: form.name)
def test_largest_is_the_largest_finite_number(form: NumberFormat) -> None:
    numbers = [meaning(form, code) for code in range(1 << form.bits)]
    assert form.largest == max(number for number in numbers if math.isfinite(number))


@pytest.mark.parametrize("form", DEFINITIONS, ids=lambda form: form.name)
def test_rounding_takes_the_nearest_code_and_the_even_one_of_two(form: NumberFormat) -> None:
    finite = sorted(
        {meaning(form, code): code for code in range(1 << form.bits) if math.isfinite(meaning(form, code))}.items()
    )
    for (low, low_code), (high, high_code) in pairwise(finite):
        middle = (low + high) / 2
        even = low_code if low_code % 2 == 0 else high_code
        for number, code in ((low, low_code), (middle, even), (middle * 0.75 + high * 0.25, high_code)):
            got = int(encode(np.array([number]), form)[0])
            assert meaning(form, got) == meaning(form, code), (low, high, number)


@pytest.mark.parametrize(
    ("form", "beyond"),
    [(E4M3, math.nan), (E5M2, math.inf), (E4M3_FNUZ, math.nan), (E5M2_FNUZ, math.nan), (E2M1, 6.0), (E2M3, 7.5)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_what_is_too_large(form: NumberFormat, beyond: float) -> None:
    numbers = np.array([1e30, -1e30, math.inf, -math.inf])
    with np.errstate(all="ignore"):
        plain = decode(encode(numbers, form), form)
        saturated = decode(encode(numbers, form, saturate=True), form)
    np.testing.assert_array_equal(np.abs(plain), [abs(beyond)] * 4)
    np.testing.assert_array_equal(saturated, [form.largest, -form.largest] * 2)


def test_nan_stays_nan_even_saturated() -> None:
    for form in (E4M3, E5M2, E4M3_FNUZ, E5M2_FNUZ, F16, BF16):
        with np.errstate(all="ignore"):
            assert np.isnan(decode(encode(np.array([math.nan]), form, saturate=True), form)).all()


def test_zeros_and_the_smallest_numbers() -> None:
    assert encode(np.array([0.0, -0.0]), E4M3).tolist() == [0x00, 0x80]
    assert encode(np.array([0.0, -0.0]), E4M3_FNUZ).tolist() == [0x00, 0x00]
    assert encode(np.array([2.0**-9, 2.0**-10, 2.0**-10 * 1.001]), E4M3).tolist() == [1, 0, 1]
    assert encode(np.array([2.0**-16]), E5M2).tolist() == [1]


def test_sixteen_bits() -> None:
    numbers = np.array([1.0, -2.5, 65504.0, 2.0**-24, 3.0])
    assert encode(numbers, F16).tolist() == numbers.astype(np.float16).view(np.uint16).tolist()
    np.testing.assert_array_equal(decode(encode(numbers, F16), F16), numbers)
    codes = np.array([0x3F80, 0xC040, 0x7F80, 0x0001], np.uint16)
    np.testing.assert_array_equal(decode(codes, BF16), codes.view(ml_dtypes.bfloat16).astype(np.float64))


def test_scales_are_powers_of_two() -> None:
    codes = np.array([0, 1, 126, 127, 128, 254, 255], np.uint8)
    expected = [2.0**-127, 2.0**-126, 0.5, 1.0, 2.0, 2.0**127, math.nan]
    np.testing.assert_array_equal(power_of_two(codes), expected)
    np.testing.assert_array_equal(decode(codes, E8M0), expected)


@pytest.mark.parametrize("bits", [4, 6, 8, 16, 32])
def test_fields_lie_end_to_end_from_the_lowest_bit(bits: int) -> None:
    words = np.random.default_rng(bits).integers(0, 2**32, (2, 5, 6), dtype=np.uint32)
    fields = unpack(words, bits)
    assert fields.shape == (2, 5, 192 // bits)
    whole = int.from_bytes(words[1, 3].astype("<u4").tobytes(), "little")
    assert fields[1, 3].tolist() == [whole >> (bits * place) & ((1 << bits) - 1) for place in range(192 // bits)]
    np.testing.assert_array_equal(pack(fields, bits), words)
