"""Arithmetic of floats against exact fractions, rounded once. PTX ISA 9.0, sections 9.7.3 to 9.7.6."""

import math
from fractions import Fraction
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from tests.emulators.ptx.exact import FORMATS, round_exactly
from tests.emulators.ptx.snippets import execute

NAN = float("nan")
TINY = 2.0**-149
SINGLES = [
    1.0,
    -1.5,
    3.0,
    1 + 2.0**-23,
    1 - 2.0**-24,
    2.0**-126,
    TINY,
    -3 * TINY,
    2.0**127,
    -(2.0**100),
    16777217.0,
    0.1,
]
HALVES = {
    "f16": [1.0, -1.5, 3.0, 1 + 2.0**-10, 2.0**-14, 2.0**-24, 65504.0, -2049.0, 0.1],
    "bf16": [1.0, -1.5, 3.0, 1 + 2.0**-7, 2.0**-126, 2.0**-133, 2.0**127, -257.0, 0.1],
}
Array = npt.NDArray[Any]


def exactly(a: float, b: float, c: float | None = None) -> Fraction:
    return Fraction(a) * Fraction(b) + (Fraction(c) if c is not None else 0)


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("operation", ["add", "sub", "mul"])
def test_single_precision_rounds_once(operation: str, mode: str) -> None:
    rows = [(np.float32(a), np.float32(b)) for a, b in product(SINGLES, SINGLES)]
    first, second = np.array([a for a, _ in rows]), np.array([b for _, b in rows])
    got = execute(f"{operation}.{mode}.f32 %d, %a, %b;", {"a": first, "b": second}, {"d": np.float32})["d"]
    for a, b, d in zip(first.tolist(), second.tolist(), got.tolist(), strict=True):
        exact = {"add": Fraction(a) + Fraction(b), "sub": Fraction(a) - Fraction(b), "mul": exactly(a, b)}[operation]
        assert d == round_exactly(exact, "f32", mode), (a, b)


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_fused_single_precision_rounds_once(mode: str) -> None:
    # The first rows are such that float64, rounded once more, gives the wrong neighbour.
    hard = [
        (1 + 2.0**-23, 1 - 2.0**-23, 2.0**-54),
        (1 + 2.0**-12, 1 + 2.0**-12, 2.0**-80),
        (1 + 2.0**-12, -(1 + 2.0**-12), -(2.0**-80)),
        (2.0**-75, 2.0**-75, TINY),
        (1.5 * 2.0**-75, 2.0**-75, -TINY),
    ]
    rows = np.array([*hard, *product(SINGLES[:8], SINGLES[2:10], SINGLES[::2])], np.float32)
    inputs = {name: np.ascontiguousarray(rows[:, place]) for place, name in enumerate("abc")}
    got = execute(f"fma.{mode}.f32 %d, %a, %b, %c;", inputs, {"d": np.float32})["d"]
    for (a, b, c), d in zip(rows.tolist(), got.tolist(), strict=True):
        assert d == round_exactly(exactly(a, b, c), "f32", mode), (a, b, c)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("f32", (1 + 2.0**-12, 1 + 2.0**-12, 2.0**-80)),  # just above the middle of two numbers
        ("f32", (1 + 2.0**-12, 1 + 2.0**-12, -(2.0**-80))),
        ("f32", (1.5 * 2.0**-75, 2.0**-75, 2.0**-149)),  # among subnormal numbers, nearly half a step
        ("f32", (2.0**-75 * (1 + 2.0**-23), 2.0**-75, 0.0)),
        ("f32", (2.0**-75 * (1 + 2.0**-23), 2.0**-75 * (1 - 2.0**-23), 2.0**-127 + 2.0**-149)),
        ("f16", (1 + 2.0**-5, 1 + 2.0**-6, 2.0**-24)),
        ("bf16", (1 + 2.0**-4, 1 + 2.0**-4, 2.0**-40)),  # float32 would round to the middle
        ("bf16", (1 + 2.0**-4, 1 + 2.0**-4, 2.0**-60)),  # float32 has the middle itself
        ("bf16", (1 + 2.0**-4, 1 + 2.0**-4, -(2.0**-60))),
    ],
)
def test_each_hard_case_alone(kind: str, row: tuple[float, float, float]) -> None:
    """One hard number in a row must not be what saves its neighbour."""
    dtype = FORMATS[kind].dtype
    unsigned = f"u{dtype.itemsize}"
    inputs = {name: np.array([value]).astype(dtype).view(unsigned) for name, value in zip("abc", row, strict=True)}
    got = execute(f"fma.rn.{kind} %d, %a, %b, %c;", inputs, {"d": unsigned})["d"].view(dtype)
    assert float(got[0]) == round_exactly(exactly(*row), kind)


