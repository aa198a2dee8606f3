"""float32 arithmetic against exact fractions, rounded once. Source: CDNA3 and RDNA4 instruction sets; IEEE 754."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.emulators.amdgcn.bench import execute, lanes_of
from tests.emulators.amdgcn.elementwise import bits_of, check_floats, count_sources, draw_floats, name_text, single

G9, G12 = ("gfx942", "gfx950"), ("gfx1250", "gfx1201")
BOTH = (*G9, *G12)


def exactly(special: Callable[..., float], exact: Callable[..., Fraction]) -> Callable[..., float]:
    """Fractions where all is finite and the result is not zero; else Python's floats, which obey IEEE 754 too."""

    def function(*values: float) -> float:
        if not all(math.isfinite(value) for value in values):
            return special(*values)
        result = exact(*map(Fraction, values))
        return single(result) if result else special(*values)

    return function


def largest(a: float, b: float) -> float:
    """maximumNumber: a NaN loses; +0 is more than -0."""
    if math.isnan(a) or math.isnan(b):
        return b if math.isnan(a) else a
    return max((a, b), key=lambda value: (value, math.copysign(1, value)))


def least(a: float, b: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return b if math.isnan(a) else a
    return min((a, b), key=lambda value: (value, math.copysign(1, value)))


def median(a: float, b: float, c: float) -> float:
    if any(map(math.isnan, (a, b, c))):
        return least(least(a, b), c)
    return sorted((a, b, c), key=lambda value: (value, math.copysign(1, value)))[1]


add = exactly(lambda a, b: a + b, lambda a, b: a + b)
subtract = exactly(lambda a, b: a - b, lambda a, b: a - b)
multiply = exactly(lambda a, b: a * b, lambda a, b: a * b)
fma = exactly(lambda a, b, c: a * b + c, lambda a, b, c: a * b + c)
CASES = [
    (BOTH, "v_add_f32_e32 v16, v0, v1", add),
    (BOTH, "v_add_f32_e64 v16, -v0, |v1|", lambda a, b: add(-a, abs(b))),
    (BOTH, "v_add_f32_e64 v16, v0, -|v1|", lambda a, b: add(a, -abs(b))),
    (BOTH, "v_sub_f32_e32 v16, v0, v1", subtract),
    (BOTH, "v_subrev_f32_e32 v16, v0, v1", lambda a, b: subtract(b, a)),
    (BOTH, "v_mul_f32_e32 v16, v0, v1", multiply),
    (BOTH, "v_fma_f32 v16, v0, v1, v2", fma),
    (BOTH, "v_fma_f32 v16, -v0, v1, -v2", lambda a, b, c: fma(-a, b, -c)),
    (BOTH, "v_mov_b32_e32 v16, v2\nv_fmac_f32_e32 v16, v0, v1", fma),
    (G9, "v_max_f32_e32 v16, v0, v1", largest),
    (G9, "v_min_f32_e32 v16, v0, v1", least),
    (G12, "v_max_num_f32_e32 v16, v0, v1", largest),
    (G12, "v_min_num_f32_e32 v16, v0, v1", least),
    (G9, "v_max3_f32 v16, v0, v1, v2", lambda a, b, c: largest(largest(a, b), c)),
    (G12, "v_max3_num_f32 v16, v0, v1, v2", lambda a, b, c: largest(largest(a, b), c)),
    (G9, "v_med3_f32 v16, v0, v1, v2", median),
    (G12, "v_med3_num_f32 v16, v0, v1, v2", median),
    (BOTH, "v_trunc_f32_e32 v16, v0", lambda a: a if not math.isfinite(a) else math.copysign(math.trunc(a), a)),
    (BOTH, "v_floor_f32_e32 v16, v0", lambda a: a if not math.isfinite(a) else math.copysign(math.floor(a), a)),
    (BOTH, "v_rndne_f32_e32 v16, v0", lambda a: a if not math.isfinite(a) else math.copysign(round(a), a)),
]
PAIRS = [(target, text, function) for targets, text, function in CASES for target in targets]


@pytest.mark.parametrize(("target", "text", "function"), PAIRS, ids=name_text)
def test_instruction(target: str, text: str, function: Any) -> None:
    count = count_sources(text)
    check_floats(target, text, function, count, seed=len(text))


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [
        (1 + 2.0**-12, 1 - 2.0**-12, -1.0),
        (2.0**-80, 2.0**-60, 1.0),
        (1 + 2.0**-23, 1 + 2.0**-23, -(1 + 2.0**-22)),
        (1 + 2.0**-12, 1 + 2.0**-12, 2.0**-60),
        (3.0, 2.0**-149, 2.0**-149),
        (2.0**127, 2.0, -(2.0**127)),
    ],
)
def test_fma_rounds_once(a: Any, b: Any, c: Any) -> None:
    words = {place: np.float32(value).view(np.uint32) for place, value in enumerate((a, b, c))}
    for text in ("v_fma_f32 v16, v0, v1, v2", "v_fmamk_f32 v16, v0, 0x40000000, v2"):
        waves = execute("gfx950", text, words)
        factor = Fraction(b) if "fma_f32" in text else Fraction(2)
        assert waves.u32[16][0][0] == bits_of(single(Fraction(a) * factor + Fraction(c)))


