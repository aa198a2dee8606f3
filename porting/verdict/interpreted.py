"""Attested, for the triton backend: the kernels' source computes the same world, as Triton's interpreter runs it.

Judged as parity is, over a short rollout, and summed up in one check. It never stands in for parity on a device: what a
compiler makes of the source, and the device itself, are not in it.
"""

from porting.record import ArtifactRecord, Check, Outcome, PortRecord, Step, TargetRecord
from porting.verdict.evidence import failed, not_measured, passed
from porting.verdict.parity import check_parity

BACKEND = "triton"
INTERPRETER = "triton interpreter"
"""What the evidence calls its backend: it is not the device's."""
NAME = "kernels compute the same world, interpreted"
LEAST_FRAMES = 2
"""Frames of the short rollout that are asked for: the second is the first to read what a frame of kernels wrote."""


def check_interpreted(record: PortRecord, target: TargetRecord) -> tuple[Check, ...]:
    """One check where the triton backend has an artifact of the target, none elsewhere."""
    step, subject = Step.ATTESTED, BACKEND
    if not any(artifact.backend == BACKEND and artifact.path is not None for artifact in target.artifacts):
        return ()
    evidence = record.interpreted
    if evidence is None:
        return (not_measured(step, NAME, subject, "The kernels were run by no interpreter."),)
    checks = check_parity(record.program, _as_if_ported(record, target))
    worst = [check for check in checks if check.outcome is not Outcome.PASSED]
    frames = len(evidence.free_running.psnr_db) if evidence.free_running is not None else 0
    if worst:
        first = min(worst, key=lambda check: check.outcome is not Outcome.FAILED)
        make = failed if first.outcome is Outcome.FAILED else not_measured
        reason = f"{len(worst)} of {len(checks)} checks did not hold; {first.name} of {first.subject}: {first.reason}"
        return (make(step, NAME, subject, reason),)
    ratios = [output.ratio for output in evidence.outputs]
    reason = (
        f"All {len(checks)} checks of parity held over {frames} frames run by Triton's interpreter, the largest error"
        f" budget ratio {max(ratios):.3g}; compiled code was not run."
    )
    limit = target.profile.parity.error_budget_ratio
    held = passed(step, NAME, subject, reason)
    return (held.model_copy(update={"value": max(ratios), "limit": limit, "unit": "x"}),)


def _as_if_ported(record: PortRecord, target: TargetRecord) -> TargetRecord:
    """The target as its parity would be judged if the interpreter were its device, over fewer frames."""
    chosen = tuple(
        ArtifactRecord(
            component=spec.name, backend=INTERPRETER, precision=target.precision, path=INTERPRETER, chosen=True
        )
        for spec in record.program.components
    )
    fewer = {"teacher_forced_frames": LEAST_FRAMES, "free_running_frames": LEAST_FRAMES, "component_samples": 1}
    profile = target.profile.model_copy(update={"parity": target.profile.parity.model_copy(update=fewer)})
    return target.model_copy(update={"profile": profile, "artifacts": chosen, "parity": record.interpreted})
