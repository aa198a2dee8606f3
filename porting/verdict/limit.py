"""The limit is told and not judged, but for one thing: a time that no code can reach was not measured."""

from porting.record import Check, Step, TargetRecord
from porting.verdict.evidence import failed, not_measured, passed

STEP = Step.THROUGHPUT
NAME = "times are possible"


def check_limit(target: TargetRecord) -> tuple[Check, ...]:
    """No component is faster than its work allows; no check where there is no limit or nothing was measured.

    What is impossible is less than the floor by all that a floor can be wrong by: see `ComponentFloor.impossible_ms`.
    """
    limit = target.limit
    measured = [part for part in limit.components if part.measured_ms is not None] if limit is not None else []
    if limit is None or not measured:
        return ()
    impossible = [part for part in measured if part.is_impossible]
    if not impossible:
        names = ", ".join(part.component for part in measured)
        return (passed(STEP, NAME, "components", f"No time is below what the counted work of {names} takes at least."),)
    told = "; ".join(
        f"{part.component} took {part.measured_ms:.4g} ms of a frame, and its work at least {part.impossible_ms:.4g} ms"
        for part in impossible
    )
    disturbed = limit.calibration.disturbances if limit.calibration is not None else ()
    if disturbed:
        reason = f"{told}: but the peaks were measured on a disturbed machine ({'; '.join(disturbed)})."
        return (not_measured(STEP, NAME, "components", reason),)
    reason = f"{told}. Calls were timed that did not do all their work, or the clock is wrong."
    return (failed(STEP, NAME, "components", reason),)