def test_constants_of_fmamk_and_fmaak() -> None:
    waves = execute(
        "gfx942",
        "v_fmamk_f32 v16, v0, 0x40400000, v1\nv_fmaak_f32 v17, v0, v1, 0x40400000",
        {0: bits_of(5), 1: bits_of(7)},
    )
    assert (waves.f32[16][0][0], waves.f32[17][0][0]) == (5 * 3 + 7, 5 * 7 + 3)


@pytest.mark.parametrize("modifier", ["clamp", "mul:2", "mul:4", "div:2"])
def test_output_modifiers(modifier: str) -> None:
    """omod multiplies the result, clamp bounds it by 0 and 1; a NaN is clamped to 0."""
    apply: Callable[[float], float] = {
        "clamp": lambda value: 0.0 if math.isnan(value) or value <= 0 else min(value, 1.0),
        "mul:2": lambda value: value * 2,
        "mul:4": lambda value: value * 4,
        "div:2": lambda value: value / 2,
    }[modifier]
    values = np.array([0.25, -3.0, 1.5, math.nan, 0.0, math.inf, -math.inf, 0.75] * 8, np.float32)
    waves = execute("gfx942", f"v_add_f32_e64 v16, v0, 0 {modifier}", {0: values})
    expected = [apply(float(value)) for value in values]
    np.testing.assert_array_equal(waves.f32[16][0], np.array(expected, np.float32))


Array = npt.NDArray[Any]
APPROXIMATE = [
    ("v_exp_f32_e32", lambda a: 2.0**a if a < 1000 else math.inf),
    ("v_log_f32_e32", lambda a: math.log2(a) if a > 0 else -math.inf if a == 0 else math.nan),
    ("v_rcp_f32_e32", lambda a: 1 / a if a else math.copysign(math.inf, a)),
    ("v_rsq_f32_e32", lambda a: 1 / math.sqrt(a) if a > 0 else math.copysign(math.inf, a) if a == 0 else math.nan),
    ("v_sqrt_f32_e32", lambda a: math.sqrt(a) if a >= 0 else math.nan),
]


@pytest.mark.parametrize(("name", "function"), APPROXIMATE, ids=name_text)
@pytest.mark.parametrize("target", BOTH)
def test_approximations_are_within_one_unit_of_the_last_place(target: str, name: str, function: Any) -> None:
    """The documents promise 1 ulp; special values are exact."""
    numbers = draw_floats(len(lanes_of(target)), 7)
    got = execute(target, f"{name} v16, v0", {0: numbers}).f32[16][0]
    for number, found in zip(numbers.tolist(), got.tolist(), strict=True):
        want = function(number) if math.isfinite(number) else float(_of_special(name, number))
        with np.errstate(over="ignore"):
            want = float(np.float32(want))
        if math.isnan(want):
            assert math.isnan(found), (name, number, found)
        elif math.isinf(want) or want == 0:
            assert found == want, (name, number, found)
        else:
            assert abs(found - want) <= np.spacing(np.float32(abs(want))), (name, number, found, want)


def _of_special(name: str, number: float) -> float:
    if math.isnan(number):
        return math.nan
    if "exp" in name:
        return math.inf if number > 0 else 0.0
    if "rcp" in name:
        return math.copysign(0.0, number)
    if number < 0:
        return math.nan
    return 0.0 if "rsq" in name else math.inf


