"""Finds where a figure's level changed for good, among records of one fingerprint.

Binary segmentation on ranks: the best split of a stretch counts when the ranks on its two sides differ by more than
noise would make them, and then each side is searched in turn. Ranks make the false-alarm rate the same whatever the
noise looks like, as long as records are independent of each other. What a drifting machine does to neighbouring
records in common is not noise of that kind: with a correlation of 0.3 between neighbours, about one series in twenty
that has no change of level is told to have one.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import ruptures

from porting.record.history import Metric

Values = npt.NDArray[np.float64]

SHORTEST = 5
"""Records on each side of a change: fewer are an outlier until more come."""
FEWEST = 16
"""Records that a stretch needs before even two levels without any overlap are beyond noise."""
PENALTY_BASE, PENALTY_SLOPE = 7.5, 1.3
"""Gain that a split must exceed, 7.5 + 1.3 ln(n): of 10,000 shuffles of n = 16 to 400 values, at most 1 in 250 does."""


@dataclass(frozen=True)
class Split:
    """One change of level, by position among the values searched."""

    at: int
    """The first value of the new level."""
    before: int
    """Values of the old level."""
    after: int
    """Values of the new level."""
    level_before: float
    """Median."""
    level_after: float

    @property
    def rise(self) -> float:
        """The new level less the old one."""
        return self.level_after - self.level_before


def penalty(count: int) -> float:
    """The gain that a split of so many values must exceed."""
    return PENALTY_BASE + PENALTY_SLOPE * math.log(count)


def find_splits(values: Values, metric: Metric) -> tuple[Split, ...]:
    """Every change of level, in order; none among fewer values than `FEWEST`.

    Args:
        values: (records,) finite figures of one fingerprint, the oldest first; positive unless the metric is additive.
        metric: what they are: changes smaller than its `least` are not told, however sure.
    """
    scaled = values if metric.additive or (values <= 0).any() else np.log(values)
    if not len(values):
        return ()
    borders = [0, *_search(scaled, 0), len(values)]
    levels = _find_levels(values, borders)
    # A change that is too small to be told leaves one level, not two.
    while (smallest := _find_smallest(levels, metric)) is not None:
        del borders[smallest]
        levels = _find_levels(values, borders)
    counts = [b - a for a, b in itertools.pairwise(borders)]
    return tuple(
        Split(borders[i], counts[i - 1], counts[i], levels[i - 1], levels[i]) for i in range(1, len(borders) - 1)
    )


def _find_levels(values: Values, borders: list[int]) -> list[float]:
    return [float(np.median(values[a:b])) for a, b in itertools.pairwise(borders)]


def _search(values: Values, offset: int) -> list[int]:
    """Positions of splits of one stretch, `offset` values into the whole."""
    count = len(values)
    if count < FEWEST or values.min() == values.max():
        return []
    _, gain = ruptures.Binseg(model="rank", min_size=SHORTEST, jump=1).fit(values).single_bkp(0, count)
    # A matrix of one row and column, as ranks of several figures could be searched together.
    if np.asarray(gain).item() <= penalty(count):
        return []
    # Ranks say that there is a change; the values themselves say better where, as ranks forget by how much.
    at, _ = ruptures.Binseg(model="l1", min_size=SHORTEST, jump=1).fit(values).single_bkp(0, count)
    return [*_search(values[:at], offset), offset + at, *_search(values[at:], offset + at)]


def _find_smallest(levels: list[float], metric: Metric) -> int | None:
    """Index of the border with the smallest change between two levels, where that is too small to be told."""
    changes = [_size(before, after, metric) for before, after in itertools.pairwise(levels)]
    return 1 + changes.index(min(changes)) if changes and min(changes) < metric.least else None


def _size(before: float, after: float, metric: Metric) -> float:
    """How large a change is, in what the metric's `least` is given in."""
    if metric.additive:
        return abs(after - before)
    return abs(after / before - 1) if before else math.inf
