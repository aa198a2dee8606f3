"""Holds frame rates, deadlines, memory and the ratio to PyTorch against a baseline.

Ratios were taken between turns of one run, so they mean the same on every machine of the kind; everything else is
refused when it was measured on another one.
"""

import math

from porting.gate.baseline import TargetBaseline, ThroughputBaseline
from porting.gate.checks import at_least, at_most, figure, not_measured, share
from porting.gate.making import find_ratio, fingerprint
from porting.gate.noise import Tolerance, find_ratio_tolerance
from porting.gate.verdict import GateCheck, Limits
from porting.record import Outcome, TargetRecord, ThroughputEvidence

PROMISED = "promised frames per second"
ASKED = "frames per second asked for"
RATE = "frames per second"
TAIL = "frame time p99"
MISSED = "missed deadlines"
MEMORY = "memory high water"
SLOPE = "memory slope"
RATIO = "ratio to eager"
SURE = 0.95
BOUND_TO_MACHINE = (RATE, TAIL, MEMORY)
"""Absolute figures: of the baseline's own machine only."""


def check_speed(
    name: str, target: TargetRecord, baseline: TargetBaseline | None, limits: Limits
) -> tuple[GateCheck, ...]:
    """Every check of throughput that the baseline or a limit asks for; none when neither does."""
    old = baseline.throughput if baseline else None
    evidence = target.throughput
    if evidence is None:
        if old is None and limits.min_fps is None:
            return ()
        wanted = [ASKED] if old is None else [PROMISED, MISSED, SLOPE, RATIO, *BOUND_TO_MACHINE]
        return tuple(not_measured(name, check, "No frame was timed on any host.") for check in wanted)
    budget = baseline.throughput_budget if baseline else target.profile.throughput
    frames = evidence.frame_ms.frames, evidence.paced.frames
    needed = (old.timed_frames, old.paced_frames) if old else (budget.timed_frames, budget.paced_frames)
    if frames[0] <= 0 or frames[1] <= 0 or frames[0] < needed[0] or frames[1] < needed[1]:
        reason = f"{frames[0]} frames were timed and {frames[1]} paced; the baseline has {needed[0]} and {needed[1]}."
        return (not_measured(name, RATE, reason),)
    checks = [
        _check_rate(name, PROMISED, evidence, budget.frames_per_second),
        _check_missed(name, evidence, budget.max_missed_share),
        _check_slope(name, evidence, budget.max_memory_slope_bytes_per_frame),
    ]
    if limits.min_fps is not None:
        checks.append(_check_rate(name, ASKED, evidence, limits.min_fps))
    if old is not None:
        checks += [_check_ratio(name, evidence, old, limits), *_check_absolute(name, evidence, old, limits)]
    return tuple(_excuse(check, evidence) for check in checks)


def _check_rate(name: str, check: str, evidence: ThroughputEvidence, wanted: float) -> GateCheck:
    """The promise holds on whatever machine the frames were timed on."""
    rate = evidence.frames_per_second
    reason = (
        f"{figure(rate, 'fps')} over {evidence.frame_ms.frames} frames; at least {figure(wanted, 'fps')} is needed."
    )
    return at_least(_make(name, check, reason, (rate, wanted, None), "fps"))


def _check_missed(name: str, evidence: ThroughputEvidence, most: float) -> GateCheck:
    from scipy import special

    paced = evidence.paced
    possible = 1.0
    if 0 <= paced.missed < paced.frames:
        possible = float(special.betaincinv(paced.missed + 1, paced.frames - paced.missed, SURE))
    reason = f"{paced.missed} of {paced.frames} paced frames came late; {share(most)} may."
    value = paced.missed / paced.frames if paced.missed >= 0 else math.nan
    check = _make(name, MISSED, reason, (value, most, None), "of frames")
    unseen = f"of {paced.frames} paced frames, a true share of up to {share(possible)} late ones can look like this"
    return at_most(check.model_copy(update={"unseen": unseen}))


def _check_slope(name: str, evidence: ThroughputEvidence, most: float) -> GateCheck:
    slope = evidence.memory_slope_bytes_per_frame
    reason = f"Memory grew by {slope:.4g} bytes a frame; {most:.4g} may."
    return at_most(_make(name, SLOPE, reason, (slope, most, None), "bytes/frame"))


def _check_ratio(name: str, evidence: ThroughputEvidence, old: ThroughputBaseline, limits: Limits) -> GateCheck:
    """Port over eager from interleaved turns."""
    tolerance = old.tolerances.ratio_to_eager
    if old.ratio_to_eager is None or tolerance is None:
        reason = "The baseline was made where PyTorch eager did not run; make one where it does."
        return not_measured(name, RATIO, reason)
    port = find_ratio(evidence)
    if port is None:
        why = evidence.not_run.get("eager", "it is among no drivers, or a ratio is no number")
        return not_measured(name, RATIO, f"There is no ratio to PyTorch eager in this run ({why}).")
    if tolerance.relative > limits.widest_tolerance:
        return not_measured(name, RATIO, _say_too_wide("ratio", tolerance))
    limit = old.ratio_to_eager * (1 - tolerance.relative)
    own = find_ratio_tolerance([(port.ratio_to_eager, port.ratio_low, port.ratio_high, port.rounds)])
    differing = old.measured_on.differences(fingerprint(evidence))
    reason = (
        f"{port.ratio_to_eager:.3g} times PyTorch eager ({port.ratio_low:.3g} to {port.ratio_high:.3g} over"
        f" {port.rounds} rounds); the baseline is {old.ratio_to_eager:.3g}, and {share(tolerance.relative)} less is"
        f" within its noise." + (f" Measured elsewhere: {say_differences(differing)}." if differing else "")
    )
    check = at_least(_make(name, RATIO, reason, (port.ratio_to_eager, limit, old.ratio_to_eager), "x"))
    check = check.model_copy(update={"unseen": _say_unseen(tolerance, "loss")})
    # A run that is noisier than the baseline may fall below it by chance: that is no finding, and no pass either.
    noisy = own.relative > tolerance.relative and port.ratio_to_eager >= old.ratio_to_eager * (1 - own.relative)
    if check.outcome is Outcome.FAILED and noisy:
        note = f" This run is too noisy to tell: its own rounds allow {share(own.relative)}; measure again."
        return check.model_copy(update={"outcome": Outcome.NOT_MEASURED, "reason": reason + note})
    return check


