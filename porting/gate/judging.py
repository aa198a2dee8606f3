"""Holds a port's record against a baseline: one list of named checks, and what they come to.

It reads records only. Whether the files of a bundle are what was written, and whether its verdict follows from its
evidence, someone who has the bundle must say; unsaid, both count as not measured.
"""

from porting.gate.attestation import check_attestation
from porting.gate.baseline import Baseline, TargetBaseline
from porting.gate.checks import failed, not_measured, passed, say_names
from porting.gate.parity import check_closeness
from porting.gate.speed import BOUND_TO_MACHINE, check_speed
from porting.gate.verdict import BUNDLE, GateCheck, GateVerdict, Limits, conclude
from porting.profile import ParityBudget, ThroughputBudget
from porting.record import LADDER, Outcome, PortRecord, Step, TargetRecord

FILES = "files"
JUDGED_ANEW = "verdict judged anew"
STAGES = "stages"
MODEL = "model"
TARGETS = "targets"
VERDICT = "verdict"
REACHED = "step reached"
BUDGETS = "budgets"
NO_BASELINE = "no baseline"
LARGER_IS_LOOSER = (
    *("error_budget_ratio", "envelope_margin_db", "envelope_margin_ssim"),
    *("max_missed_share", "max_memory_slope_bytes_per_frame"),
)
SMALLER_IS_LOOSER = (
    *("psnr_cap_db", "component_samples", "teacher_forced_frames", "free_running_frames"),
    *("frames_per_second", "timed_frames", "paced_frames"),
)


def judge(
    record: PortRecord, baseline: Baseline | None, limits: Limits, of_files: tuple[GateCheck, ...] = ()
) -> GateVerdict:
    """Every check, and what they come to.

    Args:
        record: of the bundle.
        baseline: what it is held against; None judges by the record's own budgets and the limits alone.
        limits: what is asked beside it.
        of_files: `FILES` and `JUDGED_ANEW`, made by someone who has the bundle's files.

    Returns:
        Passed only when every check passed; failed when one failed.
    """
    checks = [*of_files]
    made = {check.name for check in of_files}
    if FILES not in made:
        checks.append(not_measured(BUNDLE, FILES, "Nobody held the bundle's files against their digests."))
    if JUDGED_ANEW not in made:
        checks.append(not_measured(BUNDLE, JUDGED_ANEW, "Nobody judged the evidence anew."))
    checks.append(_check_stages(record))
    if baseline is not None:
        checks.append(_check_model(record, baseline))
    names, of_targets = _check_targets(record, baseline, limits)
    checks += of_targets
    for name in names:
        checks += _check_target(name, record.targets[name], baseline.targets[name] if baseline else None, limits)
    found = tuple(checks)
    return GateVerdict(
        outcome=conclude(found),
        model=record.checkpoint.name,
        against=_say_baseline(baseline),
        checks=found,
        left_out=_say_left_out(record, baseline, limits),
    )


def _say_baseline(baseline: Baseline | None) -> str:
    if baseline is None:
        return NO_BASELINE
    runs = f"{baseline.runs} ports" if baseline.runs > 1 else "one port"
    return f"a baseline of {baseline.model.name}, made of {runs}, {baseline.created}"


def _say_left_out(record: PortRecord, baseline: Baseline | None, limits: Limits) -> tuple[str, ...]:
    """What the caller did not want judged."""
    said = []
    if limits.targets:
        known = {*record.targets, *(baseline.targets if baseline else ())}
        others = sorted(known - set(limits.targets))
        if others:
            said.append(f"targets {', '.join(others)}: not asked for")
    if limits.ratios_only and baseline is not None:
        said.append(f"{', '.join(BOUND_TO_MACHINE)}: only ratios were asked for")
    if baseline is None:
        said.append("what the port once came to: there is no baseline")
    return tuple(said)


def _check_stages(record: PortRecord) -> GateCheck:
    broken = [stage.name for stage in record.stages if stage.error is not None]
    if broken:
        return failed(BUNDLE, STAGES, f"{say_names(broken)} broke instead of ending; port again.")
    if not record.stages:
        return not_measured(BUNDLE, STAGES, "The record names no stage that ended.")
    return passed(BUNDLE, STAGES, f"All {len(record.stages)} stages ran to their end.")


def _check_model(record: PortRecord, baseline: Baseline) -> GateCheck:
    """A baseline of other weights says nothing of these."""
    own, old = record.checkpoint, baseline.model
    if own.digest == old.digest and own.family == old.family:
        return passed(BUNDLE, MODEL, f"The checkpoint is the baseline's, {own.name} {own.digest[:12]}.")
    reason = (
        f"The bundle is of {own.name} ({own.family}, {own.digest[:12]}), the baseline of {old.name} ({old.family},"
        f" {old.digest[:12]}); make a baseline of this checkpoint."
    )
    return not_measured(BUNDLE, MODEL, reason)


