"""Figures read the same everywhere, and what is missing is never blank."""

import math

import pytest

from porting.report import numbers


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "not measured"),
        (math.nan, "ms", "NaN"),
        (math.inf, "dB", "∞ dB"),
        (0.0, "", "0"),
        (41.6667, "ms", "41.7 ms"),
        (127.84, "dB", "127.8 dB"),
        (2.04e-7, "", "2e-7"),
        (2.16e-7, "", "2.2e-7"),
        (0.00123, "", "0.00123"),
        (-3.25, "dB", "\N{MINUS SIGN}3.25 dB"),
        (240.0, "", "240"),
        (12345.6, "", "12,346"),
        (2.5e9, "", "2.5e9"),
    ],
)
def test_three_digits_and_a_unit(value: float | None, unit: str, text: str) -> None:
    assert numbers.number(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not measured"), (0, "0 B"), (512, "512 B"), (2**20 * 3.1, "3.1 MiB"), (-2048, "−2 KiB")],  # noqa: RUF001
)
def test_bytes_have_a_fitting_unit(value: float | None, text: str) -> None:
    assert numbers.nbytes(value) == text


def test_words() -> None:
    assert numbers.times(3.416) == "3.42x"
    assert numbers.percent(0.0291) == "2.91 %"
    assert numbers.plural(1, "frame") == "1 frame"
    assert numbers.plural(1200, "frame") == "1,200 frames"
    assert numbers.count(None) == numbers.times(None) == numbers.percent(None) == "not measured"
