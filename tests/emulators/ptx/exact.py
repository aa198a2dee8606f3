"""Rounding by fractions: the number of a format that IEEE 754 prescribes for an exact value."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np


@dataclass(frozen=True)
class Format:
    """A binary format: bits of fraction, least normal exponent, greatest exponent."""

    fraction: int
    least: int
    greatest: int
    dtype: np.dtype[Any]


FORMATS = {
    "f32": Format(23, -126, 127, np.dtype(np.float32)),
    "f16": Format(10, -14, 15, np.dtype(np.float16)),
    "bf16": Format(7, -126, 127, np.dtype(ml_dtypes.bfloat16)),
}


def round_exactly(value: Fraction, kind: str, mode: str = "rn") -> float:
    """The value in that format, as a Python float; a zero is positive."""
    form = FORMATS[kind]
    if value == 0:
        return 0.0
    magnitude = abs(value)
    exponent = max(_exponent(magnitude), form.least)
    step = Fraction(2) ** (exponent - form.fraction)
    down = magnitude // step
    rest = magnitude - down * step
    away = {
        "rn": rest > step / 2 or (rest == step / 2 and down % 2 == 1),
        "rz": False,
        "rm": value < 0 and rest > 0,
        "rp": value > 0 and rest > 0,
    }[mode]
    rounded = (down + away) * step
    top = (Fraction(2) - Fraction(1, 2**form.fraction)) * Fraction(2) ** form.greatest
    sign = -1 if value < 0 else 1
    if rounded > top:
        stays = mode == "rz" or (mode == "rm" and value > 0) or (mode == "rp" and value < 0)
        return sign * (float(top) if stays else float("inf"))
    return sign * float(rounded)


def _exponent(value: Fraction) -> int:
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    return exponent if Fraction(2) ** exponent <= value else exponent - 1
