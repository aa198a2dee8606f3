"""Bounds of a middle value, from values that are each of one turn. It knows nothing of frames.

Turns are independent draws: every one opens its artifacts anew, at other addresses, and both sides of a ratio see the
same moment of the machine. So the turn is the unit, not the frame, whose neighbours resemble it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.stats import mstats

Values = npt.NDArray[np.float64]

TRIMMED = 0.2
"""Share of the values left out at either end: a burst that hits one turn moves nothing."""
LEAST_TRIMMED = 12
"""Fewer values are all used: a fifth of them at either end leaves too few for a bound."""
RESAMPLES = 4999


@dataclass(frozen=True)
class Middle:
    """A middle value with one-sided bounds."""

    estimate: Values
    error: Values
    """Standard error."""
    low: Values
    """Exceeds the true value in at most a share `false_alarm` of cases."""
    high: Values
    """Falls short of it in at most a share `false_pass`."""
    reach: Values
    """How far beyond a limit the true value has to be for `low` to pass the limit in all but `false_pass` of cases."""


def find_middle(values: Values, false_alarm: float, false_pass: float, trimmed: float = TRIMMED) -> Middle:
    """Trimmed mean over the first axis (turns, ...), with Student's t bounds on its winsorised error.

    A percentile bootstrap of some dozen turns has no values in a tail of one in ten thousand; this bound has, holds its
    level on heavy tails, and costs nothing, so that the decision uses it and `bootstrap_95` is for reading.

    Source: Tukey and McLaughlin, Sankhya A 25 (1963): trimmed mean and its error; scipy.stats.mstats.

    Args:
        values: one row a turn, two rows at least.
        false_alarm: one-sided level of `low`.
        false_pass: one-sided level of `high`.
        trimmed: share left out at either end.
    """
    turns = values.shape[0]
    cut = int(trimmed * turns) if turns >= LEAST_TRIMMED else 0
    if cut:
        limits = (cut / turns, cut / turns)
        estimate = np.asarray(mstats.trimmed_mean(values, limits=limits, axis=0), np.float64)
        error = np.asarray(mstats.trimmed_stde(values, limits=limits, axis=0), np.float64)
    else:
        estimate, error = values.mean(axis=0), np.asarray(stats.sem(values, axis=0), np.float64)
    degrees = turns - 2 * cut - 1
    alarm, miss = (float(stats.t.isf(level, degrees)) for level in (false_alarm, false_pass))
    return Middle(estimate, error, estimate - alarm * error, estimate + miss * error, (alarm + miss) * error)


def bootstrap_95(values: Values, seed: int) -> tuple[float, float]:
    """95 % bounds of the middle of (turns,) values: a bootstrap over whole turns, so a block bootstrap of frames."""
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    cut = TRIMMED if values.size >= LEAST_TRIMMED else 0.0
    found = stats.bootstrap(
        (values,),
        lambda sample, axis: stats.trim_mean(sample, cut, axis=axis),
        n_resamples=RESAMPLES,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
