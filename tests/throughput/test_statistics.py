"""Figures from times: percentiles, deadlines, slopes and ratios; nothing and no-numbers give NaN."""

import math

import numpy as np
import pytest

from porting.throughput.statistics import (
    Times,
    distribute,
    frames_per_second,
    memory_slope,
    overhead_share,
    pace,
    ratios_by_round,
)

NOTHING: Times = np.zeros(0)
BAD = [NOTHING, np.array([10.0, math.nan]), np.array([10.0, math.inf]), np.array([10.0, 0.0]), np.array([10.0, -1.0])]


@pytest.mark.parametrize("times", BAD, ids=["none", "nan", "inf", "zero", "negative"])
def test_what_is_no_time_gives_no_figure(times: Times) -> None:
    made = distribute(times)
    assert made.frames == times.size
    assert all(math.isnan(figure) for figure in (made.mean, made.p50, made.p90, made.p99, made.max))
    assert math.isnan(frames_per_second(times, np.ones(times.size, np.int32)))
    assert all(math.isnan(ratio) for ratio in ratios_by_round([np.array([1.0])], [times]))
    assert all(math.isnan(ratio) for ratio in ratios_by_round([times], [np.array([1.0])]))
    assert math.isnan(overhead_share(times, times[:, None]))


def test_frames_that_are_not_new_are_time_only() -> None:
    assert frames_per_second(np.full(10, 10.0), np.arange(10, dtype=np.int32) % 2) == pytest.approx(50.0)


def test_pacing_of_nothing_is_no_number() -> None:
    made = pace(NOTHING, NOTHING, np.zeros(0, np.bool_))
    assert made.frames == 0
    assert math.isnan(made.longest_stall_ms)


def test_pacing_of_no_numbers_misses_everything() -> None:
    made = pace(np.array([-1.0, math.nan]), np.array([1.0, 2.0]), np.ones(2, np.bool_))
    assert made.missed == 2
    assert math.isnan(made.longest_stall_ms)


def test_a_frame_that_is_not_new_is_missed() -> None:
    assert pace(np.full(3, -1.0), np.arange(3.0), np.array([True, False, True])).missed == 1


def test_flat_memory_has_no_slope_despite_noise_and_one_step() -> None:
    noise = np.random.default_rng(0).integers(-4, 4, 240) * 4096
    memory = 10**9 + noise + np.where(np.arange(240) > 90, 2**20, 0)
    assert abs(memory_slope(memory)) < 256.0


@pytest.mark.parametrize("leak", [300, 1000, 1_000_000])
def test_a_leak_has_its_slope_despite_pages(leak: int) -> None:
    memory = 10**9 + np.arange(240) * leak // 4096 * 4096
    assert memory_slope(memory) == pytest.approx(leak, rel=0.1)


def test_a_leak_in_rare_large_steps_is_seen() -> None:
    memory = 10**9 + np.arange(300) // 80 * 2**20
    assert memory_slope(memory) > 5000.0


def test_a_slope_needs_frames_and_samples() -> None:
    assert math.isnan(memory_slope(np.full(199, 10**9)))
    assert math.isnan(memory_slope(np.where(np.arange(240) == 5, -1, 10**9)))


def test_a_long_soak_is_fitted_too() -> None:
    assert memory_slope(10**9 + np.arange(20_000) * 512) == pytest.approx(512.0)


def test_ratios_are_taken_round_by_round() -> None:
    # The machine is twice as slow in the second round; a single late frame changes no median.
    eager = [np.array([30.0, 30.0, 300.0]), np.array([60.0, 60.0, 60.0]), np.array([33.0, 33.0, 33.0])]
    port = [np.array([10.0, 10.0, 10.0]), np.array([20.0, 20.0, 500.0]), np.array([10.0, 10.0, 10.0])]
    assert ratios_by_round(eager, port) == pytest.approx((3.0, 3.0, 3.3))


def test_no_rounds_have_no_ratio() -> None:
    assert all(math.isnan(ratio) for ratio in ratios_by_round([], []))
