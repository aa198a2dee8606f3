"""Slow frames that a middle does not show: a share of frames that is late now and then, or one frame that always is.

Every frame is held against the middle of its own turn and driver, and against the same frame of all turns, so that
neither an evenly slower candidate nor a frame that is dear for both counts here.
"""

from dataclasses import dataclass

import numpy as np

from porting.comparison.intervals import Middle, Values, find_middle

SHARE_LIMIT = 0.0025
"""More slow frames that are let pass, as a share of all: an eighth of one in fifty."""
FRAME_LIMIT = 0.05
"""Slowdown of a single frame of the rollout that is let pass."""
FAR = 1.5
"""A frame that another process interrupts is late by far more than half of its time, and hides no small slowdown."""


@dataclass(frozen=True)
class Recurring:
    """Single frames of the rollout against the same of the baseline; log ratios."""

    frame: int
    """The one with the highest lower bound."""
    estimate: float
    low: float
    """Holds for all frames at once."""
    least_known: int
    """The one with the highest upper bound."""
    high: float


def take_residuals(log_times: Values, middles: Values) -> Values:
    """Log times less their turn's middle, less what the same frame is on average: (turns, drivers, frames).

    Args:
        log_times: (turns, drivers, frames).
        middles: (turns, drivers).
    """
    left: Values = log_times - middles[:, :, None]
    left -= np.median(left, axis=(0, 1))
    return left


def find_late(residuals: Values, false_alarm: float, false_pass: float) -> Middle:
    """The share of the candidate's frames that are late by more than `FAR`, less the baseline's.

    Counts of a few late frames a turn are no place to leave out the largest: they are what is looked for.

    Args:
        residuals: (turns, 3, frames).
        false_alarm: level of the lower bound.
        false_pass: level of the upper one.
    """
    shares = (residuals > np.log(FAR)).mean(axis=2)
    return find_middle(shares[:, 2] - shares[:, :2].mean(axis=1), false_alarm, false_pass, trimmed=0.0)


def find_slow_frame(residuals: Values, rollouts: int, false_alarm: float, false_pass: float) -> Recurring:
    """The frame numbers that are slower each time; the level is shared out among all frames of the rollout.

    Args:
        residuals: (turns, drivers, rollouts * frames).
        rollouts: of a turn, whose mean is one value of each frame.
        false_alarm: level of all frames together.
        false_pass: level of each: a frame that is slow passes only if its own bound fails.
    """
    against = residuals[:, 2] - residuals[:, :2].mean(axis=1)
    against = against.reshape(len(against), rollouts, -1).mean(axis=1)
    found = find_middle(against, false_alarm / against.shape[1], false_pass)
    worst, open_ = int(np.argmax(found.low)), int(np.argmax(found.high))
    return Recurring(worst, float(found.estimate[worst]), float(found.low[worst]), open_, float(found.high[open_]))
