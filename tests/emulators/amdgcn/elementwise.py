"""Checks one elementwise instruction lane by lane: values at the edges, all lanes on, and every third lane off."""

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.state import POISON
from tests.emulators.amdgcn.bench import execute, lanes_of

Array = npt.NDArray[Any]
WHOLE = (0, 1, 2, 3, 15, 16, 31, 32, 33, 63, 64, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFFFFFF, 0x1000000, 0x7FFFFFFF)
WHOLE_EDGES = (*WHOLE, 0x80000000, 0x80000001, 0xDEADBEEF, 0xFFFFFFE0, 0xFFFFFFFE, 0xFFFFFFFF)
FLOAT_EDGES = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1.5, 3.0, 16777216.0, 16777217.0, 2147483648.0, 4294967296.0, -2147483648.0),
    *(3.4028234663852886e38, -3.4028234663852886e38, 1.1754943508222875e-38, 1e-40, -1e-45, 65504.0, 65520.0),
    *(math.inf, -math.inf, math.nan, 0.1, 1e-20, 1e20, 7.0, 1.0000001),
)
RESULT = 16
"""First register of the result."""


def draw_whole(count: int, seed: int) -> Array:
    """Whole numbers of 32 bits: half of them edges."""
    random = np.random.default_rng(seed)
    edges = random.choice(np.array(WHOLE_EDGES, np.uint32), count)
    return np.where(random.random(count) < 0.6, edges, random.integers(0, 2**32, count, dtype=np.uint32)).astype(
        np.uint32
    )


def draw_floats(count: int, seed: int) -> Array:
    """float32: half of them edges."""
    random = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        edges = random.choice(np.array(FLOAT_EDGES), count).astype(np.float32)
        others = (random.normal(0, 1, count) * 10.0 ** random.integers(-6, 7, count)).astype(np.float32)
    return np.where(random.random(count) < 0.5, edges, others).astype(np.float32)


def check(
    target: str, text: str, sources: dict[int, Array], expected: Sequence[int] | Array, registers: int = 1
) -> None:
    """Execute with all lanes, then with every third lane off, which must keep what they had.

    Args:
        target: "gfx950".
        text: writes v16 and on.
        sources: row -> words of the lanes.
        expected: of each lane, as a whole number of 32 * registers bits.
        registers: of the result.
    """
    wanted = np.array([[int(value) >> (32 * place) & 0xFFFFFFFF for place in range(registers)] for value in expected])
    before = np.arange(len(wanted), dtype=np.uint32) * np.uint32(0x01010101) + np.uint32(0x33221100)
    vectors = {**sources, **{RESULT + place: before for place in range(registers)}}
    mask = sum(1 << lane for lane in range(len(wanted)) if lane % 3)
    for exec_mask in (None, mask):
        waves = execute(target, text, vectors, exec_mask=exec_mask)
        for place in range(registers):
            on = np.ones(len(wanted), bool) if exec_mask is None else np.arange(len(wanted)) % 3 != 0
            got = waves.u32[RESULT + place][0]
            want = np.where(on, wanted[:, place], before)
            bad = np.flatnonzero(got != want)
            assert not len(bad), describe(text, bad[0], sources, got, want)


def describe(text: str, lane: int, sources: dict[int, Array], got: Array, want: Array) -> str:
    """Which lane computed what of which sources."""
    of = ", ".join(f"v{row} {int(words[lane]):#x}" for row, words in sources.items())
    return f"{text}: lane {lane} of {of}: {int(got[lane]):#x}, not {int(want[lane]):#x}"


def check_whole(target: str, text: str, function: Callable[..., int], count: int, seed: int = 0) -> None:
    """An instruction of `count` 32-bit sources v0, v1, ... against a function of whole numbers."""
    lanes = len(lanes_of(target))
    for round_number in range(3):
        sources = {row: draw_whole(lanes, 100 * seed + 10 * round_number + row) for row in range(count)}
        expected = [function(*(int(words[lane]) for words in sources.values())) for lane in range(lanes)]
        check(target, text, sources, expected)


def signed(value: int, bits: int = 32) -> int:
    """Bits as a two's complement number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def round_to(exact: Fraction, fraction_bits: int, smallest_exponent: int, largest: Fraction) -> float:
    """The nearest number of a binary format, ties to even; infinity beyond.

    smallest_exponent: of the format's least normal number, as a power of two.
    """
    if exact == 0:
        return 0.0
    size = abs(exact)
    exponent = math.floor(math.log2(size)) if size.denominator.bit_length() < 1000 else -1000
    while Fraction(2) ** exponent > size:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= size:
        exponent += 1
    unit = Fraction(2) ** (max(exponent, smallest_exponent) - fraction_bits)
    whole = round(size / unit)
    rounded = whole * unit
    result = math.inf if rounded > largest else float(rounded)
    return -result if exact < 0 else result


def single(exact: Fraction) -> float:
    """The nearest float32."""
    return round_to(exact, 23, -126, Fraction(3.4028234663852886e38))


def half(exact: Fraction) -> float:
    """The nearest float16."""
    return round_to(exact, 10, -14, Fraction(65504))


def bits_of(value: float) -> int:
    """Of a number that float32 holds; any NaN is one."""
    with np.errstate(over="ignore"):
        return 0x7FC00000 if math.isnan(value) else int(np.float32(value).view(np.uint32))


def check_floats(
    target: str, text: str, function: Callable[..., float], count: int, seed: int = 0, edges: bool = True
) -> None:
    """An instruction of `count` float32 sources against a function of Python floats; a NaN matches any NaN."""
    lanes = len(lanes_of(target))
    for round_number in range(3):
        numbers = [draw_floats(lanes, 100 * seed + 10 * round_number + row) for row in range(count)]
        if not edges:
            numbers = [np.where(np.isfinite(each), each, np.float32(1.25)) for each in numbers]
        waves = execute(target, text, {row: each for row, each in enumerate(numbers)})
        got = waves.f32[RESULT][0]
        for lane in range(lanes):
            want = function(*(float(each[lane]) for each in numbers))
            found = float(got[lane])
            same = (math.isnan(want) and math.isnan(found)) or bits_of(want) == bits_of(found)
            of = [float(each[lane]) for each in numbers]
            assert same, f"{text}: lane {lane} of {of}: {found!r}, not {want!r}"
    partial = execute(target, text, dict(enumerate(numbers)), exec_mask=2)
    assert partial.u32[RESULT][0][0] == POISON
    assert partial.u32[RESULT][0][1] != POISON or math.isnan(float(got[1]))


def count_sources(text: str) -> int:
    """How many of v0, v1 and v2 an instruction reads."""
    return len(set(re.findall(r"\bv[012]\b", text)))


def name_text(value: Any) -> str:
    """Of a parameter: texts name a case, functions do not."""
    return value if isinstance(value, str) else ""
