"""16-bit, packed and mixed arithmetic. Source: CDNA3, CDNA4 and RDNA4 instruction sets, VOP3P and 16-bit VALU."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from tests.emulators.amdgcn.bench import execute, lanes_of
from tests.emulators.amdgcn.elementwise import draw_floats, draw_whole, half, name_text, signed, single

Array = npt.NDArray[Any]
HALVES = np.array(
    [0.0, -0.0, 1.0, -1.5, 65504.0, -65504.0, 6e-8, 6.1e-5, np.inf, -np.inf, np.nan, 0.1, 3.0, 2048.0, 2049.0]
)
M = 0xFFFF


def halves(target: str, seed: int, dtype: Any = np.float16) -> Array:
    """(lanes, 2) numbers of 16 bits, the edges among them."""
    random = np.random.default_rng(seed)
    count = 2 * len(lanes_of(target))
    with np.errstate(all="ignore"):
        numbers = np.where(random.random(count) < 0.4, random.choice(HALVES, count), random.normal(0, 50, count))
        rounded: Array = numbers.astype(dtype).reshape(-1, 2)
        return rounded


def packed(numbers: Array) -> Array:
    return np.ascontiguousarray(numbers).view(np.uint32)[:, 0]


def unpacked(words: Array, dtype: Any) -> Array:
    numbers: Array = np.ascontiguousarray(words).view(dtype).reshape(-1, 2)
    return numbers


def exact_half(special: Callable[..., float], exact: Callable[..., Fraction], *values: float) -> float:
    if not all(math.isfinite(value) for value in values):
        return special(*values)
    result = exact(*[Fraction(value) for value in values])
    return half(result) if result else special(*values)


def same(found: float, want: float) -> bool:
    if math.isnan(want):
        return math.isnan(found)
    return found == want and math.copysign(1, found) == math.copysign(1, want)


ARITHMETIC = [
    ("v_pk_add_f16", lambda a, b: a + b),
    ("v_pk_mul_f16", lambda a, b: a * b),
    ("v_pk_fma_f16", lambda a, b, c: a * b + c),
]


@pytest.mark.parametrize(("name", "function"), ARITHMETIC, ids=name_text)
@pytest.mark.parametrize("target", ["gfx942", "gfx1250"])
def test_packed_halves_are_rounded_once(target: str, name: str, function: Any) -> None:
    count = 3 if "fma" in name else 2
    numbers = [halves(target, 10 + place) for place in range(count)]
    sources = ", ".join(f"v{place}" for place in range(count))
    waves = execute(target, f"{name} v16, {sources}", {place: packed(each) for place, each in enumerate(numbers)})
    got = unpacked(waves.u32[16][0], np.float16)
    for lane in range(len(got)):
        for side in (0, 1):
            values = [float(each[lane, side]) for each in numbers]
            want = exact_half(function, function, *values)
            assert same(float(got[lane, side]), want), (name, values, got[lane, side], want)


def test_packed_halves_select_and_negate() -> None:
    """op_sel: the half for the low result; op_sel_hi: for the high one; neg_lo and neg_hi likewise."""
    a, b = np.array([[1.0, 2.0]] * 64, np.float16), np.array([[10.0, 20.0]] * 64, np.float16)
    text = "v_pk_add_f16 v16, v0, v1 op_sel:[1,0] op_sel_hi:[0,1] neg_lo:[1,0] neg_hi:[0,1]"
    got = unpacked(execute("gfx942", text, {0: packed(a), 1: packed(b)}).u32[16][0], np.float16)
    assert got[5].tolist() == [-2.0 + 10.0, 1.0 - 20.0]


SINGLES = [
    ("v_pk_add_f32", lambda a, b: a + b),
    ("v_pk_mul_f32", lambda a, b: a * b),
    ("v_pk_fma_f32", lambda a, b, c: a * b + c),
]


@pytest.mark.parametrize(("name", "function"), SINGLES, ids=name_text)
@pytest.mark.parametrize("target", ["gfx942", "gfx1250"])
def test_packed_singles(target: str, name: str, function: Any) -> None:
    lanes = len(lanes_of(target))
    count = 3 if "fma" in name else 2
    numbers = [np.stack([draw_floats(lanes, 20 + 2 * row), draw_floats(lanes, 21 + 2 * row)]) for row in range(count)]
    sources = ", ".join(f"v[{2 * row}:{2 * row + 1}]" for row in range(count))
    waves = execute(target, f"{name} v[16:17], {sources}", {2 * row: each for row, each in enumerate(numbers)})
    for side in (0, 1):
        for lane in range(lanes):
            values = [float(each[side, lane]) for each in numbers]
            want = function(*values)
            if all(math.isfinite(value) for value in values) and want:
                want = single(function(*[Fraction(value) for value in values]))
            with np.errstate(over="ignore"):
                assert same(float(waves.f32[16 + side][0][lane]), float(np.float32(want))), (name, values)


@pytest.mark.parametrize("target", ["gfx942", "gfx1250"])
def test_packed_singles_select_registers(target: str) -> None:
    registers = {0: np.float32(1), 1: np.float32(2), 2: np.float32(10), 3: np.float32(20)}
    words = {row: value.view(np.uint32) for row, value in registers.items()}
    text = "v_pk_add_f32 v[16:17], v[0:1], v[2:3] op_sel:[1,0] op_sel_hi:[0,0]"
    waves = execute(target, text, words)
    assert (waves.f32[16][0][0], waves.f32[17][0][0]) == (12.0, 11.0)
    both = execute(target, "v_pk_mul_f32 v[16:17], v[0:1], s[4:5] op_sel_hi:[1,0]", words, {4: 0x40400000, 5: 0})
    assert (both.f32[16][0][0], both.f32[17][0][0]) == (3.0, 6.0)


def test_packed_move_takes_one_register_of_each_pair() -> None:
    """CDNA3, V_PK_MOV_B32: the low result is half op_sel[0] of source 0, the high one half op_sel[1] of source 1."""
    words = {0: 1, 1: 2, 2: 3, 3: 4}
    for low in (0, 1):
        for high in (0, 1):
            waves = execute("gfx942", f"v_pk_mov_b32 v[16:17], v[0:1], v[2:3] op_sel:[{low},{high}]", words)
            assert (waves.u32[16][0][0], waves.u32[17][0][0]) == (1 + low, 3 + high)


WHOLE = [
    ("gfx1201", "v_pk_lshlrev_b16", lambda a, b: b << (a & 15)),
    ("gfx1201", "v_pk_max_u16", max),
    ("gfx942", "v_pk_add_u16", lambda a, b: a + b),
    ("gfx942", "v_pk_sub_i16", lambda a, b: a - b),
    ("gfx942", "v_pk_mul_lo_u16", lambda a, b: a * b),
    ("gfx942", "v_pk_ashrrev_i16", lambda a, b: signed(b, 16) >> (a & 15)),
    ("gfx942", "v_pk_min_i16", lambda a, b: min(signed(a, 16), signed(b, 16))),
    ("gfx1250", "v_pk_lshrrev_b16", lambda a, b: b >> (a & 15)),
]


@pytest.mark.parametrize(("target", "name", "function"), WHOLE, ids=name_text)
def test_packed_whole_numbers(target: str, name: str, function: Any) -> None:
    a, b = (draw_whole(len(lanes_of(target)), 30 + seed) for seed in (1, 2))
    got = execute(target, f"{name} v16, v0, v1", {0: a, 1: b}).u32[16][0]
    for lane, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        want = (function(x & M, y & M) & M) | (function(x >> 16, y >> 16) & M) << 16
        assert got[lane] == want, (name, hex(x), hex(y))


SIXTEEN = [
    ("gfx942", "v_add_u16_e32 v16, v0, v1", lambda a, b: a + b),
    ("gfx942", "v_sub_u16_e32 v16, v0, v1", lambda a, b: a - b),
    ("gfx942", "v_mul_lo_u16_e32 v16, v0, v1", lambda a, b: a * b),
    ("gfx942", "v_lshlrev_b16_e32 v16, v0, v1", lambda a, b: b << (a & 15)),
    ("gfx942", "v_lshrrev_b16_e32 v16, v0, v1", lambda a, b: b >> (a & 15)),
    ("gfx942", "v_ashrrev_i16_e32 v16, v0, v1", lambda a, b: signed(b, 16) >> (a & 15)),
    ("gfx942", "v_max_u16_e32 v16, v0, v1", max),
    ("gfx950", "v_bitop3_b16 v16, v0, v1, v0 bitop3:0x3c", lambda a, b: a ^ b),
]


@pytest.mark.parametrize(("target", "text", "function"), SIXTEEN, ids=name_text)
def test_sixteen_bit_results_of_gfx9_clear_the_upper_half(target: str, text: str, function: Any) -> None:
    a, b = (draw_whole(64, 40 + seed) for seed in (1, 2))
    got = execute(target, text, {0: a, 1: b, 16: 0x77777777}).u32[16][0]
    for lane, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        assert got[lane] == function(x & M, y & M) & M, (text, hex(x), hex(y))


TRUE_SIXTEEN = [
    ("v_add_nc_u16 {d}, {a}, {b}", lambda a, b: a + b),
    ("v_sub_nc_u16 {d}, {a}, {b}", lambda a, b: a - b),
    ("v_mul_lo_u16 {d}, {a}, {b}", lambda a, b: a * b),
    ("v_lshlrev_b16 {d}, {a}, {b}", lambda a, b: b << (a & 15)),
    ("v_lshrrev_b16 {d}, {a}, {b}", lambda a, b: b >> (a & 15)),
    ("v_and_b16 {d}, {a}, {b}", lambda a, b: a & b),
    ("v_or_b16 {d}, {a}, {b}", lambda a, b: a | b),
    ("v_max_u16 {d}, {a}, {b}", max),
    ("v_mov_b16_e64 {d}, {a}", lambda a, b: a),
]


@pytest.mark.parametrize(("text", "function"), TRUE_SIXTEEN, ids=name_text)
@pytest.mark.parametrize("target", ["gfx1250", "gfx1201"])
def test_halves_of_gfx12_are_named_and_keep_the_other_half(target: str, text: str, function: Any) -> None:
    a, b = (draw_whole(32, 50 + seed) for seed in (1, 2))
    for high in (0, 1):
        line = text.format(d="v16.h" if high else "v16.l", a="v0.h", b="v1.l")
        got = execute(target, line, {0: a, 1: b, 16: 0x1234ABCD}).u32[16][0]
        for lane, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
            value = function(x >> 16, y & M) & M
            assert got[lane] == (value << 16 | 0xABCD if high else 0x12340000 | value), (line, hex(x), hex(y))


@pytest.mark.parametrize(("target", "name"), [("gfx942", "f16"), ("gfx1250", "f16"), ("gfx1250", "bf16")])
@pytest.mark.parametrize("form", ["mix", "mixlo", "mixhi"])
def test_mixed_fma(target: str, name: str, form: str) -> None:
    """op_sel_hi: the source is a half of 16 bits, which op_sel names; else it is a float32."""
    dtype = np.float16 if name == "f16" else ml_dtypes.bfloat16
    lanes = len(lanes_of(target))
    pairs = np.random.default_rng(3).normal(0, 4, (lanes, 2)).astype(dtype)
    b, c = (np.random.default_rng(seed).normal(0, 4, lanes).astype(np.float32) for seed in (4, 5))
    suffix = "_f32" if form == "mix" and name == "f16" else "_f32_bf16" if form == "mix" else f"_{name}"
    text = f"v_fma_{form}{suffix} v16, v0, v1, -v2 op_sel:[1,0,0] op_sel_hi:[1,0,0]"
    waves = execute(target, text, {0: packed(pairs), 1: b, 2: c, 16: 0x55AA55AA})
    for lane in range(lanes):
        exact = Fraction(float(pairs[lane, 1])) * Fraction(float(b[lane])) - Fraction(float(c[lane]))
        if form == "mix":
            assert waves.f32[16][0][lane] == single(exact)
            continue
        word = int(waves.u32[16][0][lane])
        found, kept = (word >> 16, word & M) if form == "mixhi" else (word & M, word >> 16)
        assert kept == 0x55AA
        assert found == int(np.float32(single(exact)).astype(dtype).view(np.uint16))


@pytest.mark.parametrize("target", ["gfx942", "gfx950", "gfx1250", "gfx1201"])
def test_half_conversions(target: str) -> None:
    numbers = draw_floats(len(lanes_of(target)), 60)
    narrow = "v_cvt_f16_f32_e32 v16, v0" if "gfx9" in target else "v_cvt_f16_f32_e32 v16.l, v0"
    with np.errstate(all="ignore"):
        want = numbers.astype(np.float16)
    waves = execute(target, narrow, {0: numbers, 16: 0})
    got = waves.u32[16][0].astype(np.uint16).view(np.float16)
    np.testing.assert_array_equal(got, want)
    words = want.view(np.uint16).astype(np.uint32) | 0x3C000000
    wide = "v_cvt_f32_f16_e32 v17, v0" if "gfx9" in target else "v_cvt_f32_f16_e32 v17, v0.l"
    back = execute(target, wide, {0: words}).f32[17][0]
    np.testing.assert_array_equal(back, want.astype(np.float32))


@pytest.mark.parametrize(
    ("target", "name", "dtype"),
    [
        ("gfx950", "v_cvt_pk_bf16_f32", ml_dtypes.bfloat16),
        ("gfx1250", "v_cvt_pk_bf16_f32", ml_dtypes.bfloat16),
        ("gfx950", "v_cvt_pk_f16_f32", np.float16),
        ("gfx1250", "v_cvt_pk_f16_f32", np.float16),
    ],
)
def test_two_singles_to_halves_round_to_nearest_even(target: str, name: str, dtype: Any) -> None:
    a, b = (draw_floats(len(lanes_of(target)), 70 + seed) for seed in (1, 2))
    a[:4] = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF], np.uint32).view(np.float32)
    got = unpacked(execute(target, f"{name} v16, v0, v1", {0: a, 1: b}).u32[16][0], dtype)
    with np.errstate(all="ignore"):
        want = np.stack([a, b], axis=-1).astype(dtype)
    np.testing.assert_array_equal(got.astype(np.float32), want.astype(np.float32))


@pytest.mark.parametrize(
    ("target", "name"), [("gfx942", "v_cvt_pkrtz_f16_f32_e64"), ("gfx1250", "v_cvt_pk_rtz_f16_f32_e64")]
)
def test_truncating_conversion_never_grows(target: str, name: str) -> None:
    a = np.resize(np.array([1.0009, -1.0009, 65519.0, 1e9, 1e-9, -0.0, 2.0, np.inf], np.float32), len(lanes_of(target)))
    got = unpacked(execute(target, f"{name} v16, v0, v0", {0: a}).u32[16][0], np.float16)[:, 0]
    for number, found in zip(a.tolist(), got.tolist(), strict=True):
        if math.isinf(number):
            assert found == number
            continue
        assert abs(found) <= abs(number)
        with np.errstate(over="ignore"):
            bigger = float(np.nextafter(np.float16(abs(found)), np.float16(np.inf)))
        assert abs(number) < bigger or math.isinf(bigger)


def test_pack_takes_the_halves_that_op_sel_names() -> None:
    waves = execute("gfx942", "v_pack_b32_f16 v16, v0, v1 op_sel:[1,0,0]", {0: 0x11112222, 1: 0x33334444})
    assert waves.u32[16][0][0] == 0x44441111
