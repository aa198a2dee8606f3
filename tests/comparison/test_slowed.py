"""The estimated share of slowed frames, on turns that are drawn by chance with heavy tails and bursts."""

import numpy as np
import pytest

from benchmarks.frame_noise import QUIET, Slowdown, draw_turns
from porting.comparison.intervals import Middle
from porting.comparison.slowed import find_slowed


def estimate(seed: int, slowdown: Slowdown, turns: int = 200) -> Middle:
    times = draw_turns(np.random.default_rng(seed), QUIET, slowdown, turns)
    return find_slowed(np.log(times), 0.005, 0.01)


@pytest.mark.parametrize("chance", [0.0, 0.01, 0.02, 0.04])
def test_the_share_of_slowed_frames_is_estimated_without_bias(chance: float) -> None:
    found = [estimate(seed, Slowdown(some_frames=0.2, chance=chance)) for seed in range(8)]
    errors = [float(one.error) for one in found]
    mean = np.mean([float(one.estimate) for one in found])
    # Four standard errors of a mean of eight, and a tenth for the density's own smoothing.
    assert abs(mean - chance) < 4 * np.mean(errors) / np.sqrt(8) + 0.1 * chance


def test_an_evenly_slower_candidate_has_no_slow_frames() -> None:
    even, slower = estimate(0, Slowdown()), estimate(0, Slowdown(all_frames=0.1))
    assert slower.estimate == pytest.approx(even.estimate, abs=1e-9)


def test_one_in_fifty_does_not_pass_for_none() -> None:
    highs = [float(estimate(seed, Slowdown(some_frames=0.2, chance=0.02), turns=60).high) for seed in range(40)]
    # Of forty at one in a hundred, three are expected less than once in a thousand times.
    assert sum(high < 0.02 for high in highs) <= 2


def test_frames_that_are_slowed_more_count_for_more() -> None:
    little, much = (estimate(3, Slowdown(some_frames=by, chance=0.02)) for by in (0.1, 0.4))
    assert much.estimate > 2 * little.estimate
