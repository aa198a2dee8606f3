"""The share of frames that a candidate slows by a fifth, among frames that are late for reasons of their own.

Counting frames beyond an edge throws away how far beyond they are, and what an edge can see depends on the machine's
hour. So each frame is weighed by how much likelier its lateness is when it was slowed than when it was not; the mean
weight grows with the share of slowed frames faster, against its own noise, than any other sum over frames would. A
later frame never weighs less, so that what is slowed by more than a fifth counts for more. How fast the mean weight
grows is found by slowing frames of the very turns that are judged: what slowed frames do to their turn's middle is then
in it.

Source: the locally most powerful test (Rao, 1948; Cox and Hinkley, Theoretical Statistics, 1974, section 4.8), with the
density of the turns themselves.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from porting.comparison.intervals import Middle, Values, find_middle
from porting.comparison.speeds import find_middles, level_frames

SLOWED = 1.2
"""Slowdown that has to be seen in `ONE_IN` frames."""
ONE_IN = 50
STEP = 0.01
"""Of the density's grid, in log factors."""
GRID = np.arange(-0.5, 1.0, STEP)
SMOOTHING = 3.0
"""Steps that a frame's lateness is spread over, since the far tail has few frames."""
LEAST_DENSITY = 1e-4
"""Added to every step, as a share of all frames: where no frame was seen, one more is no proof."""
LARGEST_WEIGHT = 8.0
"""Of one frame, so that no single one decides."""
PLANTINGS = 10
"""Times that one frame in `ONE_IN` is slowed, others each time."""
Weigh = Callable[[Values], Values]


def find_slowed(log_times: Values, false_alarm: float, false_pass: float) -> Middle:
    """The share of the candidate's frames slowed by `SLOWED`, beyond the baseline's, with its bounds.

    Args:
        log_times: (turns, 3, frames).
        false_alarm: level of the lower bound.
        false_pass: level of the upper one.
    """
    levelled = level_frames(log_times)
    lateness = levelled - find_middles(levelled)[:, :, None]
    # All drivers' frames together: what is likely favours neither side.
    weigh = _make_weights(lateness)
    weights = weigh(lateness).mean(axis=2)
    gain = _plant(levelled[:, :2], weigh) - weights[:, :2].mean()
    return find_middle((weights[:, 2] - weights[:, :2].mean(axis=1)) / (ONE_IN * gain), false_alarm, false_pass, 0.0)


def _make_weights(lateness: Values) -> Weigh:
    """The log-likelihood's slope at no slowed frame: density where a slowed frame would come from over density here."""
    counts, edges = np.histogram(lateness, GRID)
    density = ndimage.gaussian_filter1d(counts.astype(np.float64), SMOOTHING) + LEAST_DENSITY * lateness.size
    centres = (edges[1:] + edges[:-1]) / 2
    before = np.interp(centres - np.log(SLOWED), centres, density)
    weights = np.maximum.accumulate(np.minimum(before / density - 1, LARGEST_WEIGHT))
    return lambda values: np.interp(values, centres, weights)


def _plant(levelled: Values, weigh: Weigh) -> float:
    """Mean weight of frames, (turns, drivers, frames), of which one in `ONE_IN` was slowed."""
    found = []
    for first in range(0, ONE_IN, ONE_IN // PLANTINGS):
        planted = levelled.copy()
        planted.reshape(-1)[first::ONE_IN] += np.log(SLOWED)
        found.append(weigh(planted - find_middles(planted)[:, :, None]).mean())
    return float(np.mean(found))
