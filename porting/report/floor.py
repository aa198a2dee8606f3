"""A frame's floor beside what was measured, in sentences and rows; what holds a component back, from its profile.

It judges nothing: a time that no code can reach is the verdict's to name.
"""

import math
from dataclasses import dataclass

from porting.record import ComponentFloor, ComponentProfile, FrameLimit
from porting.report.numbers import NOT_MEASURED, number, percent, plural

COPIES = "copies by the host"
FRAME = "the whole frame"
MOST_OPERATORS = 3
"""Operators that a sentence names."""
BELOW_PEAK = 0.5
"""An operator that reaches less of its own floor wastes more than it works."""


@dataclass(frozen=True)
class FloorRow:
    """One component of a frame, the host's copies, or the whole."""

    name: str
    calls: int | None
    compute_ms: float | None
    memory_ms: float | None
    floor_ms: float
    bound: str
    measured_ms: float | None
    achieved: str
    """"44.5 %"; above 100 % it says that this cannot be right."""


def list_rows(limit: FrameLimit) -> tuple[FloorRow, ...]:
    """The components in the order of the frame, the host's copies, the whole frame."""
    parts = [
        FloorRow(
            part.component,
            part.calls_per_frame,
            part.compute_ms,
            part.memory_ms,
            part.floor_ms,
            part.bound,
            part.measured_ms,
            say_achieved(part),
        )
        for part in limit.components
    ]
    copies = FloorRow(COPIES, None, None, limit.copy_ms, limit.copy_ms, "memory", None, "\N{EN DASH}")
    whole = percent(limit.achieved)
    return (
        *parts,
        copies,
        FloorRow(FRAME, None, None, None, limit.floor_ms, limit.bound, limit.measured_ms, whole),
    )


def say_achieved(part: ComponentFloor) -> str:
    """The share of the limit that was reached; one above 1 is told for what it is."""
    if part.achieved is None or not math.isfinite(part.achieved) or part.achieved <= 1:
        return percent(part.achieved)
    if part.is_impossible:
        return f"{percent(part.achieved)}: impossible, the measurement is wrong"
    return f"{percent(part.achieved)}: the peak was measured too low, or fewer products were made than counted"


def say_limit(limit: FrameLimit) -> str:
    """One line: floor, share reached and by which component, what binds; a projection says that it is one."""
    kind = "projected floor" if limit.peaks.projected else "floor"
    floor = f"{kind} {number(limit.floor_ms, 'ms')} ({number(limit.floor_fps)} fps) on {limit.peaks.name}"
    bound = f"bound by {limit.bound}"
    missing = f"; not counted: {say_uncounted(limit)}" if limit.incomplete else ""
    if limit.achieved is None:
        return f"{floor}, {bound}; {NOT_MEASURED} here{missing}"
    parts = ", ".join(f"{part.component} {percent(part.achieved)}" for part in limit.components)
    beaten = any((part.achieved or 0.0) > 1 for part in limit.components)
    doubt = "; more than 100 % says that the peaks were measured too low" if beaten else ""
    return f"{floor}, {bound}; reached {percent(limit.achieved)} of it: {parts}{missing}{doubt}"


def say_uncounted(limit: FrameLimit) -> str:
    """Operators whose work is in no count: "4 Det, 1 Loop"."""
    return ", ".join(f"{amount} {name}" for name, amount in sorted(limit.incomplete.items()))


def say_peaks(limit: FrameLimit) -> str:
    """How much of what the peaks allow, and how that is known."""
    peaks = limit.peaks
    rates = sorted({peaks.bandwidths[0].bytes_per_second, peaks.bandwidths[-1].bytes_per_second})
    memory = " to ".join(number(rate / 1e9) for rate in rates)
    known = f"{number(peaks.matrix_flops_per_second / 1e9)} GFLOP/s, {memory} GB/s; {peaks.source}"
    made = limit.calibration
    if made is None:
        return known
    disturbed = f", meanwhile {'; '.join(made.disturbances)}" if made.disturbances else ""
    return f"{known}, the fastest of {plural(len(made.samples), 'sample')}{disturbed}"


def say_holding(profile: ComponentProfile) -> str:
    """What a component's time is spent on, the greatest parts first; why it is not known where it is not."""
    if not profile.operators:
        return f"{profile.component} on {profile.backend}: {NOT_MEASURED}, {profile.reason or 'no profile was made'}."
    slow = [operator for operator in profile.operators[:MOST_OPERATORS]]
    parts = ", ".join(
        f"{operator.name} {percent(operator.share)}"
        + (f" (at {percent(operator.achieved)} of its own floor)" if operator.achieved is not None else "")
        for operator in slow
    )
    wasted = [o for o in profile.operators if o.achieved is not None and o.achieved < BELOW_PEAK]
    lost = sum(o.ms - (o.floor_ms or 0.0) for o in wasted)
    more = f"; products short of half their peak lose {number(lost, 'ms')} a call" if wasted else ""
    return f"{profile.component} on {profile.backend}: {parts}{more}."
