"""The statistics on frame times that are drawn by chance, with seeds: few, since benchmarks/ draws thousands."""

import numpy as np
import pytest

from benchmarks.frame_noise import LOADED, QUIET, Noise, Slowdown, draw_turns
from porting.comparison.decision import FALSE_ALARM, LEAST_TURNS, LOOKS, look_at
from porting.comparison.intervals import bootstrap_95, find_middle
from porting.record import Outcome

LIMIT = 0.01


def decide(seed: int, noise: Noise, slowdown: Slowdown, turns: int) -> Outcome:
    """One comparison with all its looks."""
    times = draw_turns(np.random.default_rng(seed), noise, slowdown, turns)
    outcome = Outcome.NOT_MEASURED
    for share, spent in LOOKS.items():
        taken = int(turns * share)
        if taken >= LEAST_TURNS:
            outcome = look_at(times[:taken], LIMIT, spent).outcome
            if outcome is not Outcome.NOT_MEASURED:
                break
    return outcome


def count(noise: Noise, slowdown: Slowdown, turns: int, trials: int) -> dict[Outcome, int]:
    outcomes = [decide(seed, noise, slowdown, turns) for seed in range(trials)]
    return {outcome: outcomes.count(outcome) for outcome in Outcome}


@pytest.mark.parametrize("noise", [QUIET, LOADED], ids=["quiet", "loaded"])
def test_the_same_is_never_called_slower(noise: Noise) -> None:
    assert count(noise, Slowdown(), 40, 25)[Outcome.FAILED] == 0


@pytest.mark.parametrize(
    ("slowdown", "turns"),
    [
        (Slowdown(all_frames=0.05), 20),
        (Slowdown(all_frames=0.02), 80),
        (Slowdown(some_frames=0.2, chance=0.02), 80),
        (Slowdown(some_frames=0.2, recurring=17), 80),
        (Slowdown(some_frames=2.0, chance=0.02), 80),
    ],
)
def test_what_is_slower_is_found(slowdown: Slowdown, turns: int) -> None:
    found = count(QUIET, slowdown, turns, 10)
    assert found[Outcome.FAILED] >= 9
    assert found[Outcome.PASSED] == 0


def test_what_spares_the_quick_frames_is_seen_by_the_middle() -> None:
    times = draw_turns(np.random.default_rng(7), QUIET, Slowdown(), 80)
    candidate = times[:, 2]
    candidate *= np.where(candidate > np.quantile(candidate, 0.4, axis=1, keepdims=True), 1.03, 1.0)
    look = look_at(times, LIMIT)
    assert look.quick.low < np.log1p(LIMIT) < look.ratio.low
    assert look.telling is look.ratio
    assert look.outcome is Outcome.FAILED
    assert f"at least {100 * float(np.expm1(look.ratio.low)):.2f} %" in look.causes[0]


def test_a_slowdown_below_the_noise_that_was_seen_is_no_failure() -> None:
    times = draw_turns(np.random.default_rng(0), QUIET, Slowdown(), 40) * np.array([1.0, 1.06, 1.05])[:, None]
    look = look_at(times, LIMIT)
    assert LIMIT < look.telling.low < look.seen_floor < look.floor
    assert look.outcome is Outcome.NOT_MEASURED


def test_a_candidate_that_is_no_slower_passes_on_a_quiet_machine() -> None:
    assert count(QUIET, Slowdown(), 80, 10)[Outcome.PASSED] >= 9


def test_sides_do_not_matter_to_what_is_even() -> None:
    times = draw_turns(np.random.default_rng(0), QUIET, Slowdown(), 30)
    slower = look_at(times * np.array([1.0, 1.0, 1.1])[:, None], LIMIT)
    faster = look_at(times / np.array([1.0, 1.0, 1.1])[:, None], LIMIT)
    assert slower.ratio.estimate - faster.ratio.estimate == pytest.approx(2 * np.log(1.1))
    assert slower.recurring is not None
    assert faster.recurring is not None
    assert slower.recurring.estimate == pytest.approx(faster.recurring.estimate)
    assert slower.outcome is Outcome.FAILED
    assert faster.outcome is not Outcome.FAILED


def test_a_baseline_that_differs_from_itself_lets_nothing_pass() -> None:
    times = draw_turns(np.random.default_rng(0), QUIET, Slowdown(), 40)
    look = look_at(times * np.array([1.0, 1.04, 1.02])[:, None], LIMIT)
    assert look.floor > np.log1p(LIMIT)
    assert look.outcome is Outcome.NOT_MEASURED
    assert any("differs from itself" in cause for cause in look.causes)


def test_builds_that_differ_are_no_slowdown() -> None:
    random = np.random.default_rng(5)
    times = draw_turns(random, QUIET, Slowdown(), 60)
    builds = np.arange(60) % 3
    speed = np.array([[1.0, 1.0, 1.06], [1.0, 1.0, 0.99], [1.0, 1.0, 1.05]])
    built = times * speed[builds][:, :, None]
    assert look_at(built, LIMIT, 1.0).outcome is Outcome.FAILED
    assert look_at(built, LIMIT, 1.0, groups=builds.astype(np.float64)).outcome is Outcome.NOT_MEASURED


@pytest.mark.parametrize("degrees", [2.5, 30.0])
def test_bounds_hold_their_level(degrees: float) -> None:
    random = np.random.default_rng(1)
    level, trials = 0.05, 2000
    for turns in (8, 30):
        values = random.standard_t(degrees, (turns, trials))
        found = find_middle(values, level, level)
        # Four standard errors of a share of 2000 trials.
        assert np.mean(found.low > 0) < level + 0.02
        assert np.mean(found.high < 0) < level + 0.02


def test_levels_sum_to_the_rate_that_is_promised() -> None:
    from porting.comparison.decision import FRAME_PART, LATE_PART, MIDDLE_PART, QUICK_PART, SLOWED_PART

    assert pytest.approx(1.0) == QUICK_PART + MIDDLE_PART + SLOWED_PART + LATE_PART + FRAME_PART
    assert FALSE_ALARM <= 1 / 200


def test_bootstrap_of_equal_values_is_their_value() -> None:
    assert bootstrap_95(np.full(9, 0.25), 0) == (0.25, 0.25)
    low, high = bootstrap_95(np.random.default_rng(0).normal(1.0, 0.1, 40), 0)
    assert low < 1.0 < high
