"""Holds the port's closeness to PyTorch against the budgets that stood when the baseline was made."""

import math

from porting.gate.baseline import ParityBaseline, TargetBaseline
from porting.gate.checks import at_most, failed, figure, not_measured, passed
from porting.gate.making import worst_ratios, worst_teacher_forced
from porting.gate.verdict import GateCheck, Limits
from porting.profile import ParityBudget
from porting.record import FreeRunning, Outcome, ParityEvidence, TargetRecord

ERROR_RATIO = "error budget ratio"
ASKED = "error budget ratio asked for"
TEACHER_FORCED = "teacher-forced frames"
FIRST_FAILING = "first failing frame"


def check_closeness(
    name: str, target: TargetRecord, baseline: TargetBaseline | None, limits: Limits
) -> tuple[GateCheck, ...]:
    """Every check of parity that the baseline or a limit asks for; none when neither does."""
    old = baseline.parity if baseline else None
    if target.parity is None:
        if old is None and limits.max_error_budget_ratio is None:
            return ()
        return tuple(
            not_measured(name, check, "The port was not compared with PyTorch on any host.")
            for check in (ERROR_RATIO, TEACHER_FORCED, FIRST_FAILING)
        )
    budget = baseline.parity_budget if baseline else target.profile.parity
    ratios = worst_ratios(target, target.parity)
    names = sorted({*ratios, *(old.ratios if old else ()), *(a.component for a in target.artifacts if a.chosen)})
    if not names:
        checks = [not_measured(name, ERROR_RATIO, "No output of a chosen artifact was compared.")]
    else:
        checks = [_check_ratio(name, component, ratios, budget.error_budget_ratio, old) for component in names]
    if limits.max_error_budget_ratio is not None:
        checks.append(_check_asked(name, ratios, limits.max_error_budget_ratio))
    checks.append(_check_teacher_forced(name, target.parity, budget, old))
    checks.append(_check_free_running(name, target.parity.free_running, budget, old))
    return tuple(checks)


def _check_ratio(
    name: str, component: str, ratios: dict[str, float], limit: float, old: ParityBaseline | None
) -> GateCheck:
    ratio = ratios.get(component)
    if ratio is None:
        reason = f"{component}: no output of its chosen artifact was compared."
        return not_measured(name, ERROR_RATIO, reason, component)
    before = old.ratios.get(component) if old else None
    beside = f"; the baseline is {figure(before, 'x')}" if before is not None else ""
    reason = f"{component}: {figure(ratio)} times PyTorch's own error, {figure(limit)} is allowed{beside}."
    return at_most(_make(name, ERROR_RATIO, component, reason, (ratio, limit, before)))


def _check_asked(name: str, ratios: dict[str, float], limit: float) -> GateCheck:
    if not ratios:
        return not_measured(name, ASKED, "No output of a chosen artifact was compared.")
    worst = max(ratios, key=lambda component: math.inf if math.isnan(ratios[component]) else ratios[component])
    reason = f"{worst}: {figure(ratios[worst])} times PyTorch's own error; at most {figure(limit)} was asked for."
    return at_most(_make(name, ASKED, worst, reason, (ratios[worst], limit, None)))


def _check_teacher_forced(
    name: str, parity: ParityEvidence, budget: ParityBudget, old: ParityBaseline | None
) -> GateCheck:
    """As many frames as the baseline has, each within the budget."""
    frames = min((len(level.ratio) for level in parity.teacher_forced), default=0)
    needed = old.teacher_forced_frames if old else budget.teacher_forced_frames
    if frames < max(needed, 1):
        return not_measured(name, TEACHER_FORCED, f"{frames} frames were compared; {needed} are needed.")
    worst = worst_teacher_forced(parity)
    reason = f"The worst of {frames} frames has {figure(worst)} times PyTorch's own error."
    before = old.teacher_forced_ratio if old else None
    return at_most(_make(name, TEACHER_FORCED, "", reason, (worst, budget.error_budget_ratio, before)))


def _check_free_running(
    name: str, free: FreeRunning | None, budget: ParityBudget, old: ParityBaseline | None
) -> GateCheck:
    """No frame outside the envelope, found anew with the budget that stood when the baseline was made."""
    needed = old.free_running_frames if old else budget.free_running_frames
    frames = 0 if free is None else len(free.psnr_db)
    if free is None or frames < max(needed, 1) or free.envelope_members <= 0 or free.sessions <= 0:
        return not_measured(name, FIRST_FAILING, f"{frames} free-running frames were compared; {needed} are needed.")
    measures = (free.psnr_db, free.ssim, free.envelope_psnr_db, free.envelope_ssim)
    if len({len(measure) for measure in measures}) > 1:
        return failed(name, FIRST_FAILING, "PSNR, SSIM and their envelopes are of different numbers of frames.")
    rows = list(zip(*measures, strict=True))
    refused = [index for index, row in enumerate(rows) if not budget.holds_frame(*row)]
    recorded = free.first_failing_frame
    if refused or recorded is not None:
        first = min(refused + ([recorded] if recorded is not None else []))
        return failed(name, FIRST_FAILING, f"Frame {first} of {len(rows)} is the first outside the reference's noise.")
    reason = f"None of {len(rows)} free-running frames lies outside the reference's own noise."
    return passed(name, FIRST_FAILING, reason).model_copy(
        update={"unseen": f"drift after frame {len(rows) - 1} of a rollout was not looked for"}
    )


def _make(name: str, check: str, subject: str, reason: str, figures: tuple[float, float, float | None]) -> GateCheck:
    value, limit, before = figures
    return GateCheck(
        target=name, name=check, subject=subject, outcome=Outcome.NOT_MEASURED, reason=reason, value=value,
        limit=limit, baseline=before, unit="x",
    )  # fmt: skip
