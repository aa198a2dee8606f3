"""A simulated viewer: what someone sees who watches frames at the promised rate. Knows nothing but finish times."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from porting.record import Viewer
from porting.throughput.statistics import Times

BUFFERS = (0, 1, 2, 4)
"""Frames in stock before the first is shown; each costs a frame's time of delay, for ever."""
ROUNDING_MS = 1e-6
"""A frame that is late by less is late by the arithmetic only."""


def watch(
    finish_ms: Times, new_frames: npt.NDArray[np.int32], chunk_frames: int, period_ms: float, buffer_frames: int
) -> Viewer:
    """Show every frame a period after the one before, or when it is there if that is later.

    The first is shown when `buffer_frames` more are there. A late frame shifts all after it: the viewer skips none. One
    that is not new is an underrun of a period, as the picture stands still.

    Args:
        finish_ms: when each chunk was finished, from the first one's release, in order.
        new_frames: new pixel frames of each chunk.
        chunk_frames: pixel frames of a chunk, all there at its finish.
        period_ms: time for which a pixel frame is to be seen.
        buffer_frames: pixel frames in stock at the start.

    Returns:
        NaN for delay and stall where there are too few frames to begin, or a time is no number.
    """
    arrivals = np.repeat(finish_ms, chunk_frames)
    if arrivals.size <= buffer_frames or not np.all(np.isfinite(arrivals)):
        nan = float("nan")
        return Viewer(buffer_frames=buffer_frames, start_delay_ms=nan, underruns=arrivals.size, stalled_ms=nan)
    # Which of a chunk's frames repeat the one before is not kept; that so many do is what a viewer sees.
    new = (np.arange(chunk_frames)[None, :] < new_frames[:, None]).ravel()
    begin = float(arrivals[buffer_frames])
    due, underruns, stalled = begin, 0, 0.0
    for arrival, is_new in zip(arrivals.tolist(), new.tolist(), strict=True):
        late = max(arrival - due, 0.0)
        if late > ROUNDING_MS or not is_new:
            underruns += 1
            stalled += late + (0.0 if is_new else period_ms)
        due = max(due, arrival) + period_ms
    return Viewer(buffer_frames=buffer_frames, start_delay_ms=begin, underruns=underruns, stalled_ms=stalled)


def watch_all(
    finish_ms: Times,
    new_frames: npt.NDArray[np.int32],
    chunk_frames: int,
    period_ms: float,
    buffers: Sequence[int] = BUFFERS,
) -> tuple[Viewer, ...]:
    """One viewer a size of start buffer that the frames can fill; arguments as in `watch`."""
    frames = len(finish_ms) * chunk_frames
    fitting = [size for size in buffers if size < frames or size == 0]
    return tuple(watch(finish_ms, new_frames, chunk_frames, period_ms, size) for size in fitting)