def _check_targets(record: PortRecord, baseline: Baseline | None, limits: Limits) -> tuple[list[str], list[GateCheck]]:
    """Targets that both sides have, and a check that they are the same ones."""
    here, there = set(record.targets), set(baseline.targets if baseline else record.targets)
    checks = []
    if limits.targets:
        unknown = sorted(set(limits.targets) - here - there)
        checks += [not_measured(name, TARGETS, f"{name}: neither bundle nor baseline has it.") for name in unknown]
        here, there = here & set(limits.targets), there & set(limits.targets)
    checks += [
        not_measured(name, TARGETS, f"{name}: is in the baseline and not in the bundle; port for it.")
        for name in sorted(there - here)
    ]
    checks += [
        not_measured(name, TARGETS, f"{name}: is in the bundle and not in the baseline; make the baseline anew.")
        for name in sorted(here - there)
    ]
    both = sorted(here & there)
    if not both:
        checks.append(not_measured(BUNDLE, TARGETS, "There is no target to judge."))
    elif not checks:
        checks.append(passed(BUNDLE, TARGETS, f"Judged are {len(both)}: {', '.join(both)}."))
    return both, checks


def _check_target(name: str, target: TargetRecord, baseline: TargetBaseline | None, limits: Limits) -> list[GateCheck]:
    checks = [_check_verdict(name, target), _check_reached(name, target, baseline, limits.require)]
    if baseline is not None:
        checks.append(_check_budgets(name, target, baseline))
        checks += check_attestation(name, target, baseline)
    checks += check_closeness(name, target, baseline, limits)
    checks += check_speed(name, target, baseline, limits)
    return checks


def _check_verdict(name: str, target: TargetRecord) -> GateCheck:
    """What the bundle says of itself."""
    verdict = target.verdict
    if verdict is None or not verdict.checks:
        return not_measured(name, VERDICT, "The bundle has no verdict on this target; run worldport verify.")
    if verdict.outcome is Outcome.PASSED:
        return passed(name, VERDICT, f"Its own {len(verdict.checks)} checks passed, up to {verdict.reached}.")
    bad = [check for check in verdict.checks if check.outcome is verdict.outcome]
    why = f" {bad[0].step}, {bad[0].name} of {bad[0].subject}: {bad[0].reason}" if bad else ""
    make = failed if verdict.outcome is Outcome.FAILED else not_measured
    return make(name, VERDICT, f"Its own verdict is {verdict.outcome}.{why}")


def _check_reached(name: str, target: TargetRecord, baseline: TargetBaseline | None, require: Step | None) -> GateCheck:
    """As high as the baseline, and as what is required."""
    reached = target.verdict.reached if target.verdict else None
    wanted = max((step for step in (baseline and baseline.reached, require) if step), key=LADDER.index, default=None)
    if reached is None:
        return not_measured(name, REACHED, f"It reached no step; {wanted or LADDER[0]} is needed.")
    if wanted is not None and LADDER.index(reached) < LADDER.index(wanted):
        who = "required is" if wanted is require else "the baseline reached"
        return not_measured(name, REACHED, f"It reached {reached}; {who} {wanted}. Prove it on a host that can.")
    return passed(name, REACHED, f"It reached {reached}" + (f"; {wanted} is needed." if wanted else "."))


def _check_budgets(name: str, target: TargetRecord, baseline: TargetBaseline) -> GateCheck:
    """A change that lets the profile ask for less must not pass by it."""
    if target.precision != baseline.precision:
        reason = f"The port is in {target.precision}, the baseline in {baseline.precision}; make a baseline in it."
        return not_measured(name, BUDGETS, reason)
    looser = [
        *_find_looser(target.profile.parity, baseline.parity_budget),
        *_find_looser(target.profile.throughput, baseline.throughput_budget),
    ]
    if looser:
        return failed(name, BUDGETS, f"The profile asks for less than the baseline's: {say_names(looser)}.")
    return passed(name, BUDGETS, "The profile asks for no less than the baseline's.")


def _find_looser(own: ParityBudget | ThroughputBudget, old: ParityBudget | ThroughputBudget) -> list[str]:
    found = []
    for field in type(own).model_fields:
        here, there = getattr(own, field), getattr(old, field)
        if (field in LARGER_IS_LOOSER and here > there) or (field in SMALLER_IS_LOOSER and here < there):
            found.append(f"{field} {here:g} (was {there:g})")
    return found
