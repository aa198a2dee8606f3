"""How fast a turn was: its quick and its middle frame, after what each frame of the rollout costs on average."""

import numpy as np
from scipy import stats

from porting.comparison.intervals import Values

HALF_TRIMMED = 0.25
"""A turn's middle is the mean of the middle half of its frames: steadier than a median, blind to stalls."""
QUICK = 0.2
"""Share of a turn's frames below its quick frame. What slows every frame moves it as it moves the middle; the machine's
moods move it less: by 1.3 % from turn to turn where the middle moved by 1.9 %, on two cores of a shared machine."""


def level_frames(log_times: Values) -> Values:
    """Log times (turns, drivers, frames) less what the same frame is on average, over all turns and drivers."""
    levelled: Values = log_times - np.median(log_times - np.median(log_times, axis=2, keepdims=True), axis=(0, 1))
    return levelled


def find_quick(levelled: Values) -> Values:
    """(turns, drivers) of (turns, drivers, frames)."""
    quick: Values = np.quantile(levelled, QUICK, axis=2)
    return quick


def find_middles(levelled: Values) -> Values:
    """(turns, drivers) of (turns, drivers, frames)."""
    middles: Values = stats.trim_mean(levelled, HALF_TRIMMED, axis=2)
    return middles
