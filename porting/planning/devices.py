"""One device: the floor of a frame and the sessions that it can hold, format by format, as its profile's sources claim.

Every source's claim is kept: the conservative reading takes the smallest of each figure, the optimistic the largest.
"""

from porting.planning.work import BITS, PlannedModel, state_bits
from porting.profile import Format, Profile
from porting.record.limit import Bound, Peaks
from porting.roofline.peaks import Reading, peaks_of_device
from porting.tensor_spec import Model

UTILISATIONS = (0.4, 0.6, 0.8)
"""Shares of the peak at which the frame rate is shown beside the floor's."""
MOST_SESSIONS = 10**7
READINGS: tuple[Reading, ...] = ("conservative", "optimistic")


class FormatPlan(Model):
    """A model on a device in one format, by one reading of its figures."""

    format: Format
    reading: str
    floor_ms: float
    floor_fps: float
    bound: Bound
    fps_at_utilisation: dict[str, float]
    """Share of the peak in arithmetic -> frames per second; memory at its full rate."""
    sessions: int
    """At the frame rate asked for, at the floor; 0 where one alone is too much."""
    sessions_bound: str
    """"memory size", "time", or "weights" where they alone do not fit."""


class DevicePlan(Model):
    """A model on one target."""

    target: str
    title: str
    formats: tuple[FormatPlan, ...]
    left_out: str = ""
    """Why there are no formats."""
    measured_peaks: Peaks | None = None
    """Of this host, where it was measured; otherwise all is projected."""


def plan_device(model: PlannedModel, profile: Profile, fps: float) -> DevicePlan:
    """The floor of a frame and the sessions at `fps`, for every format that the profile gives a peak of."""
    device = profile.device
    formats = [name for name in BITS if name in device.peaks]
    if not formats or device.bandwidth_gb_per_s is None or device.memory_bytes is None:
        missing = "peaks" if not formats else "bandwidth or memory size"
        return DevicePlan(target=profile.name, title=profile.title, formats=(), left_out=_say_missing(profile, missing))
    planned: list[FormatPlan] = []
    for name in formats:
        for reading in READINGS:
            peaks = peaks_of_device(profile, name, reading)
            if planned and reading == "optimistic" and _same(peaks, peaks_of_device(profile, name, READINGS[0])):
                planned[-1] = planned[-1].model_copy(update={"reading": "undisputed"})
                continue
            cache = cache_bytes(profile)
            planned.append(plan_format(model, name, peaks, device.memory_bytes, cache, fps, reading))
    return DevicePlan(target=profile.name, title=profile.title, formats=tuple(planned))


def plan_format(
    model: PlannedModel,
    number_format: Format,
    peaks: Peaks,
    memory_bytes: int,
    cache: float,
    fps: float,
    reading: str,
) -> FormatPlan:
    """One format on given peaks; `cache` is what may stay on chip between calls, in bytes."""
    floor, bound = frame_seconds(model, number_format, peaks, cache)
    sessions, limit = _count_sessions(model, number_format, peaks, memory_bytes, cache, fps)
    return FormatPlan(
        format=number_format,
        reading=reading,
        floor_ms=1000 * floor,
        floor_fps=1 / floor,
        bound=bound,
        fps_at_utilisation={
            f"{share:g}": 1 / frame_seconds(model, number_format, peaks, cache, share)[0] for share in UTILISATIONS
        },
        sessions=sessions,
        sessions_bound=limit,
    )


def frame_seconds(
    model: PlannedModel,
    number_format: Format,
    peaks: Peaks,
    cache: float = 0,
    utilisation: float = 1.0,
    sessions: int = 1,
) -> tuple[float, Bound]:
    """Seconds of one frame of every session, calls batched over them, and what binds most of it."""
    total, computing = 0.0, 0.0
    for part in model.components:
        compute = sessions * part.matrix_flops / (peaks.matrix_flops_per_second * utilisation)
        fetched = max(part.nbytes(number_format, sessions) - cache, 0.0)
        memory = fetched / peaks.bandwidth(int(part.nbytes(number_format, sessions)))
        total += part.calls_per_frame * max(compute, memory)
        computing += part.calls_per_frame * compute * (compute >= memory)
    copied = max(sessions * model.copied_elements * state_bits(number_format) / 8 - cache, 0.0)
    total += copied / peaks.bandwidth(int(copied))
    return total, "compute" if computing >= total / 2 else "memory"


def cache_bytes(profile: Profile) -> float:
    """What may stay on chip from one call to the next: the last cache, by the largest claim; 0 where none is known."""
    device = profile.device
    caches = [figure for figure in (device.l2_mib, device.last_level_cache_mib) if figure is not None]
    return max((float(figure.optimistic) for figure in caches), default=0.0) * 2**20


def _count_sessions(
    model: PlannedModel, number_format: Format, peaks: Peaks, memory_bytes: int, cache: float, fps: float
) -> tuple[int, str]:
    """How many sessions fit in memory and in the time of a frame, and which of the two ends it."""
    room = memory_bytes - model.weight_bytes(number_format)
    if room < 0:
        return 0, "weights"
    fitting = int(room // max(1.0, model.session_bytes(number_format)))
    if fitting == 0:
        return 0, "memory size"
    most = min(fitting, MOST_SESSIONS)

    def holds(sessions: int) -> bool:
        return frame_seconds(model, number_format, peaks, cache, sessions=sessions)[0] <= 1 / fps

    if holds(most):
        return most, "memory size"
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, "time"


def _say_missing(profile: Profile, missing: str) -> str:
    advice = f"; name it, --target {profile.name}, and this host is measured" if profile.device.kind == "cpu" else ""
    return f"its profile gives no {missing}{advice}"


def _same(one: Peaks, other: Peaks) -> bool:
    ours, theirs = one.matrix_flops_per_second, other.matrix_flops_per_second
    return ours == theirs and one.bandwidths == other.bandwidths
