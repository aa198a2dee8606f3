"""Figures as text, the same way on every page. Nothing is ever blank: what is missing says so."""

import math

NOT_MEASURED = "not measured"
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits and the unit: "41.7 ms", "2.1e-7", "NaN", "not measured" for None."""
    if value is None:
        return NOT_MEASURED
    if math.isnan(value):
        return "NaN"
    text = _infinite(value) if math.isinf(value) else _finite(value)
    return f"{text} {unit}".rstrip()


def _infinite(value: float) -> str:
    return "∞" if value > 0 else "\N{MINUS SIGN}∞"


def _finite(value: float) -> str:
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3 or size >= 1e6:
        mantissa, exponent = f"{value:.1e}".split("e")
        text = f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    elif size >= 100:
        text = f"{value:,.0f}" if size >= 1000 or value == int(value) else f"{value:.1f}".removesuffix(".0")
    else:
        text = f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else text


def count(value: int | None) -> str:
    """A whole number with its thousands apart: "812,345"."""
    return NOT_MEASURED if value is None else f"{value:,}"


def nbytes(value: float | None) -> str:
    """Bytes in the unit that leaves one to four digits before the point: "3.1 MiB"."""
    if value is None:
        return NOT_MEASURED
    if not math.isfinite(value):
        return number(value, "B")
    size, unit = value, 0
    while abs(size) >= 1024 and unit < len(_BYTE_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return number(size, _BYTE_UNITS[unit]) if unit else f"{_finite(size)} B"


def times(value: float | None) -> str:
    """A ratio of two times: "3.42x"."""
    return NOT_MEASURED if value is None else f"{number(value)}x"


def percent(share: float | None) -> str:
    """A share of one as a percentage: "2.9 %"."""
    return NOT_MEASURED if share is None else number(100 * share, "%")


def plural(amount: int, noun: str) -> str:
    """The amount and its noun: "1 frame", "64 frames"."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"