@pytest.mark.parametrize("kind", ["f16", "bf16"])
@pytest.mark.parametrize("packed", ["", "x2"])
def test_half_precision_rounds_once(kind: str, packed: str) -> None:
    dtype = FORMATS[kind].dtype
    rows = np.array(list(product(HALVES[kind], HALVES[kind], HALVES[kind][::2])), np.float64).astype(dtype)
    rows = rows[: len(rows) // 2 * 2]
    wide = np.uint32 if packed else np.uint16
    inputs = {name: np.ascontiguousarray(rows[:, place]).view(wide) for place, name in enumerate("abc")}
    got = execute(
        f"add.{kind}{packed} %d, %a, %b; mul.{kind}{packed} %e, %a, %b; sub.rn.{kind}{packed} %f, %a, %b;"
        f"fma.rn.{kind}{packed} %g, %a, %b, %c; fma.rn.relu.{kind}{packed} %h, %a, %b, %c;",
        inputs,
        dict.fromkeys("defgh", wide),
    )
    found = {name: row.view(dtype).astype(float).tolist() for name, row in got.items()}
    for place, (a, b, c) in enumerate(rows.astype(float).tolist()):
        assert found["d"][place] == round_exactly(Fraction(a) + Fraction(b), kind)
        assert found["e"][place] == round_exactly(exactly(a, b), kind)
        assert found["f"][place] == round_exactly(Fraction(a) - Fraction(b), kind)
        assert found["g"][place] == round_exactly(exactly(a, b, c), kind), (a, b, c)
        assert found["h"][place] == max(0.0, round_exactly(exactly(a, b, c), kind))


def test_packed_single_precision() -> None:
    rows = np.array(list(product(SINGLES[:4], SINGLES[4:8], SINGLES[8:12])), np.float32)
    inputs = {name: np.ascontiguousarray(rows[:, place]).view(np.uint64) for place, name in enumerate("abc")}
    got = execute(
        "add.rn.f32x2 %d, %a, %b; mul.f32x2 %e, %a, %b; fma.rn.f32x2 %f, %a, %b, %c; sub.f32x2 %g, %a, %b;",
        inputs,
        dict.fromkeys("defg", np.uint64),
    )
    found = {name: row.view(np.float32).tolist() for name, row in got.items()}
    for place, (a, b, c) in enumerate(rows.tolist()):
        assert found["d"][place] == round_exactly(Fraction(a) + Fraction(b), "f32")
        assert found["e"][place] == round_exactly(exactly(a, b), "f32")
        assert found["f"][place] == round_exactly(exactly(a, b, c), "f32")
        assert found["g"][place] == round_exactly(Fraction(a) - Fraction(b), "f32")


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_mixed_precision_widens_first(kind: str) -> None:
    dtype = FORMATS[kind].dtype
    rows = list(product(HALVES[kind], SINGLES))
    half = np.array([a for a, _ in rows], np.float64).astype(dtype)
    single = np.array([b for _, b in rows], np.float32)
    got = execute(
        f"add.rn.f32.{kind} %d, %a, %b; sub.rn.f32.{kind} %e, %a, %b; fma.rn.f32.{kind} %f, %a, %a, %b;",
        {"a": half.view(np.uint16), "b": single},
        dict.fromkeys("def", np.float32),
    )
    for place, (a, b) in enumerate(zip(half.astype(float).tolist(), single.tolist(), strict=True)):
        assert got["d"][place] == round_exactly(Fraction(a) + Fraction(b), "f32")
        assert got["e"][place] == round_exactly(Fraction(a) - Fraction(b), "f32")
        assert got["f"][place] == round_exactly(exactly(a, a, b), "f32")


def bits_of(values: Array) -> list[int]:
    return [int(value) for value in values.view({2: np.uint16, 4: np.uint32}[values.dtype.itemsize])]


@pytest.mark.parametrize(
    ("kind", "nan"), [("f32", 0x7FFFFFFF), ("f16", 0x7FFF), ("bf16", 0x7FFF)], ids=["f32", "f16", "bf16"]
)
def test_extremes_of_zeros_and_nan(kind: str, nan: int) -> None:
    """A NaN gives way to a number; with .NaN it stays, as the canonical one; +0.0 is above -0.0."""
    dtype = FORMATS[kind].dtype
    first = np.array([0.0, -0.0, NAN, 1.0, NAN, -2.0, math.inf, 1.0]).astype(dtype)
    second = np.array([-0.0, 0.0, 1.0, NAN, NAN, 3.0, 1.0, 1.0]).astype(dtype)
    got = execute(
        f"max.{kind} %d, %a, %b; min.{kind} %e, %a, %b; max.NaN.{kind} %f, %a, %b; min.NaN.{kind} %g, %a, %b;",
        {"a": first.view(np.uint16 if dtype.itemsize == 2 else np.uint32), "b": second.view(f"u{dtype.itemsize}")},
        dict.fromkeys("defg", f"u{dtype.itemsize}"),
    )
    one, inf, two, three = (bits_of(np.array([value]).astype(dtype))[0] for value in (1.0, math.inf, -2.0, 3.0))
    minus = bits_of(np.array([-0.0]).astype(dtype))[0]
    assert got["d"].tolist() == [0, 0, one, one, nan, three, inf, one]
    assert got["e"].tolist() == [minus, minus, one, one, nan, two, one, one]
    assert got["f"].tolist() == [0, 0, nan, nan, nan, three, inf, one]
    assert got["g"].tolist() == [minus, minus, nan, nan, nan, two, one, one]


def test_largest_of_three() -> None:
    rows = {"a": [1, NAN, -0.0], "b": [2, NAN, 0.0], "c": [NAN, 5, -0.0]}
    inputs = {name: np.array(row, np.float32) for name, row in rows.items()}
    got = execute("max.f32 %d, %a, %b, %c;", inputs, {"d": np.float32})
    assert got["d"].tolist() == [2, 5, 0]
    assert not np.signbit(got["d"][2])


def test_flushes_what_goes_in_and_comes_out() -> None:
    small = np.array([2.0**-127, -(2.0**-127), 2.0**-126, 2.0**-64], np.float32)
    by = np.array([1.0, 1.0, 0.5, 2.0**-64], np.float32)
    got = execute(
        "add.ftz.f32 %d, %a, %z; mul.ftz.f32 %e, %a, %b; mul.f32 %f, %a, %b;",
        {"a": small, "b": by, "z": np.zeros(4, np.float32)},
        dict.fromkeys("def", np.float32),
    )
    assert got["d"].tolist() == [0, 0, 2.0**-126, 2.0**-64]
    assert got["e"].tolist() == [0, 0, 0, 0]
    assert np.signbit(got["e"]).tolist() == [False, True, False, False]
    assert got["f"].tolist() == [2.0**-127, -(2.0**-127), 2.0**-127, 2.0**-128]


def test_saturates_to_between_zero_and_one() -> None:
    values = np.array([-3.0, 0.25, 7.0, NAN], np.float32)
    got = execute("add.sat.f32 %d, %a, %z;", {"a": values, "z": np.zeros(4, np.float32)}, {"d": np.float32})
    assert got["d"].tolist() == [0.0, 0.25, 1.0, 0.0]


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
def test_signs_are_bits_even_of_nan(kind: str) -> None:
    unsigned = np.dtype(f"u{FORMATS[kind].dtype.itemsize}")
    top = 1 << (8 * unsigned.itemsize - 1)
    values = np.array([0, top, 5, top | 5, top - 1, 2 * top - 1], unsigned)
    got = execute(f"neg.{kind} %n, %a; abs.{kind} %m, %a;", {"a": values}, {"n": unsigned, "m": unsigned})
    assert got["n"].tolist() == [value ^ top for value in values.tolist()]
    assert got["m"].tolist() == [value & (top - 1) for value in values.tolist()]


def test_kinds_of_numbers() -> None:
    values = np.array([0.0, TINY, 1.0, math.inf, NAN], np.float32)
    names = ("finite", "infinite", "number", "notanumber", "normal", "subnormal")
    got = execute(
        "".join(f"testp.{name}.f32 %{name}, %a;" for name in names), {"a": values}, dict.fromkeys(names, np.bool_)
    )
    assert [got[name].astype(int).tolist() for name in names] == [
        [1, 1, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [1, 1, 1, 1, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0],
    ]


def test_bfloat16_is_not_rounded_through_single_precision() -> None:
    """1 + 2**-8 + 2**-40 lies above the middle of two bf16 numbers; as float32 it is the middle."""
    one = np.array([1.0], np.float32).astype(ml_dtypes.bfloat16)
    half = np.array([1 + 2.0**-7], np.float32).astype(ml_dtypes.bfloat16)
    small = np.array([2.0**-40], np.float32).astype(ml_dtypes.bfloat16)
    # 0.50390625 * 2 = 1.0078125 needs no rounding; (1 + 2**-7)**2 = 1 + 2**-6 + 2**-14 is nudged by the addend.
    got = execute(
        "fma.rn.bf16 %d, %a, %a, %b; fma.rn.bf16 %e, %o, %o, %b;",
        {"a": half.view(np.uint16), "b": small.view(np.uint16), "o": one.view(np.uint16)},
        {"d": np.uint16, "e": np.uint16},
    )
    assert got["d"].view(ml_dtypes.bfloat16).astype(float).tolist() == [
        round_exactly(Fraction(1 + 2.0**-7) ** 2 + Fraction(2.0**-40), "bf16")
    ]
    assert got["e"].view(ml_dtypes.bfloat16).astype(float).tolist() == [1.0]
