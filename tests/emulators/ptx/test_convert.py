"""cvt between all numbers. PTX ISA 9.0, section 9.7.9.21; small floats by the formula of sign, exponent, fraction."""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from porting.emulators import Fault, FaultKind
from tests.emulators.ptx.exact import FORMATS, round_exactly
from tests.emulators.ptx.snippets import execute

NAN, INF = float("nan"), float("inf")
INTEGERS: dict[str, Any] = {
    "u8": np.uint8, "s8": np.int8, "u16": np.uint16, "s16": np.int16,
    "u32": np.uint32, "s32": np.int32, "u64": np.uint64, "s64": np.int64,
}  # fmt: skip
WHOLE: dict[str, Callable[[float], int]] = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}


@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("target", INTEGERS)
def test_integers_are_cut_or_saturated(source: str, target: str) -> None:
    limits, own = np.iinfo(INTEGERS[source]), np.iinfo(INTEGERS[target])
    values = sorted(
        {0, 1, 100, 127, limits.max, limits.max - 1, limits.min, limits.min // 2, 128 if limits.max > 127 else 0}
    )
    wide = INTEGERS[target] if own.bits > 8 else (np.int16 if own.min else np.uint16)
    register = INTEGERS[source] if limits.bits > 8 else (np.int16 if limits.min else np.uint16)
    got = execute(
        f"cvt.{target}.{source} %d, %a; cvt.sat.{target}.{source} %e, %a;",
        {"a": np.array(values, register)},
        {"d": wide, "e": wide},
    )
    mask = (1 << own.bits) - 1
    cut = [(value & mask) - (mask + 1 if own.min and value >> (own.bits - 1) & 1 else 0) for value in values]
    assert got["d"].tolist() == cut
    assert got["e"].tolist() == [max(int(own.min), min(int(own.max), int(value))) for value in values]


@pytest.mark.parametrize("mode", WHOLE)
@pytest.mark.parametrize("kind", INTEGERS)
def test_floats_become_whole_numbers_within_the_type(kind: str, mode: str) -> None:
    values = [
        0.0,
        0.5,
        1.5,
        2.5,
        -0.5,
        -1.5,
        -2.5,
        1e30,
        -1e30,
        254.5,
        2147483648.0,
        4294967040.0,
        2.0**63,
        INF,
        -INF,
        NAN,
    ]
    limits = np.iinfo(INTEGERS[kind])
    wide = INTEGERS[kind] if limits.bits > 8 else (np.int16 if limits.min else np.uint16)
    got = execute(f"cvt.{mode}.{kind}.f32 %d, %a;", {"a": np.array(values, np.float32)}, {"d": wide})["d"].tolist()
    for value, found in zip(np.array(values, np.float32).tolist(), got, strict=True):
        if math.isnan(value):
            wanted = 0 if limits.bits < 64 else (int(limits.min) or 1 << 63)
        elif math.isinf(value):
            wanted = int(limits.max if value > 0 else limits.min)
        else:
            wanted = max(int(limits.min), min(int(limits.max), WHOLE[mode](value)))
        assert found == wanted, value


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize(("source", "target"), [("s32", "f32"), ("u32", "f32"), ("s32", "f16"), ("u16", "bf16")])
def test_whole_numbers_are_rounded(source: str, target: str, mode: str) -> None:
    limits = np.iinfo(INTEGERS[source])
    values = sorted(
        {0, 1, 257, 16777217 % (limits.max + 1), limits.max, limits.max - 64, limits.min, 2049, 65519, 65520}
    )
    values = [value for value in values if value <= limits.max]
    dtype = FORMATS[target].dtype
    got = execute(
        f"cvt.{mode}.{target}.{source} %d, %a;", {"a": np.array(values, INTEGERS[source])}, {"d": f"u{dtype.itemsize}"}
    )
    assert got["d"].view(dtype).astype(float).tolist() == [
        round_exactly(Fraction(int(value)), target, mode) for value in values
    ]


SINGLES = [1.0, -1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-11, 1 + 2.0**-8 + 2.0**-23, 65519.996, 65520.0, 3e38,
           3.3961776e38, -3.4e38, 2.0**-24, 2.0**-25, 2.0**-25 + 2.0**-40, 6e-8, 2.0**-134, 2.0**-149, 0.1]  # fmt: skip


@pytest.mark.parametrize("mode", ["rn", "rz"])
@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_single_to_half(kind: str, mode: str) -> None:
    values = np.array(SINGLES, np.float32)
    dtype = FORMATS[kind].dtype
    got = execute(
        f"cvt.{mode}.{kind}.f32 %d, %a; cvt.{mode}.{kind}x2.f32 %e, %a, %b;"
        f"cvt.{mode}.relu.{kind}x2.f32 %f, %a, %b; cvt.{mode}.satfinite.{kind}.f32 %g, %a;",
        {"a": values, "b": values[::-1].copy()},
        {"d": np.uint16, "e": np.uint32, "f": np.uint32, "g": np.uint16},
    )
    wanted = [round_exactly(Fraction(value), kind, mode) for value in values.tolist()]
    assert got["d"].view(dtype).astype(float).tolist() == wanted
    pair = got["e"].view(dtype).astype(float).reshape(-1, 2)
    assert pair[:, 1].tolist() == wanted  # the first operand is the upper half
    assert pair[:, 0].tolist() == wanted[::-1]
    assert got["f"].view(dtype).astype(float)[1::2].tolist() == [max(0.0, value) for value in wanted]
    top = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    assert got["g"].view(dtype).astype(float).tolist() == [max(-top, min(top, value)) for value in wanted]


def test_nan_becomes_the_canonical_one() -> None:
    got = execute(
        "cvt.rn.bf16.f32 %d, %a; cvt.rn.f16.f32 %e, %a; cvt.rn.bf16x2.f32 %f, %a, %a;",
        {"a": np.array([0xFFC12345], np.uint32)},
        {"d": np.uint16, "e": np.uint16, "f": np.uint32},
    )
    assert [int(got[name][0]) for name in "def"] == [0x7FFF, 0x7FFF, 0x7FFF7FFF]


def test_half_to_single_is_exact() -> None:
    codes = np.arange(65536, dtype=np.uint16)[::17]
    got = execute("cvt.f32.f16 %d, %a; cvt.f32.bf16 %e, %a;", {"a": codes}, {"d": np.float32, "e": np.float32})
    halves = codes.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(got["d"], halves)
    np.testing.assert_array_equal(got["e"], (codes.astype(np.uint32) << 16).view(np.float32))


def test_a_conversion_without_rounding_must_be_exact() -> None:
    exact = np.array([1.5, 240.0, 0.015625], np.float16).view(np.uint16)
    got = execute("cvt.bf16.f16 %d, %a;", {"a": exact}, {"d": np.uint16})["d"]
    assert got.view(ml_dtypes.bfloat16).astype(float).tolist() == [1.5, 240.0, 0.015625]
    with pytest.raises(Fault, match="how a number that bf16 does not hold is rounded") as raised:
        execute("cvt.bf16.f16 %d, %a;", {"a": np.array([1 + 2.0**-10], np.float16).view(np.uint16)}, {"d": np.uint16})
    assert raised.value.kind is FaultKind.UNKNOWN


@pytest.mark.parametrize(
    ("mode", "cases"),
    [
        ("rna", {0x3F800FFF: 0x3F800000, 0x3F801000: 0x3F802000, 0x3F803000: 0x3F804000, 0xBF801000: 0xBF802000}),
        ("rn", {0x3F800FFF: 0x3F800000, 0x3F801000: 0x3F800000, 0x3F801001: 0x3F802000, 0x3F803000: 0x3F804000}),
        ("rz", {0x3F801FFF: 0x3F800000, 0xBF801FFF: 0xBF800000}),
    ],
)
def test_tf32_keeps_ten_bits(mode: str, cases: dict[int, int]) -> None:
    got = execute(f"cvt.{mode}.tf32.f32 %d, %a;", {"a": np.array(list(cases), np.uint32)}, {"d": np.uint32})
    assert got["d"].tolist() == list(cases.values())


def code_value(code: int, exponent_bits: int, fraction_bits: int) -> float:
    """What an OCP code stands for, without regard to NaN and infinity."""
    bias = 2 ** (exponent_bits - 1) - 1
    sign = -1.0 if code >> (exponent_bits + fraction_bits) & 1 else 1.0
    exponent, fraction = code >> fraction_bits & (2**exponent_bits - 1), code & (2**fraction_bits - 1)
    if exponent == 0:
        return float(sign * fraction * 2.0 ** (1 - bias - fraction_bits))
    return float(sign * (1 + fraction / 2**fraction_bits) * 2.0 ** (exponent - bias))


SMALL = {"e4m3": (4, 3, 448.0), "e5m2": (5, 2, 57344.0), "e2m3": (2, 3, 7.5), "e3m2": (3, 2, 28.0), "e2m1": (2, 1, 6.0)}


def nearest(value: float, kind: str) -> int:
    exponent_bits, fraction_bits, top = SMALL[kind]
    codes = [
        code
        for code in range(1 << (exponent_bits + fraction_bits))
        if code_value(code, exponent_bits, fraction_bits) <= top
    ]
    magnitude = min(abs(value), top)
    best = min(codes, key=lambda code: (abs(code_value(code, exponent_bits, fraction_bits) - magnitude), code % 2))
    return best | (1 << (exponent_bits + fraction_bits) if math.copysign(1, value) < 0 else 0)


@pytest.mark.parametrize("kind", SMALL)
def test_to_small_floats(kind: str) -> None:
    exponent_bits, fraction_bits, top = SMALL[kind]
    codes = range(1 << (exponent_bits + fraction_bits))
    numbers = [value for code in codes if (value := code_value(code, exponent_bits, fraction_bits)) <= top]
    middles = [(low + high) / 2 for low, high in pairwise(numbers)]
    values = [*numbers, *middles, *(m * 1.0001 for m in middles), *(m * 0.9999 for m in middles), top * 1.5, 1e30, INF]
    row = np.array([sign * value for value in values for sign in (1, -1)], np.float32)
    bits = 4 if kind == "e2m1" else 8
    body = f"cvt.rn.satfinite.{kind}x2.f32 %d, %a, %b;"
    if kind == "e2m1":
        body = "{ .reg .b8 both; cvt.rn.satfinite.e2m1x2.f32 both, %a, %b; mov.b16 %d, {both, both}; }"
    got = execute(body, {"a": row, "b": -row}, {"d": np.uint16})["d"].tolist()
    for value, found in zip(row.tolist(), got, strict=True):
        mask = (1 << bits) - 1
        assert found >> bits & mask == nearest(value, kind), value
        assert found & mask == nearest(-value, kind), value


@pytest.mark.parametrize(("kind", "nan"), [("e4m3", 0x7F), ("e5m2", 0x7F), ("e2m3", 0x1F), ("e3m2", 0x1F)])
def test_nan_to_small_floats(kind: str, nan: int) -> None:
    got = execute(
        f"cvt.rn.satfinite.{kind}x2.f32 %d, %a, %a;", {"a": np.array([NAN, -NAN], np.float32)}, {"d": np.uint16}
    )
    assert got["d"].tolist() == [nan << 8 | nan] * 2


@pytest.mark.parametrize("kind", ["e4m3", "e5m2"])
def test_half_to_and_from_fp8(kind: str) -> None:
    exponent_bits, fraction_bits, top = SMALL[kind]
    codes = np.array(
        [code for code in range(256) if abs(code_value(code, exponent_bits, fraction_bits)) <= top], np.uint16
    )
    pairs = codes << 8 | codes[::-1]
    got = execute(
        f"cvt.rn.f16x2.{kind}x2 %d, %a; cvt.rn.satfinite.{kind}x2.f16x2 %e, %d;",
        {"a": pairs},
        {"d": np.uint32, "e": np.uint16},
    )
    upper = (got["d"] >> 16).astype(np.uint16).view(np.float16)
    assert upper.astype(float).tolist() == [code_value(int(code), exponent_bits, fraction_bits) for code in codes]
    assert got["e"].tolist() == pairs.tolist()


def test_fp4_to_half() -> None:
    codes = np.arange(256, dtype=np.uint16)
    got = execute(
        "{ .reg .b8 low, high; mov.b16 {low, high}, %a; cvt.rn.f16x2.e2m1x2 %d, low; }", {"a": codes}, {"d": np.uint32}
    )["d"]
    halves = got.view(np.float16).astype(float).reshape(-1, 2)
    assert halves[:, 0].tolist() == [code_value(code & 15, 2, 1) for code in range(256)]
    assert halves[:, 1].tolist() == [code_value(code >> 4, 2, 1) for code in range(256)]


def test_scales_are_powers_of_two() -> None:
    values = np.array([1.0, 1.5, 2.0**-127, 2.0**-126 * 1.25, 2.0**-149, 2.0**127, 3e38, INF, NAN, 0.0], np.float32)
    got = execute(
        "cvt.rz.satfinite.ue8m0x2.f32 %d, %a, %a; cvt.rp.satfinite.ue8m0x2.f32 %e, %a, %a;"
        "cvt.rn.bf16x2.ue8m0x2 %f, %d;",
        {"a": values},
        {"d": np.uint16, "e": np.uint16, "f": np.uint32},
    )
    assert (got["d"] & 0xFF).tolist() == [127, 127, 0, 1, 0, 254, 254, 254, 255, 0]
    assert (got["e"] & 0xFF).tolist() == [127, 128, 0, 2, 0, 254, 254, 254, 255, 0]
    back = (got["f"] >> 16).astype(np.uint16).view(ml_dtypes.bfloat16).astype(float).tolist()
    assert back[:3] == [1.0, 1.0, 2.0**-127]
    assert math.isnan(back[8])


def test_float_to_float_of_one_width() -> None:
    values = np.array([2.0**-140, -(2.0**-140), 0.5, -0.5, 1.75, NAN], np.float32)
    got = execute(
        "cvt.ftz.f32.f32 %d, %a; cvt.sat.f32.f32 %e, %a; cvt.rpi.f32.f32 %f, %a; cvt.rpi.ftz.f32.f32 %g, %a;"
        "cvt.rmi.ftz.sat.f32.f32 %h, %a;",
        {"a": values},
        dict.fromkeys("defgh", np.float32),
    )
    assert got["d"].tolist()[:5] == [0.0, -0.0, 0.5, -0.5, 1.75]
    assert got["e"].tolist() == [2.0**-140, 0.0, 0.5, 0.0, 1.0, 0.0]
    assert got["f"].tolist()[:5] == [1.0, -0.0, 1.0, -0.0, 2.0]
    assert got["g"].tolist()[:5] == [0.0, -0.0, 1.0, -0.0, 2.0]
    assert got["h"].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_to_the_nearest_whole_float() -> None:
    values = np.array([0.5, 1.5, -0.5, -1.5, 1e20], np.float32)
    got = execute("cvt.rni.f32.f32 %d, %a; cvt.rzi.f32.f32 %e, %a;", {"a": values}, {"d": np.float32, "e": np.float32})
    assert got["d"].tolist() == [0.0, 2.0, -0.0, -2.0, np.float32(1e20)]
    assert got["e"].tolist() == [0.0, 1.0, -0.0, -1.0, np.float32(1e20)]
