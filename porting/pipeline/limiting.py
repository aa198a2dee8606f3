"""The stage that says what the hardware would allow: a frame's floor, beside what was measured of it.

A CPU's peaks are measured on this host, an accelerator's are its profile's. For a target that did not run here the
floor is a projection, and says so. Nothing is judged, and no port fails as its limit could not be told.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from porting.errors import ProfileError
from porting.pipeline.abilities import describe_ability
from porting.pipeline.compiling import change_target
from porting.pipeline.measuring import Session
from porting.pipeline.workshop import Stage, Update, Workshop
from porting.record import Calibration, FrameLimit, FrameWork, PortRecord, Step, ThroughputEvidence
from porting.roofline import calibrate_host, limit_frame, list_assumptions, peaks_of_device, settle_calibration
from porting.roofline.operator_times import ProfiledComponent, hold_profiles
from porting.runners.profiling import ProfileRequest, profile_artifacts
from porting.tensor_spec import Precision

MOST_CALIBRATIONS = 3
"""A port that beats its floor may have been held against a peak that was measured in a bad moment."""

Count = Callable[[Precision], FrameWork]
"""The work of one frame in a precision."""


def limit_name(target: str) -> str:
    """The stage's name."""
    return f"limit {target}"


def count_once(workshop: Workshop) -> Count:
    """Counts the exported graphs' work when it is first asked for; every target of a port has the same."""

    @cache
    def count(precision: Precision) -> FrameWork:
        # Reads graphs, which a port that reuses all its stages has no need of.
        from porting.roofline.frame import count_frame

        record, folder = workshop.record, workshop.bundle.path
        return count_frame(record.program, {c.name: folder / c.path for c in record.components}, precision)

    return count


def plan_limit(session: Session, count: Count) -> Stage:
    """The limit of one target, as far as this host can tell it."""
    record = session.record
    here = describe_ability(record.profile).highest is Step.THROUGHPUT
    inputs = session.inputs()
    if not here:
        del inputs["host"]

    def work(folder: Path) -> Update:
        del folder
        try:
            found = _limit(session, count(session.record.precision))
        except ProfileError as cause:
            session.workshop.observer.note(f"{session.target}: no limit; {cause}")
            found = None
        return change_target(session.target, {"limit": found})

    return Stage(
        name=limit_name(session.target),
        inputs=inputs,
        work=work,
        after=(
            *(f"export {component.name}" for component in session.program.components),
            *((f"throughput {session.target}",) if here else ()),
        ),
        clear=clear_limit(session.target),
        on_error=lambda _: clear_limit(session.target),
    )


def clear_limit(target: str) -> Update:
    """The record without the target's limit."""

    def clear(record: PortRecord) -> PortRecord:
        return change_target(target, {"limit": None})(record)

    return clear


def run_limits(sessions: tuple[Session, ...]) -> None:
    """Run the stage of every target; one that ran elsewhere keeps what that host found out."""
    count = count_once(sessions[0].workshop) if sessions else None
    for session in sessions:
        here = describe_ability(session.record.profile).highest is Step.THROUGHPUT
        if count is not None and here == (session.record.throughput is not None):
            session.workshop.run(plan_limit(session, count))


def _limit(session: Session, work: FrameWork) -> FrameLimit:
    """The floor on the target's peaks, measured times where there are any.

    Raises:
        ProfileError: the profile gives no peak for the precision.
        RunnerError: this host could not be calibrated.
    """
    record, timed = session.record, session.record.throughput
    measured, frame_ms = measured_times(timed)
    if record.profile.device.kind != "cpu":
        peaks = peaks_of_device(record.profile, record.precision)
        found = limit_frame(work, peaks, measured, frame_ms)
    else:
        threads = timed.host.threads if timed is not None else session.host.threads
        found = limit_on_host(work, threads, measured, frame_ms)
        if timed is not None:
            found = hold_profiles(found, profile_components(session, found))
    return found.model_copy(update={"assumptions": list_assumptions(work, found.peaks, record.profile)})


def profile_components(session: Session, limit: FrameLimit) -> tuple[ProfiledComponent, ...]:
    """What the chosen artifact of every component of a frame spends a call on, on inputs of the recorded rollout."""
    chosen = {artifact.component: artifact for artifact in session.record.artifacts if artifact.chosen}
    trace = session.read_trace()
    inputs = {call.component: call.inputs for call in reversed(trace.calls) if call.inputs_kind == "trace"}
    requests = [
        ProfileRequest(chosen[part.component], session.program.component(part.component), inputs[part.component])
        for part in limit.components
        if part.component in chosen and part.component in inputs
    ]
    made = profile_artifacts(requests, session.folder, session.host.threads)
    return tuple(
        ProfiledComponent(request.spec.name, request.artifact.backend, found)
        for request, found in zip(requests, made, strict=True)
    )


def limit_on_host(
    work: FrameWork,
    threads: int,
    measured: dict[str, float],
    frame_ms: float | None,
    calibrate: Callable[[int], Calibration] | None = None,
) -> FrameLimit:
    """The floor on this host's own peaks, calibrated again while what was measured beats it.

    Raises:
        RunnerError: this host could not be calibrated.
    """
    calibrate = calibrate or calibrate_host
    calibration = calibrate(threads)
    for _ in range(MOST_CALIBRATIONS - 1):
        if not is_beaten(limit_frame(work, calibration.peaks, measured, frame_ms)):
            break
        more = calibrate(threads)
        calibration = settle_calibration(
            threads,
            [*calibration.samples, *more.samples],
            tuple(dict.fromkeys((*calibration.disturbances, *more.disturbances))),
        )
    found = limit_frame(work, calibration.peaks, measured, frame_ms)
    return found.model_copy(update={"calibration": calibration})


def is_beaten(limit: FrameLimit) -> bool:
    """Whether the frame or a component of it took less than its floor."""
    shares = [limit.achieved, *(part.achieved for part in limit.components)]
    return any(share is not None and not share <= 1.0 for share in shares)


def measured_times(timed: ThroughputEvidence | None) -> tuple[dict[str, float], float | None]:
    """Milliseconds of each component in a median frame of the closed loop, and of the frame; nothing for None."""
    if timed is None:
        return {}, None
    parts = {part.what: part.ms_per_frame if part.median_ms is None else part.median_ms for part in timed.spent}
    return {name: ms for name, ms in parts.items() if ms > 0}, timed.frame_ms.p50
