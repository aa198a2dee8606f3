"""The figures that every judgement rests on."""

import math

import ml_dtypes
import numpy as np
import pytest

from porting.tensor_spec import Precision
from porting.trace.metrics import (
    EXACT_DB,
    Array,
    change_last_bits,
    error_budget_ratio,
    find_not_finite,
    psnr_db,
    relative_error,
    ssim,
)


def picture(side: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 3, side, side))


def test_relative_error_is_of_norms() -> None:
    assert relative_error(np.array([3.0, 4.5]), np.array([3.0, 4.0])) == pytest.approx(0.1)
    assert relative_error(np.array([3.0, 4.0], np.float32), np.array([3.0, 4.0])) == 0


def test_around_an_exact_zero_the_error_is_absolute() -> None:
    assert relative_error(np.zeros(4), np.zeros(4)) == 0
    assert relative_error(np.full(4, 1e-9), np.zeros(4)) == pytest.approx(1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_infinitely_wrong_on_either_side(bad: float) -> None:
    good, broken = np.ones(3), np.array([1.0, bad, 1.0])
    assert relative_error(broken, good) == relative_error(good, broken) == math.inf
    # Equal nan is no agreement.
    assert relative_error(broken, broken) == math.inf
    assert math.isnan(psnr_db(np.where(picture() > 2, picture(), bad), picture()))
    assert math.isnan(ssim(np.full((1, 3, 16, 16), bad), picture()))
    assert math.isnan(ssim(picture(), np.full((1, 3, 16, 16), bad)))


def test_other_shapes_are_never_broadcast() -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        relative_error(np.ones(1), np.ones(3))


def test_the_ratio_has_a_floor_and_no_finite_value_without_a_yardstick() -> None:
    assert error_budget_ratio(3e-6, 1e-6, "fp32") == pytest.approx(3)
    assert error_budget_ratio(0.0, 0.0, "fp32") == 0
    assert error_budget_ratio(2**-23, 0.0, "fp32") == 1
    assert error_budget_ratio(2**-7, 0.0, "bf16") == 1
    assert error_budget_ratio(1.0, math.inf, "fp32") == math.inf
    assert error_budget_ratio(math.inf, 1.0, "fp32") == math.inf
    assert error_budget_ratio(1.0, math.nan, "fp32") == math.inf


def test_psnr_has_peak_one_and_no_cap() -> None:
    assert psnr_db(picture() + 0.1, picture()) == pytest.approx(20)
    assert psnr_db(picture() + 1e-9, picture()) == pytest.approx(180, abs=0.1)
    assert psnr_db(picture(), picture()) == EXACT_DB


def test_ssim_is_one_for_the_same_and_low_for_another() -> None:
    assert ssim(picture(), picture()) == pytest.approx(1)
    assert ssim(picture(seed=1), picture()) < 0.2
    shuffled = picture()[..., ::-1, :]
    assert ssim(shuffled, picture()) < 0.2


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_ssim_of_tiny_frames(side: int) -> None:
    assert ssim(picture(side), picture(side)) == pytest.approx(1)
    assert not ssim(picture(side, seed=1), picture(side)) > 0.9


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_last_bits_change_by_about_one_unit(dtype: type) -> None:
    array: Array = np.linspace(0.1, 3, 200).astype(dtype)
    precision: Precision = "fp32" if dtype is np.float32 else "bf16"
    changed = change_last_bits(array, precision, np.random.default_rng(0))
    step = np.abs(changed.astype(np.float64) / array.astype(np.float64) - 1)
    unit = 2.0**-23 if dtype is np.float32 else 2.0**-7
    assert changed.dtype == array.dtype
    assert (step > 0).all()
    assert step.max() <= 2 * unit
    assert (changed.astype(np.float64) > array.astype(np.float64)).any()
    assert (changed.astype(np.float64) < array.astype(np.float64)).any()


def test_zeros_and_integers_keep_their_bits() -> None:
    generator = np.random.default_rng(0)
    assert not change_last_bits(np.zeros(5, np.float32), "fp32", generator).any()
    assert np.array_equal(change_last_bits(np.arange(5), "fp32", generator), np.arange(5))


def test_the_array_that_is_not_finite_is_named() -> None:
    arrays = {"a": np.ones(2), "b": np.array([1, np.nan]).astype(ml_dtypes.bfloat16), "c": np.arange(2)}
    assert find_not_finite(arrays) == "b"
    assert find_not_finite({"a": np.ones(2)}) is None
