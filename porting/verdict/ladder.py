"""Climbs the evidence ladder for one target and says how far its checks carry."""

from porting.errors import UsageError
from porting.record import LADDER, Check, Outcome, PortRecord, Step, TargetRecord, Verdict
from porting.verdict.artifacts import check_artifacts, check_attestations
from porting.verdict.emulated import check_emulated
from porting.verdict.export import check_exports
from porting.verdict.interpreted import check_interpreted
from porting.verdict.kernels import check_kernels
from porting.verdict.launches import check_launches
from porting.verdict.parity import check_parity
from porting.verdict.throughput import check_throughput


def judge_target(record: PortRecord, target: str, highest_possible: Step) -> Verdict:
    """Every check of every step, and what they come to.

    Args:
        record: the whole port.
        target: one of its targets.
        highest_possible: the highest step that the host can reach for this target. Steps above it are judged when there
            is evidence for them, made on another host, and otherwise left out.

    Returns:
        Passed when the highest possible step was reached and no check of any step failed or lacks its evidence.

    Raises:
        UsageError: the record has no such target.
    """
    if target not in record.targets:
        raise UsageError(f"target {target!r}: is not in this port; it has {', '.join(record.targets) or 'none'}")
    found = record.targets[target]
    checks: dict[Step, tuple[Check, ...]] = {
        Step.EXPORTED: check_exports(record.program, record.components),
        Step.COMPILED: check_artifacts(record.program, found),
        Step.ATTESTED: (
            *check_attestations(record.program, found),
            *check_launches(record.program, found),
            *check_kernels(found),
            *check_interpreted(record, found),
            *check_emulated(found),
        ),
        Step.PARITY: check_parity(record.program, found),
        Step.THROUGHPUT: check_throughput(found),
    }
    wanted = LADDER[: LADDER.index(highest_possible) + 1]
    judged = {step: made for step, made in checks.items() if step in wanted or _has_evidence(found, step)}
    reached = _find_reached(judged)
    outcomes = {check.outcome for made in judged.values() for check in made}
    outcome = Outcome.NOT_MEASURED
    if Outcome.FAILED in outcomes:
        outcome = Outcome.FAILED
    elif outcomes == {Outcome.PASSED} and reached is not None and LADDER.index(reached) >= LADDER.index(wanted[-1]):
        outcome = Outcome.PASSED
    return Verdict(
        outcome=outcome,
        reached=reached,
        highest_possible=highest_possible,
        checks=tuple(check for made in judged.values() for check in made),
    )


def _has_evidence(target: TargetRecord, step: Step) -> bool:
    """Whether there is anything to judge at a step that this host cannot reach."""
    match step:
        case Step.EXPORTED:
            return True
        case Step.COMPILED:
            return bool(target.artifacts)
        case Step.ATTESTED:
            return any(artifact.attestation is not None for artifact in target.artifacts)
        case Step.PARITY:
            return target.parity is not None
        case Step.THROUGHPUT:
            return target.throughput is not None


def _find_reached(judged: dict[Step, tuple[Check, ...]]) -> Step | None:
    """The highest step up to which every step has checks, and all of them passed."""
    reached = None
    for step in LADDER:
        made = judged.get(step, ())
        if not made or any(check.outcome is not Outcome.PASSED for check in made):
            break
        reached = step
    return reached