def _check_absolute(
    name: str, evidence: ThroughputEvidence, old: ThroughputBaseline, limits: Limits
) -> list[GateCheck]:
    """Frame rate, p99 and memory, on the baseline's own machine."""
    if limits.ratios_only:
        return []
    differing = old.measured_on.differences(fingerprint(evidence))
    if differing:
        reason = (
            f"The baseline is of another machine: {say_differences(differing)}. Make a baseline here, or judge ratios"
            " alone (--ratios-only)."
        )
        return [not_measured(name, check, reason) for check in BOUND_TO_MACHINE]
    return [
        _check_absolute_rate(name, evidence, old, limits),
        _check_tail(name, evidence, old),
        _check_memory(name, evidence, old),
    ]


def _check_absolute_rate(name: str, evidence: ThroughputEvidence, old: ThroughputBaseline, limits: Limits) -> GateCheck:
    tolerance, rate = old.tolerances.frames_per_second, evidence.frames_per_second
    if tolerance.relative > limits.widest_tolerance:
        return not_measured(name, RATE, _say_too_wide("frame rate", tolerance))
    limit = old.frames_per_second * (1 - tolerance.relative)
    reason = (
        f"{figure(rate, 'fps')}; the baseline is {figure(old.frames_per_second, 'fps')}, and"
        f" {share(tolerance.relative)} less is within its noise."
    )
    check = at_least(_make(name, RATE, reason, (rate, limit, old.frames_per_second), "fps"))
    return check.model_copy(update={"unseen": _say_unseen(tolerance, "loss")})


def _check_tail(name: str, evidence: ThroughputEvidence, old: ThroughputBaseline) -> GateCheck:
    """A tail that passes the deadline where the baseline's did not is no noise, however wide the tolerance."""
    tolerance, p99 = old.tolerances.frame_p99, evidence.frame_ms.p99
    limit = old.frame_p99_ms * (1 + tolerance.relative)
    if old.frame_p99_ms < evidence.deadline_ms < limit:
        limit = evidence.deadline_ms
    reason = (
        f"p99 is {figure(p99, 'ms')} over {evidence.frame_ms.frames} frames; the baseline is"
        f" {figure(old.frame_p99_ms, 'ms')}, and up to {figure(limit, 'ms')} is within its noise."
    )
    check = at_most(_make(name, TAIL, reason, (p99, limit, old.frame_p99_ms), "ms"))
    return check.model_copy(update={"unseen": _say_unseen(tolerance, "rise")})


def _check_memory(name: str, evidence: ThroughputEvidence, old: ThroughputBaseline) -> GateCheck:
    tolerance, most = old.tolerances.memory, float(evidence.memory_high_water_bytes)
    if most <= 0:
        return not_measured(name, MEMORY, f"{most:.0f} bytes were in use, which no process does with.")
    limit = old.memory_high_water_bytes * (1 + tolerance.relative)
    reason = (
        f"{figure(most, 'bytes')} at most; the baseline is {figure(old.memory_high_water_bytes, 'bytes')}, and"
        f" {share(tolerance.relative)} more is allowed."
    )
    check = _make(name, MEMORY, reason, (most, limit, float(old.memory_high_water_bytes)), "bytes")
    return at_most(check.model_copy(update={"unseen": _say_unseen(tolerance, "rise")}))


def _make(name: str, check: str, reason: str, figures: tuple[float, float, float | None], unit: str) -> GateCheck:
    value, limit, old = figures
    return GateCheck(
        target=name, name=check, outcome=Outcome.NOT_MEASURED, reason=reason, value=value, limit=limit, baseline=old,
        unit=unit,
    )  # fmt: skip


def _say_unseen(tolerance: Tolerance, what: str) -> str:
    return f"a {what} below {share(tolerance.smallest_effect)} is found less than 19 times in 20"


def _say_too_wide(what: str, tolerance: Tolerance) -> str:
    return (
        f"The baseline's {what} was so noisy that a loss of {share(tolerance.relative)} is within it"
        f" ({tolerance.basis}); make the baseline on a quieter machine, or of several runs (--again)."
    )


def say_differences(differing: tuple[str, ...]) -> str:
    """The first few fields that differ."""
    more = len(differing) - 4
    return ", ".join(differing[:4]) + (f" and {more} more" if more > 0 else "")


def _excuse(check: GateCheck, evidence: ThroughputEvidence) -> GateCheck:
    """A disturbed machine can only make a port look slower: there, a miss is no finding. Memory has no such excuse."""
    if check.outcome is not Outcome.FAILED or evidence.valid or check.name in {SLOPE, MEMORY}:
        return check
    why = "; ".join(evidence.disturbances) or "it is not said how"
    reason = f"{check.reason} The machine was disturbed: {why}. Measure again."
    return check.model_copy(update={"outcome": Outcome.NOT_MEASURED, "reason": reason})
