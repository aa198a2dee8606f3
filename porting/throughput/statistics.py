"""Figures from raw frame times. What cannot be measured from what was given is NaN, never a guess."""

import numpy as np
import numpy.typing as npt

from porting.record import Distribution, Pacing

Times = npt.NDArray[np.float64]

SLOPE_FRAMES = 200
"""Fewest frames that a memory slope is fitted to: at 256 bytes a frame they add a dozen pages, fewer are noise."""
SMOOTHED_SAMPLES = 5
STEP_BYTES = 64 * 1024
"""Smallest step that is taken for an allocator's; a small leak grows by a page of 4 KiB at a time."""


def are_times(times: Times) -> bool:
    """Whether there is at least one, and all are finite and above zero."""
    return times.size > 0 and bool(np.all(np.isfinite(times) & (times > 0)))


def distribute(frame_ms: Times) -> Distribution:
    """Percentiles of frame times in ms; NaN for no frames or for one whose time is no time."""
    if not are_times(frame_ms):
        nan = float("nan")
        return Distribution(frames=frame_ms.size, mean=nan, p50=nan, p90=nan, p99=nan, max=nan)
    p50, p90, p99 = (float(p) for p in np.percentile(frame_ms, (50, 90, 99)))
    return Distribution(
        frames=frame_ms.size, mean=float(frame_ms.mean()), p50=p50, p90=p90, p99=p99, max=float(frame_ms.max())
    )


def frames_per_second(frame_ms: Times, new_frames: npt.NDArray[np.int32]) -> float:
    """New pixel frames over the time that all took; what was not written, or is the one before, is time only.

    Args:
        frame_ms: time of each frame, or of each chunk.
        new_frames: how many new pixel frames each made.
    """
    if not are_times(frame_ms):
        return float("nan")
    return float(new_frames.sum() / frame_ms.sum() * 1e3)


def pace(late_ms: Times, finish_ms: Times, emitted: npt.NDArray[np.bool_]) -> Pacing:
    """How frames met their deadlines.

    Args:
        late_ms: time past each frame's deadline, negative when early.
        finish_ms: when each frame was finished.
        emitted: a frame that was not written, or is the one before, is missed whenever it came.
    """
    if late_ms.size == 0 or not np.all(np.isfinite(late_ms)):
        nan = float("nan")
        return Pacing(frames=late_ms.size, missed=late_ms.size, longest_stall_ms=nan, jitter_ms=nan)
    return Pacing(
        frames=late_ms.size,
        missed=int(np.count_nonzero((late_ms > 0) | ~emitted)),
        longest_stall_ms=float(max(late_ms.max(), 0.0)),
        jitter_ms=float(np.std(np.diff(finish_ms))) if finish_ms.size > 1 else 0.0,
    )


def memory_slope(resident_bytes: npt.NDArray[np.int64]) -> float:
    """Bytes per frame, fitted by least squares; NaN for fewer than `SLOPE_FRAMES` samples or one that was not taken.

    An allocator that once takes or gives back an arena is no leak, yet tilts the line: single outliers are smoothed
    away and the largest step up and the largest step down are left out. What steps up again and again is still seen.
    """
    if resident_bytes.size < SLOPE_FRAMES or np.any(resident_bytes < 0):
        return float("nan")
    level = np.median(np.lib.stride_tricks.sliding_window_view(resident_bytes, SMOOTHED_SAMPLES), axis=1)
    steps = np.diff(level)
    for index in (int(steps.argmax()), int(steps.argmin())):
        if abs(steps[index]) >= STEP_BYTES:
            steps[index] = 0.0
    risen = np.concatenate(([0.0], np.cumsum(steps)))
    frames = np.arange(risen.size) - (risen.size - 1) / 2
    return float((frames * risen).sum() / (frames**2).sum())


def ratios_by_round(baseline_ms: list[Times], driver_ms: list[Times]) -> tuple[float, float, float]:
    """Median, lowest and highest over the rounds of the baseline's median time over the driver's."""
    if not baseline_ms or not all(are_times(times) for times in (*baseline_ms, *driver_ms)):
        return (float("nan"),) * 3
    ratios = [
        float(np.median(baseline) / np.median(driver)) for baseline, driver in zip(baseline_ms, driver_ms, strict=True)
    ]
    return float(np.median(ratios)), min(ratios), max(ratios)


def overhead_share(frame_ms: Times, call_ms: Times) -> float:
    """Time outside the components' calls as a share of frame time.

    Args:
        frame_ms: (frames,).
        call_ms: (frames, components).
    """
    if not are_times(frame_ms) or call_ms.shape[0] != frame_ms.size or not np.all(np.isfinite(call_ms)):
        return float("nan")
    return float(1.0 - call_ms.sum() / frame_ms.sum())