@pytest.mark.parametrize("target", BOTH)
def test_ldexp(target: str) -> None:
    numbers = np.array([1.0, -3.0, 1.5, 1e-40, 0.0, math.inf, 1.0, 2.0] * 4, np.float32)
    powers = np.array([3, -1, 200, 20, 5, 1, -149, -151] * 4, np.int32)
    lanes = len(lanes_of(target))
    numbers, powers = np.resize(numbers, lanes), np.resize(powers, lanes)
    got = execute(target, "v_ldexp_f32 v16, v0, v1", {0: numbers, 1: powers}).f32[16][0]
    with np.errstate(over="ignore"):
        expected = [
            np.float32(math.ldexp(float(number), int(power))) for number, power in zip(numbers, powers, strict=True)
        ]
    np.testing.assert_array_equal(got, np.array(expected))


WHOLE = [
    ("v_cvt_i32_f32_e32", -(2**31), 2**31 - 1),
    ("v_cvt_u32_f32_e32", 0, 2**32 - 1),
]


@pytest.mark.parametrize(("name", "low", "high"), WHOLE)
@pytest.mark.parametrize("target", BOTH)
def test_float_to_whole_truncates_and_saturates(target: str, name: str, low: int, high: int) -> None:
    numbers = draw_floats(len(lanes_of(target)), 9)
    numbers[:6] = [2147483520.0, 2147483648.0, 4294967040.0, -0.9, 0.999, -2147483648.0]
    got = execute(target, f"{name} v16, v0", {0: numbers}).u32[16][0]
    for number, found in zip(numbers.tolist(), got.tolist(), strict=True):
        want = 0 if math.isnan(number) else low if number < low else high if number > high else math.trunc(number)
        assert found == want & 0xFFFFFFFF, number


@pytest.mark.parametrize("target", BOTH)
def test_whole_to_float_rounds_to_even(target: str) -> None:
    words = np.resize(
        np.array([0, 1, 16777217, 16777219, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0xFFFFFF7F], np.uint32),
        len(lanes_of(target)),
    )
    waves = execute(
        target, "v_cvt_f32_u32_e32 v16, v0\nv_cvt_f32_i32_e32 v17, v0\nv_cvt_f32_ubyte2_e32 v18, v0", {0: words}
    )
    for lane, word in enumerate(words.tolist()):
        assert waves.f32[16][0][lane] == single(Fraction(word))
        assert waves.f32[17][0][lane] == single(Fraction(word - (word >> 31 << 32)))
        assert waves.f32[18][0][lane] == word >> 16 & 255


DIVISIONS = [(1.0, 3.0), (7.0, -2.0), (1e38, 1e-38), (1e-38, 1e38), (1e-45, 3.0), (0.0, 5.0), (-5.0, 0.0), (1.0, 1e-40)]
SPECIAL = [
    (0.0, 0.0),
    (math.inf, math.inf),
    (math.inf, -2.0),
    (2.0, -math.inf),
    (math.nan, 1.0),
    (3.4e38, 1.1),
    (1e-30, 1e9),
]


def divide(target: str, numerators: Array, denominators: Array) -> Array:
    """LLVM's expansion of an IEEE division: v_div_scale twice, Newton's steps, v_div_fmas, v_div_fixup."""
    mask, other = ("vcc", "s[4:5]") if target == "gfx942" else ("vcc_lo", "s4")
    text = f"""v_div_scale_f32 v2, {other}, v1, v1, v0
        v_rcp_f32_e32 v3, v2
        v_div_scale_f32 v4, {mask}, v0, v1, v0
        v_fma_f32 v5, -v2, v3, 1.0
        v_fma_f32 v3, v5, v3, v3
        v_mul_f32_e32 v6, v4, v3
        v_fma_f32 v7, -v2, v6, v4
        v_fma_f32 v6, v7, v3, v6
        v_fma_f32 v7, -v2, v6, v4
        v_div_fmas_f32 v7, v7, v3, v6
        v_div_fixup_f32 v16, v7, v1, v0"""
    quotients: Array = execute(target, text, {0: numerators, 1: denominators}).f32[16][0]
    return quotients


@pytest.mark.parametrize("target", ["gfx942", "gfx1201"])
def test_division_sequence_divides(target: str) -> None:
    lanes = len(lanes_of(target))
    random = np.random.default_rng(1)
    pairs = np.resize(np.array(DIVISIONS + SPECIAL, np.float32), (lanes, 2))
    drawn = random.integers(0, 2**32, (20, lanes, 2), dtype=np.uint32).view(np.float32)
    for numerators, denominators in (pairs.T, *drawn.transpose(0, 2, 1)):
        with np.errstate(all="ignore"):
            want = numerators / denominators
        got = divide(target, numerators.copy(), denominators.copy())
        np.testing.assert_array_equal(got, want)
