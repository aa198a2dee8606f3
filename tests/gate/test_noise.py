"""Tolerances from recorded spreads: they rarely cry wolf when nothing changed, and find what they say they find."""

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest

from porting.gate import noise
from porting.record import Distribution

TRIALS = 2000
ROUNDS = 6


def draw_rounds(generator: np.random.Generator, spread: float, rounds: int) -> tuple[float, float, float, int]:
    """Median, lowest and highest of ratios around 3 whose logarithms vary by `spread`."""
    ratios = 3.0 * np.exp(generator.normal(0, spread, rounds))
    return float(np.median(ratios)), float(ratios.min()), float(ratios.max()), rounds


@pytest.mark.parametrize("spread", [0.002, 0.05, 0.15])
def test_a_ratio_seldom_falls_below_its_tolerance_by_chance(spread: float) -> None:
    generator = np.random.default_rng(0)
    alarms = 0
    for _ in range(TRIALS):
        old = draw_rounds(generator, spread, ROUNDS)
        tolerance = noise.find_ratio_tolerance([old])
        new = draw_rounds(generator, spread, ROUNDS)[0]
        alarms += new < old[0] * (1 - tolerance.relative)
    assert alarms <= TRIALS / 200


@pytest.mark.parametrize("runs", [1, 5])
def test_the_smallest_effect_is_found(runs: int) -> None:
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(300):
        old = [draw_rounds(generator, 0.03, ROUNDS) for _ in range(runs)]
        tolerance = noise.find_ratio_tolerance(old)
        median = float(np.median([run[0] for run in old]))
        slower = draw_rounds(generator, 0.03, ROUNDS)[0] * (1 - tolerance.smallest_effect)
        found += slower < median * (1 - tolerance.relative)
    assert found >= 0.93 * 300


def test_more_runs_see_smaller_effects() -> None:
    one = noise.find_ratio_tolerance([(3.0, 2.9, 3.1, 6)])
    five = noise.find_ratio_tolerance([(3.0, 2.9, 3.1, 6)] * 5)
    assert five.relative < one.relative
    assert five.smallest_effect < one.smallest_effect


def test_rounds_that_never_differ_leave_the_floor() -> None:
    tolerance = noise.find_ratio_tolerance([(3.0, 3.0, 3.0, 6)])
    assert tolerance.relative == pytest.approx(noise.RATIO_FLOOR)
    assert "the least assumed" in tolerance.basis


def test_what_runs_differ_by_widens_a_tolerance() -> None:
    apart = noise.find_ratio_tolerance([(3.0, 3.0, 3.0, 6), (2.4, 2.4, 2.4, 6)])
    assert apart.relative == pytest.approx(0.2, abs=1e-3)
    assert "what runs differed by" in apart.basis


def distribution(ms: npt.NDArray[np.float64]) -> Distribution:
    p50, p90, p99 = np.quantile(ms, [0.5, 0.9, 0.99]).tolist()
    return Distribution(frames=len(ms), mean=float(ms.mean()), p50=p50, p90=p90, p99=p99, max=float(ms.max()))


def draw_frames(generator: np.random.Generator, tail: float) -> npt.NDArray[np.float64]:
    """240 frame times: a body that varies by 3 %, and now and then one that is later by a power law."""
    body = 10 * np.exp(generator.normal(0, 0.03, 240))
    late = np.where(generator.random(240) < 0.03, generator.pareto(1 / tail, 240) + 1, 1.0)
    return np.asarray(body * late, np.float64)


@pytest.mark.parametrize("tail", [0.02, 0.1, 0.3])
def test_a_tail_seldom_rises_above_its_tolerance_by_chance(tail: float) -> None:
    generator = np.random.default_rng(2)
    alarms = 0
    for _ in range(TRIALS):
        old, new = (distribution(draw_frames(generator, tail)) for _ in range(2))
        alarms += new.p99 > old.p99 * (1 + noise.find_tail_tolerance([old]).relative)
    assert alarms <= TRIALS / 200


def test_a_tail_that_triples_is_found() -> None:
    generator = np.random.default_rng(3)
    quiet = [distribution(draw_frames(generator, 0.02)) for _ in range(100)]
    pairs = list(itertools.pairwise(quiet))
    assert all(3 * new.p99 > old.p99 * (1 + noise.find_tail_tolerance([old]).relative) for old, new in pairs)


def test_a_rate_may_move_as_far_as_its_frames_do() -> None:
    times = Distribution(frames=240, mean=10.0, p50=10.0, p90=13.0, p99=14.0, max=15.0)
    spread = noise.find_rate_tolerance([100.0], [times], [])
    assert spread.relative == pytest.approx(1 - 10 / 13, abs=1e-3)
    assert "p90 over median" in spread.basis
    drift = noise.find_rate_tolerance([100.0], [times.model_copy(update={"p90": 10.1})], [70.0])
    assert drift.relative == pytest.approx(0.3, abs=1e-3)
    assert "two measurements" in drift.basis


def test_memory_of_several_runs() -> None:
    assert noise.find_memory_tolerance([100]).relative == pytest.approx(noise.MEMORY_FLOOR)
    assert noise.find_memory_tolerance([100, 150]).relative == pytest.approx(0.5)


def test_the_mean_range_of_normal_variables() -> None:
    assert [round(noise._mean_range(n), 3) for n in (2, 3, 6, 10)] == [1.128, 1.693, 2.534, 3.078]
    assert math.isclose(noise._mean_range(1), noise._mean_range(2))
