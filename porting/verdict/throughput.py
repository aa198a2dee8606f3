"""Throughput: the promised frame rate, on the host named, with every deadline and byte accounted for.

A disturbed machine can only make a port look slower. So a port that meets its deadlines on one passes, with the
disturbance told; one that misses them there was not measured.
"""

import itertools
import math

from porting.profile import ThroughputBudget
from porting.record import Check, Distribution, Outcome, Pacing, Step, TargetRecord, ThroughputEvidence
from porting.verdict.duration import check_sessions, check_soak, find_contradictions
from porting.verdict.evidence import (
    check_complete,
    failed,
    find_non_numbers,
    hold_at_least,
    hold_at_most,
    not_measured,
    passed,
    say_names,
)
from porting.verdict.limit import check_limit

STEP = Step.THROUGHPUT
PORT = "port"
EAGER = "eager"
SLACK = 1.001
"""For rounding, where one figure must follow from another."""


def check_throughput(target: TargetRecord) -> tuple[Check, ...]:
    """Checks of step `throughput`."""
    evidence, budget = target.throughput, target.profile.throughput
    if evidence is None:
        return (not_measured(STEP, "throughput", "target", "No frame was timed on any host."),)
    checks = (
        check_complete(STEP, "throughput", evidence, frozenset({"drivers", "soak", "concurrency"})),
        _check_consistent(evidence, budget),
        _check_rate(evidence, budget),
        _check_pacing(evidence, budget),
        _check_drivers(evidence),
        *check_sessions(evidence, budget),
    )
    long_run = (*check_soak(evidence, budget), *check_limit(target))
    return (*(_excuse(check, evidence) for check in checks), _check_memory(evidence, budget), *long_run)


def _check_consistent(evidence: ThroughputEvidence, budget: ThroughputBudget) -> Check:
    """Figures of one run must not contradict each other, nor answer another profile's question."""
    name = "figures agree with each other"
    times = evidence.frame_ms
    problems = [*_order_problems(times)]
    if not math.isclose(evidence.deadline_ms, budget.deadline_ms, rel_tol=1e-6):
        problems.append(f"a deadline of {evidence.deadline_ms:.4g} ms was paced, not {budget.deadline_ms:.4g}")
    chunk = evidence.latency.chunk_frames if evidence.latency is not None else 1
    if not evidence.frames_per_second * times.mean <= 1000.0 * chunk * SLACK:
        problems.append(f"{evidence.frames_per_second:.4g} fps do not follow from {times.mean:.4g} ms a frame")
    if evidence.closed_loop.frames != times.frames:
        problems.append(f"{times.frames} frames were timed, {evidence.closed_loop.frames} held against the deadline")
    for mode, pacing in (("closed-loop", evidence.closed_loop), ("paced", evidence.paced)):
        if not 0 <= pacing.missed <= max(pacing.frames, 0):
            problems.append(f"{pacing.missed} of {pacing.frames} {mode} frames are missed")
    problems += find_contradictions(evidence)
    if problems:
        return failed(STEP, name, "throughput", f"Not one measurement: {'; '.join(problems)}.")
    return passed(STEP, name, "throughput", f"Rates, percentiles and deadlines of {times.frames} frames fit together.")


def _order_problems(times: Distribution) -> list[str]:
    ordered = (0.0, times.p50, times.p90, times.p99, times.max)
    rises = all(a <= b for a, b in itertools.pairwise(ordered))
    if rises and 0 < times.mean <= times.max * SLACK:
        return []
    return [f"p50, p90, p99 and max are {times.p50:.4g}, {times.p90:.4g}, {times.p99:.4g} and {times.max:.4g} ms"]


def _check_rate(evidence: ThroughputEvidence, budget: ThroughputBudget) -> Check:
    """Frames per second in a closed loop."""
    name, frames, rate = "frames per second", evidence.frame_ms.frames, evidence.frames_per_second
    if frames < budget.timed_frames:
        reason = f"{frames} frames were timed, the profile asks for {budget.timed_frames}."
        return not_measured(STEP, name, "closed loop", reason)
    chunk = evidence.latency.chunk_frames if evidence.latency is not None else 1
    chunks = f" in chunks of {chunk}, an action waits up to {evidence.deadline_ms * chunk:.4g} ms for its own"
    times, noun = evidence.frame_ms, "chunks" if chunk > 1 else "frames"
    reason = (
        f"{rate:.4g} frames per second{chunks if chunk > 1 else ''} over {frames} {noun} ({times.p50:.4g} ms median,"
        f" {times.p99:.4g} ms p99); promised are {budget.frames_per_second:g}.{_say_state(evidence)}"
    )
    return hold_at_least(STEP, name, "closed loop", (rate, budget.frames_per_second, "fps"), reason)


