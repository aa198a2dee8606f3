"""Measures a bundle anew on this host, from the bundle alone: no checkpoint, no adapter, no torch unless it is used."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from porting.bundle import Bundle, forget_stage
from porting.errors import UsageError
from porting.host import describe_host
from porting.pipeline.abilities import describe_ability
from porting.pipeline.compiling import change_target, note_chains, plan_compiles
from porting.pipeline.drivers import bundled_drivers
from porting.pipeline.emulating import KernelEmulation, why_not_emulated
from porting.pipeline.enduring import plan_sessions, plan_soak
from porting.pipeline.judging import REPORT_FILES, judge_all, write_reports
from porting.pipeline.kernels import KernelBatch
from porting.pipeline.limiting import count_once, plan_limit
from porting.pipeline.measuring import Session, chosen_backends, plan_parity, plan_throughput
from porting.pipeline.progress import Observer, Silent
from porting.pipeline.workshop import Workshop
from porting.profile import Profile
from porting.record import PortRecord, Step
from porting.record.history import TargetTrend

Measure = Callable[[Session], None]


def open_intact(bundle: Bundle) -> PortRecord:
    """The bundle's record, once every file that it names is what was written.

    Raises:
        BundleError: naming the file that is not.
    """
    record = bundle.read_record()
    bundle.verify_files(record)
    return record


def choose_targets(record: PortRecord, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Those asked for, or all.

    Raises:
        UsageError: the bundle has no target, or not that one.
    """
    if not record.targets:
        raise UsageError("bundle: has no target; run worldport port")
    for name in asked:
        if name not in record.targets:
            raise UsageError(f"target {name!r}: is not in the bundle; it has {', '.join(sorted(record.targets))}")
    return asked or tuple(sorted(record.targets))


def verify(path: Path, targets: tuple[str, ...], threads: int, observer: Observer) -> PortRecord:
    """Measure parity anew, of the artifacts chosen before where they open here, else of the fastest proved ones.

    A target whose device is not here has its kernels' compiled code executed in an emulator instead.

    Raises:
        PortingError: the bundle is damaged or has no such target.
    """
    return _measure_again(path, targets, threads, observer, _verify_one, emulate=True)


def bench(
    path: Path,
    targets: tuple[str, ...],
    threads: int,
    observer: Observer,
    soak_frames: int | None = None,
    sessions: int | None = None,
) -> PortRecord:
    """Measure throughput anew, of the artifacts chosen before.

    Args:
        path: the bundle.
        targets: which, all by default.
        threads: for the runtimes.
        observer: hears of each stage.
        soak_frames: frames of a long rollout afterwards; none by default.
        sessions: most concurrent sessions to try afterwards; none by default.

    Raises:
        PortingError: the bundle is damaged, has no such target, or was not verified yet.
    """
    return _measure_again(path, targets, threads, observer, partial(_bench_one, soak_frames, sessions))


def report_again(bundle: Bundle, trends: Sequence[TargetTrend] = ()) -> list[Path]:
    """Write both reports into the bundle, the page with `trends` over commits if given; returns where they are.

    Raises:
        BundleError: the bundle has no readable record.
    """
    bundle.read_record()
    with bundle.locked():
        workshop = Workshop(bundle, bundle.read_record(), Silent())
        write_reports(workshop, trends)
    return [bundle.path / name for name in REPORT_FILES]


def compile_again(path: Path, targets: tuple[str, ...], threads: int, jobs: int, observer: Observer) -> PortRecord:
    """Compile every component anew; parity and throughput of the old artifacts are dropped.

    Raises:
        PortingError: the bundle is damaged or has no such target.
    """
    bundle = Bundle(path)
    bundle.read_record()
    with bundle.locked():
        workshop = Workshop(bundle, open_intact(bundle), observer)
        names = choose_targets(workshop.record, targets)
        note_chains(workshop, names)
        groups = [
            together
            for name in names
            for component in workshop.record.components
            for together in plan_compiles(workshop, name, component.name, describe_host(threads))
        ]
        batch = KernelBatch(tuple(workshop.record.targets[name].profile for name in names), jobs)
        groups += [(stage,) for stage in batch.plan()]
        stages = [stage for together in groups for stage in together]
        observer.planned(tuple(stage.name for stage in stages))
        for stage in stages:
            # What was built on the old artifact goes with it: its evidence is of another file.
            workshop.change(partial(forget_stage, name=stage.name))
        for name in names:
            gone = {"artifacts": (), "kernels": (), "parity": None, "throughput": None, "verdict": None}
            if workshop.record.targets[name].throughput is not None:
                gone["limit"] = None
            workshop.change(change_target(name, gone))
        with workshop.background(jobs) as submit:
            for together in groups:
                submit(*together)
        judge_all(workshop, names)
        write_reports(workshop)
        return workshop.record


def _measure_again(
    path: Path, targets: tuple[str, ...], threads: int, observer: Observer, measure: Measure, emulate: bool = False
) -> PortRecord:
    bundle = Bundle(path)
    bundle.read_record()
    with bundle.locked():
        workshop = Workshop(bundle, open_intact(bundle), observer)
        names = choose_targets(workshop.record, targets)
        host = describe_host(threads)
        absent = []
        for name in names:
            ability = describe_ability(workshop.record.targets[name].profile)
            if ability.highest is Step.THROUGHPUT:
                measure(Session(workshop, name, host))
            else:
                observer.note(f"{name}: not run here; {ability.reason}")
                absent.append(workshop.record.targets[name].profile)
        if emulate:
            _emulate(workshop, tuple(absent), threads)
        judge_all(workshop, names)
        write_reports(workshop)
        return workshop.record


def _emulate(workshop: Workshop, profiles: tuple[Profile, ...], jobs: int) -> None:
    """Execute the kernels of targets that this host cannot run."""
    stages = KernelEmulation(profiles, jobs).plan()
    reason = why_not_emulated()
    if stages and reason is not None:
        workshop.observer.note(f"kernels are not executed in an emulator: {reason}")
        return
    workshop.observer.planned(tuple(stage.name for stage in stages))
    for stage in stages:
        workshop.run(stage)


def _verify_one(session: Session) -> None:
    session.workshop.observer.planned((f"parity {session.target}",))
    session.workshop.run(plan_parity(session, keep_choice=True), again=True)


def _bench_one(soak_frames: int | None, sessions: int | None, session: Session) -> None:
    if len(chosen_backends(session.record)) < len(session.program.components):
        raise UsageError(f"{session.target}: no artifacts were chosen yet; run worldport verify first")
    drivers = bundled_drivers(session.workshop.record, session.folder, session.record.precision)
    stages = [plan_throughput(session, drivers), plan_limit(session, count_once(session.workshop))]
    if soak_frames is not None:
        stages.append(plan_soak(session, soak_frames))
    if sessions is not None:
        stages.append(plan_sessions(session, sessions))
    session.workshop.observer.planned(tuple(stage.name for stage in stages))
    for stage in stages:
        session.workshop.run(stage, again=True)
