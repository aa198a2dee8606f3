"""How often noise is taken for a change, and how surely a change is found: counted over many seeded series."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from porting.history.changes import FEWEST, SHORTEST, Split, find_splits
from porting.record.history import METRIC_OF

Noise = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]
FPS, PSNR, MISSED, RATIO = (METRIC_OF[name] for name in ("fps", "psnr_end", "missed", "budget_ratio"))
NOISES: dict[str, Noise] = {
    "normal": lambda generator, count: generator.normal(size=count),
    "heavy tails": lambda generator, count: generator.standard_t(2, size=count),
    "one-sided": lambda generator, count: -generator.exponential(size=count),
    "two modes": lambda generator, count: 4.0 * generator.integers(0, 2, count) + generator.normal(size=count),
}


def make_values(levels: list[tuple[int, float]], noise: float, seed: int) -> npt.NDArray[np.float64]:
    flat = np.concatenate([np.full(count, level) for count, level in levels])
    made: npt.NDArray[np.float64] = flat * np.exp(noise * np.random.default_rng(seed).normal(size=len(flat)))
    return made


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("count", [FEWEST, 20, 40, 100])
def test_noise_alone_is_hardly_ever_a_change(noise: str, count: int) -> None:
    generator = np.random.default_rng([count, *noise.encode()])
    trials = 250 if count < 100 else 100
    alarms = sum(bool(find_splits(120.0 * np.exp(0.03 * NOISES[noise](generator, count)), FPS)) for _ in range(trials))
    # The rate is at most 1 in 250; 4 and more of 250 come about once in 50 such tests, and the seed is fixed.
    assert alarms <= 3


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_five_percent_in_noisy_data_is_found_at_the_right_commit(factor: float) -> None:
    trials = 150
    found = [find_splits(make_values([(20, 120.0), (20, 120.0 * factor)], 0.015, seed), FPS) for seed in range(trials)]
    assert sum(len(splits) == 1 for splits in found) >= 0.98 * trials
    places = [splits[0].at - 20 for splits in found if splits]
    assert sum(place == 0 for place in places) >= 0.85 * trials
    assert sum(abs(place) <= 1 for place in places) >= 0.95 * trials
    rises = [splits[0].rise / splits[0].level_before for splits in found if len(splits) == 1]
    assert np.median(rises) == pytest.approx(factor - 1, abs=0.003)


def test_a_change_shows_as_soon_as_so_many_records_came_after_it() -> None:
    values = make_values([(30, 120.0), (SHORTEST, 108.0)], 0.005, 1)
    assert [split.at for split in find_splits(values, FPS)] == [30]
    assert find_splits(values[:-1], FPS) == ()


def test_outliers_are_no_change() -> None:
    values = make_values([(40, 120.0)], 0.01, 2)
    values[[7, 20, 21, 33]] *= 0.5
    assert find_splits(values, FPS) == ()


def test_several_changes_are_told_in_order_with_their_levels() -> None:
    values = make_values([(25, 100.0), (30, 90.0), (25, 120.0)], 0.005, 3)
    first, second = find_splits(values, FPS)
    assert (first.at, first.before, first.after) == (25, 25, 30)
    assert (second.at, second.before, second.after) == (55, 30, 25)
    assert [first.level_before, first.level_after, second.level_after] == pytest.approx([100, 90, 120], rel=0.005)


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_too_few_records_tell_nothing(count: int) -> None:
    assert find_splits(np.linspace(1.0, 2.0, count), FPS) == ()


def test_a_figure_that_stands_still_has_no_change() -> None:
    assert find_splits(np.full(50, 1.99), RATIO) == ()


def test_a_change_too_small_to_matter_is_not_told_however_sure() -> None:
    assert find_splits(np.repeat([1.990, 1.992], 25), RATIO) == ()
    assert find_splits(np.repeat([90.0, 90.05], 25), PSNR) == ()
    # Between two that matter it is dropped, and the levels beside it become one.
    splits = find_splits(np.repeat([2.0, 1.0, 1.001], 25), RATIO)
    assert splits == (Split(25, 25, 50, 2.0, 1.0005),)


def test_decibels_and_shares_that_may_be_0_change_by_difference() -> None:
    (split,) = find_splits(np.repeat([92.0, 89.5], 20), PSNR)
    assert split.rise == -2.5
    (split,) = find_splits(np.repeat([0.0, 0.25], 20), MISSED)
    assert (split.at, split.rise) == (20, 0.25)
