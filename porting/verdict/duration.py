"""What goes beyond one short run: a soak, several sessions at once, and whether the details fit the whole."""

import math
from collections.abc import Iterator

from porting.profile import ThroughputBudget
from porting.record import Check, Concurrency, SessionLoad, Step, ThroughputEvidence
from porting.verdict.evidence import failed, find_non_numbers, hold_at_least, hold_at_most, not_measured, say_names

STEP = Step.THROUGHPUT
SLACK = 1e-3
"""For rounding, where figures must add up."""


def check_soak(evidence: ThroughputEvidence, budget: ThroughputBudget) -> tuple[Check, ...]:
    """The memory slope of a long rollout; none where no soak was asked for. The slowdown is told and not budgeted."""
    soak = evidence.soak
    if soak is None:
        return ()
    bad = list(find_non_numbers(soak))
    if bad:
        return (failed(STEP, "soak", "long rollout", f"No number stands in {say_names(bad)}."),)
    reason = (
        f"Over {soak.frames} frames memory grows by {soak.memory_slope_bytes_per_frame:.4g} bytes a frame"
        f" ({soak.memory_growth_bytes / 2**20:.3g} MiB in all); a frame then takes {soak.slowdown:.3g} times what a"
        f" young rollout's does ({soak.slowdown_low:.3g} to {soak.slowdown_high:.3g})."
        + (f" The machine was disturbed: {'; '.join(soak.disturbances)}." if soak.disturbances else "")
    )
    limit = budget.max_memory_slope_bytes_per_frame
    figures = (soak.memory_slope_bytes_per_frame, limit, "bytes/frame")
    return (hold_at_most(STEP, "soak", "long rollout", figures, reason),)


def check_sessions(evidence: ThroughputEvidence, budget: ThroughputBudget) -> tuple[Check, ...]:
    """At least one of the sessions that were tried holds the rate; none where they were not asked for."""
    found = evidence.concurrency
    if found is None:
        return ()
    name, subject = "concurrent sessions", "one device"
    problems = list(_find_session_problems(found, budget))
    if problems:
        return (failed(STEP, name, subject, f"Not one measurement: {'; '.join(problems)}."),)
    told = "; ".join(_say_load(load) for load in found.loads)
    say = "; ".join(found.disturbances)
    more = ", more were not tried" if found.most_that_hold == found.asked else ""
    reason = f"{found.most_that_hold} sessions hold the rate together{more}. {told}."
    if found.most_that_hold < 1 and found.disturbances:
        return (not_measured(STEP, name, subject, f"{reason} The machine was disturbed: {say}."),)
    return (hold_at_least(STEP, name, subject, (float(found.most_that_hold), 1.0, "sessions"), reason),)


def _find_session_problems(found: Concurrency, budget: ThroughputBudget) -> Iterator[str]:
    if not found.loads:
        yield "no number of sessions was tried"
    if not math.isclose(found.max_missed_share, budget.max_missed_share):
        yield f"{found.max_missed_share:.2%} might be missed, the profile allows {budget.max_missed_share:.2%}"
    for load in found.loads:
        if load.error is not None:
            if load.holds:
                yield f"{load.sessions} sessions could not be run and hold"
            continue
        bad = list(find_non_numbers(load))
        if bad:
            yield f"no number stands in {say_names(bad)} of {load.sessions} sessions"
        elif len(load.missed) != load.sessions or load.frames < 1 or load.latency_ms is None:
            yield f"{len(load.missed)} of {load.sessions} sessions were counted"
        elif load.holds != (max(load.missed) <= budget.max_missed_share * load.frames):
            yield f"{max(load.missed)} missed of {load.frames} do not make {load.sessions} sessions hold or not"
    holding = {load.sessions for load in found.loads if load.holds}
    if found.most_that_hold != max(holding, default=0):
        yield f"{found.most_that_hold} sessions are said to hold, measured were {max(holding, default=0)}"


def _say_load(load: SessionLoad) -> str:
    if load.error is not None or load.latency_ms is None:
        return f"{load.sessions} could not be run ({load.error})"
    return (
        f"{load.sessions} miss at most {max(load.missed)} of {load.frames} frames each,"
        f" {load.latency_ms.p99:.4g} ms p99"
    )


def find_contradictions(evidence: ThroughputEvidence) -> Iterator[str]:
    """Where latency, viewers and what time was spent on do not fit the run that they are said to be of."""
    latency = evidence.latency
    if latency is not None:
        if latency.chunk_frames < 1:
            yield f"a chunk has {latency.chunk_frames} frames"
        if (latency.closed_loop_ms.frames, latency.paced_ms.frames) != (
            evidence.frame_ms.frames,
            evidence.paced.frames,
        ):
            yield "latency was taken of other frames than the times"
        if not latency.longest_wait_ms >= evidence.deadline_ms * (1 - SLACK):
            yield f"an action waits {latency.longest_wait_ms:.4g} ms at most, less than a frame's period"
    whole = sum(part.share for part in evidence.spent)
    if evidence.spent and not math.isclose(whole, 1.0, abs_tol=SLACK):
        yield f"{whole:.4g} of a frame's time was spent"
    for frame in evidence.waterfalls:
        parts = sum(span.duration_ms + span.gap_ms for span in frame.spans) + frame.tail_ms
        if not parts <= frame.frame_ms * (1 + SLACK) + SLACK:
            yield f"the {frame.which} frame took {frame.frame_ms:.4g} ms, its parts {parts:.4g}"
    sizes = [viewer.buffer_frames for viewer in evidence.viewers]
    if sizes != sorted(set(sizes)):
        yield f"viewers have start buffers of {sizes} frames"
    if any(energy <= 0 for energy in _energies(evidence)):
        yield "a frame took no energy"


def _energies(evidence: ThroughputEvidence) -> Iterator[float]:
    if evidence.energy is not None:
        given = (evidence.energy.joules_per_frame, evidence.energy.paced_joules_per_frame, evidence.energy.watts)
        yield from (figure for figure in given if figure is not None)
