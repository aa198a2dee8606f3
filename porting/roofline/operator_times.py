"""Holds what a runtime told of a component's operators against peaks: which take how much, over which floor."""

from collections.abc import Mapping
from dataclasses import dataclass

from porting.record import ComponentProfile, FrameLimit, OperatorTime, Peaks
from porting.roofline.floor import limit_frame
from porting.runners.profiling import OperatorRun, Profiled

MOST_OPERATORS = 8
"""Operators that are kept by name; the rest is one sum."""
LEAST_FLOPS = 5_000_000
"""Operations from which on an operator's own rate is a figure: a shorter one takes too few ticks of a profiler."""

MOST_SLOWDOWN = 1.5
"""Calls that take longer than so many of a rollout's are not the same calls: a busy machine's."""


@dataclass(frozen=True)
class ProfiledComponent:
    """One component's chosen artifact, profiled."""

    component: str
    backend: str
    found: Profiled


def hold_profiles(limit: FrameLimit, profiled: tuple[ProfiledComponent, ...]) -> FrameLimit:
    """The limit with its components' profiles, on peaks that no operator of them was seen to exceed.

    A library's product is what a peak is measured with, and another library's code can be faster: what the port's own
    operators were seen to do, this host can do.
    """
    peaks = raise_peaks(limit.peaks, {one.component: one.found for one in profiled})
    measured = {part.component: part.measured_ms for part in limit.components if part.measured_ms is not None}
    floors = limit_frame(limit.work, peaks, measured, limit.measured_ms)
    calls = {part.component: part.calls_per_frame for part in limit.components}
    profiles = tuple(
        doubt_profile(
            settle_profile(one.component, one.backend, one.found, peaks),
            measured[one.component] / calls[one.component] if one.component in measured else None,
        )
        for one in profiled
    )
    return limit.model_copy(
        update={"peaks": peaks, "components": floors.components, "copy_ms": floors.copy_ms, "profiles": profiles}
    )


def doubt_profile(profile: ComponentProfile, rollout_ms: float | None) -> ComponentProfile:
    """The profile; where its calls took far longer than a call of the rollout did, it says that they were disturbed."""
    if profile.call_ms is None or rollout_ms is None or profile.call_ms <= MOST_SLOWDOWN * rollout_ms:
        return profile
    doubt = (
        f"These calls were disturbed: one took {profile.call_ms:.4g} ms without the profiler, and {rollout_ms:.4g} ms"
        " in the rollout; profile them again on a quiet machine."
    )
    return profile.model_copy(update={"reason": f"{profile.reason} {doubt}".strip()})


def raise_peaks(peaks: Peaks, profiled: Mapping[str, Profiled]) -> Peaks:
    """The peaks, or those of the fastest operator that makes enough products, where that one is faster."""
    rates = [
        (1000.0 * run.matrix_flops / run.ms, f"{run.name} of {component}")
        for component, found in profiled.items()
        for run in found.operators
        if run.matrix_flops is not None and run.matrix_flops >= LEAST_FLOPS and run.ms > 0
    ]
    rate, name = max(rates, default=(0.0, ""))
    if rate <= peaks.matrix_flops_per_second:
        return peaks
    before = f"{peaks.source}, {peaks.matrix_flops_per_second / 1e9:.4g} GFLOP/s"
    source = f"{before}; products faster than that were seen in {name}"
    return peaks.model_copy(update={"matrix_flops_per_second": rate, "source": source})


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