def _check_pacing(evidence: ThroughputEvidence, budget: ThroughputBudget) -> Check:
    """Share of paced frames that came too late."""
    name, paced = "missed deadlines", evidence.paced
    if paced.frames < budget.paced_frames:
        reason = f"{paced.frames} frames were paced, the profile asks for {budget.paced_frames}."
        return not_measured(STEP, name, "paced", reason)
    share = paced.missed / paced.frames
    if any(find_non_numbers(paced)):
        share = math.nan
    reason = (
        f"{_say_missed(paced)} a deadline of {budget.deadline_ms:.4g} ms when paced, the longest by"
        f" {paced.longest_stall_ms:.4g} ms; at most {budget.max_missed_share:.2%} may. In a closed loop"
        f" {_say_missed(evidence.closed_loop)} it.{_say_state(evidence)}"
    )
    return hold_at_most(STEP, name, "paced", (share, budget.max_missed_share, "of frames"), reason)


def _check_memory(evidence: ThroughputEvidence, budget: ThroughputBudget) -> Check:
    """Growth of the process's memory; other processes cannot cause it, so nothing excuses it."""
    slope, limit = evidence.memory_slope_bytes_per_frame, budget.max_memory_slope_bytes_per_frame
    later = f", {evidence.memory_after_frames} frames later," if evidence.memory_after_frames else ""
    reason = (
        f"Memory grows by {slope:.4g} bytes a frame{later} over {evidence.frame_ms.frames} frames,"
        f" at most {limit:g} may; {evidence.memory_high_water_bytes / 2**20:.0f} MiB at the highest."
    )
    made = hold_at_most(STEP, "memory slope", "closed loop", (slope, limit, "bytes/frame"), reason)
    if math.isfinite(slope) and evidence.memory_high_water_bytes <= 0:
        return not_measured(STEP, "memory slope", "closed loop", "The memory in use was not read.")
    return made


def _check_drivers(evidence: ThroughputEvidence) -> Check:
    """The port stands among its comparisons. How much faster it is, is told and not budgeted."""
    name, drivers = "compared with PyTorch", {driver.name: driver for driver in evidence.drivers}
    port = drivers.get(PORT)
    if port is None:
        return not_measured(STEP, name, "drivers", "The port was not driven in turn with anything.")
    # Without PyTorch on the host there is nothing to take a ratio to; that is told, and no figure is made up.
    without = frozenset() if EAGER in drivers else frozenset({"ratio_to_eager", "ratio_low", "ratio_high"})
    bad = [
        f"{driver.name}.{path}"
        for driver in evidence.drivers
        for path in find_non_numbers(driver)
        if path not in without
    ]
    if bad:
        return failed(STEP, name, "drivers", f"No number stands in {say_names(bad)}.")
    if not all(driver.name and driver.rounds > 0 and driver.frame_ms.frames > 0 for driver in evidence.drivers):
        return not_measured(STEP, name, "drivers", "A driver has no name, no round or no frame.")
    if without:
        why = evidence.not_run.get(EAGER, "it is not installed there")
        return passed(STEP, name, "drivers", f"PyTorch eager did not run there ({why}): there is no ratio to it.")
    others = ", ".join(f"{d.name} {d.ratio_to_eager:.3g}x" for d in evidence.drivers if d.name not in {PORT, EAGER})
    reason = (
        f"The port is {port.ratio_to_eager:.3g} times as fast as PyTorch eager ({port.ratio_low:.3g} to"
        f" {port.ratio_high:.3g} over {port.rounds} interleaved rounds)" + (f"; beside it {others}." if others else ".")
    )
    return passed(STEP, name, "drivers", reason)


def _say_missed(pacing: Pacing) -> str:
    return f"{pacing.missed} of {pacing.frames} frames missed"


def _say_state(evidence: ThroughputEvidence) -> str:
    """What to know of the machine while it was measured on."""
    if evidence.valid and not evidence.disturbances:
        return ""
    return f" The machine was disturbed: {'; '.join(evidence.disturbances) or 'it is not said how'}."


def _excuse(check: Check, evidence: ThroughputEvidence) -> Check:
    """A miss on a disturbed machine is no finding about the port."""
    if check.outcome is Outcome.FAILED and not evidence.valid:
        return check.model_copy(update={"outcome": Outcome.NOT_MEASURED})
    return check
