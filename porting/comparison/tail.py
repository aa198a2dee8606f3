"""Slow frames that a middle does not show: a share of frames that is late now and then, or one frame that always is.

Every frame is held against the middle of its own turn and driver, and against the same frame of all turns, so that
neither an evenly slower candidate nor a frame that is dear for both counts here.
"""

from dataclasses import dataclass

import numpy as np

from porting.comparison.intervals import Middle, Values, find_middle

SLOWED = 1.2
"""Slowdown that has to be seen in `ONE_IN` frames."""
ONE_IN = 50
SHARE_LIMIT = 0.0025
"""More slow frames that are let pass, as a share of all: an eighth of one in fifty."""
FRAME_LIMIT = 0.05
"""Slowdown of a single frame of the rollout that is let pass."""
GRID = np.log(np.arange(1.04, 1.18, 0.01))
"""Log factors that are tried for the lower edge of the first band."""
FAR = float(np.log(1.5))
"""Between the bands: a frame that another process interrupts is late by far more than half, and hides no small one."""


@dataclass(frozen=True)
class Band:
    """Slow frames between two log factors."""

    above: float
    below: float
    shares: Values
    """(drivers,), over all turns."""
    excess: Middle
    seen: float
    """Share of frames slowed by `SLOWED` that would have come into the band."""


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


def find_bands(residuals: Values, false_alarms: tuple[float, float], false_pass: float) -> tuple[Band, ...]:
    """Two bands, late by a little and late by far; the edge of the first is where `SLOWED` frames stand out most.

    The edge is chosen on all drivers' frames together, so that the choice favours neither side.

    Args:
        residuals: (turns, drivers, frames).
        false_alarms: level of each band.
        false_pass: level of both.
    """
    everything = np.sort(residuals.ravel())
    edges = ((_choose_edge(everything), FAR), (FAR, np.inf))
    return tuple(
        _find_band(residuals, everything, *edge, false_alarm, false_pass)
        for edge, false_alarm in zip(edges, false_alarms, strict=True)
    )


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


def _choose_edge(everything: Values) -> float:
    gains = [_gain(everything, edge) for edge in GRID]
    return float(GRID[int(np.argmax(gains))])


def _gain(everything: Values, edge: float) -> float:
    """Slowed frames that come into the band over the noise of those that are there anyway."""
    here, slowed = _share(everything, edge, FAR), _share(everything + np.log(SLOWED), edge, FAR)
    return float((slowed - here) / np.sqrt(max(here, 1.0 / everything.size)))


def _share(values: Values, above: float, below: float) -> float:
    return float(np.mean((values > above) & (values <= below)))


def _find_band(
    residuals: Values, everything: Values, above: float, below: float, false_alarm: float, false_pass: float
) -> Band:
    inside = (residuals > above) & (residuals <= below)
    shares = inside.mean(axis=2)
    # Counts of a few late frames a turn are no place to leave out the largest: they are what is looked for.
    excess = find_middle(shares[:, 2] - shares[:, :2].mean(axis=1), false_alarm, false_pass, trimmed=0.0)
    seen = _share(everything + np.log(SLOWED), above, below) - _share(everything, above, below)
    return Band(above, below, shares.mean(axis=0), excess, seen)
