"""Division and transcendental functions: the correctly rounded result, also where the hardware approximates."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from tests.emulators.ptx.exact import round_exactly
from tests.emulators.ptx.snippets import execute

VALUES = [1.0, 3.0, 0.1, 7.5, 2.0**-126, 2.0**-140, 2.0**100, 123456.7]


@pytest.mark.parametrize("way", ["rn", "full", "approx"])
def test_divides(way: str) -> None:
    first = np.array([a for a in VALUES for _ in VALUES], np.float32)
    second = np.array(VALUES * len(VALUES), np.float32)
    got = execute(f"div.{way}.f32 %d, %a, %b;", {"a": first, "b": second}, {"d": np.float32})["d"]
    for a, b, d in zip(first.tolist(), second.tolist(), got.tolist(), strict=True):
        assert d == round_exactly(Fraction(a) / Fraction(b), "f32")


def test_divides_by_zero() -> None:
    inputs = {"a": np.array([1.0, -1.0, 0.0], np.float32), "z": np.zeros(3, np.float32)}
    got = execute("div.rn.f32 %d, %a, %z; rcp.approx.ftz.f32 %e, %a;", inputs, {"d": np.float32, "e": np.float32})
    assert got["d"].tolist()[:2] == [math.inf, -math.inf]
    assert math.isnan(got["d"][2])
    assert got["e"].tolist() == [1.0, -1.0, math.inf]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("rcp", lambda x: 1 / x),
        ("sqrt", math.sqrt),
        ("rsqrt", lambda x: 1 / math.sqrt(x)),
        ("lg2", math.log2),
        ("sin", math.sin),
        ("cos", math.cos),
        ("tanh", math.tanh),
    ],
)
def test_approximations_are_exact_here(name: str, function: object) -> None:
    values = np.array([1.0, 3.0, 0.1, 7.5, 2.0**-120, 1000.0], np.float32)
    got = execute(f"{name}.approx.f32 %d, %a;", {"a": values}, {"d": np.float32})["d"]
    wanted = [np.float32(function(float(value))) for value in values]  # type: ignore[operator]
    np.testing.assert_array_max_ulp(got, np.array(wanted), 1)


def test_powers_of_two() -> None:
    values = np.array([0.0, 1.0, -1.0, 127.0, 128.0, -126.0, -149.0, -151.0, -math.inf, 0.5], np.float32)
    got = execute(
        "ex2.approx.f32 %d, %a; ex2.approx.ftz.f32 %e, %a;", {"a": values}, {"d": np.float32, "e": np.float32}
    )
    wanted = [1.0, 2.0, 0.5, 2.0**127, math.inf, 2.0**-126, 2.0**-149, 0.0, 0.0, float(np.float32(math.sqrt(2)))]
    assert got["d"].tolist() == wanted
    assert got["e"].tolist() == [*wanted[:6], 0.0, 0.0, 0.0, wanted[9]]


def test_roots_of_zero_and_negative_numbers() -> None:
    values = np.array([0.0, -0.0, -1.0, math.inf], np.float32)
    got = execute(
        "sqrt.approx.ftz.f32 %d, %a; rsqrt.approx.ftz.f32 %e, %a; sqrt.rn.f32 %f, %a;",
        {"a": values},
        dict.fromkeys("def", np.float32),
    )
    for name in "df":
        assert got[name].tolist()[:2] == [0.0, 0.0]
        assert math.isnan(got[name][2])
        assert got[name][3] == math.inf
    assert got["e"].tolist()[:2] == [math.inf, -math.inf]
    assert math.isnan(got["e"][2])
    assert got["e"][3] == 0


def test_brain_floats_are_flushed() -> None:
    """ex2.approx.ftz.bf16: a result below the smallest normal number is 0."""
    values = np.array([-126.0, -127.0, 3.0], np.float32).astype(ml_dtypes.bfloat16)
    got = execute("ex2.approx.ftz.bf16 %d, %a;", {"a": values.view(np.uint16)}, {"d": np.uint16})
    assert got["d"].view(ml_dtypes.bfloat16).astype(float).tolist() == [2.0**-126, 0.0, 8.0]


@pytest.mark.parametrize("kind", ["f16", "f16x2"])
def test_half_precision(kind: str) -> None:
    values = np.array([0.5, -1.25, 0.0, 3.0], np.float16)
    wide = np.uint32 if kind == "f16x2" else np.uint16
    got = execute(
        f"tanh.approx.{kind} %d, %a; ex2.approx.{kind} %e, %a;", {"a": values.view(wide)}, {"d": wide, "e": wide}
    )
    assert got["d"].view(np.float16).tolist() == [np.float16(math.tanh(value)) for value in values.tolist()]
    assert got["e"].view(np.float16).tolist() == [np.float16(2.0**value) for value in values.tolist()]
