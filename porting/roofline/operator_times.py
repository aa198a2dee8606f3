"""Holds what a runtime told of a component's operators against peaks: which take how much, over which floor."""

from porting.record import ComponentProfile, OperatorTime, Peaks
from porting.runners.profiling import OperatorRun, Profiled

MOST_OPERATORS = 8
"""Operators that are kept by name; the rest is one sum."""


def settle_profile(component: str, backend: str, found: Profiled, peaks: Peaks) -> ComponentProfile:
    """The record of one profile.

    Args:
        component: what was called.
        backend: whose artifact ran.
        found: what its profiler told; without operators there is a reason only.
        peaks: of the host that it ran on.
    """
    whole = sum(run.ms for run in found.operators)
    return ComponentProfile(
        component=component,
        backend=backend,
        source=found.source,
        call_ms=found.call_ms,
        calls=found.calls,
        operators=tuple(
            OperatorTime(
                name=run.name, kind=run.kind, ms=run.ms, share=run.ms / whole, floor_ms=floor_of_operator(run, peaks)
            )
            for run in found.operators[:MOST_OPERATORS]
            if whole > 0
        ),
        others_ms=sum(run.ms for run in found.operators[MOST_OPERATORS:]),
        reason=found.reason,
    )


def floor_of_operator(run: OperatorRun, peaks: Peaks) -> float | None:
    """Milliseconds that its products take at least, or what it moves where that is more; None where neither is told."""
    if run.matrix_flops is None or (run.matrix_flops == 0 and run.moved_bytes is None):
        return None
    compute = run.matrix_flops / peaks.matrix_flops_per_second
    moved = run.moved_bytes or 0
    return 1000.0 * max(compute, moved / peaks.bandwidth(moved))
