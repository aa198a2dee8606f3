"""The whole way from a checkpoint to a verdict, in order, resumable at every stage. Needs torch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from porting import __version__
from porting.adapters.registry import load_world_model
from porting.bundle import Bundle, forget_stage
from porting.host import describe_host
from porting.pipeline.abilities import describe_ability
from porting.pipeline.compiling import (
    WITH_KERNELS,
    building,
    compile_name,
    kernel_export_name,
    note_chains,
    plan_compiles,
    takes_plugins,
)
from porting.pipeline.drivers import eager_drivers
from porting.pipeline.interpreting import NAME as INTERPRETING
from porting.pipeline.interpreting import plan_interpreting
from porting.pipeline.judging import judge_all, prune_artifacts, write_reports
from porting.pipeline.kernels import KernelBatch, kernels_name
from porting.pipeline.limiting import limit_name, run_limits
from porting.pipeline.making import plan_export, plan_kernel_export, plan_trace
from porting.pipeline.measuring import Driver, Session, chosen_backends, plan_parity, plan_throughput
from porting.pipeline.progress import Observer
from porting.pipeline.request import PortRequest
from porting.pipeline.workshop import Workshop
from porting.record import CheckpointRecord, Host, PortRecord, Step, TargetRecord

if TYPE_CHECKING:
    from porting.adapters.world_model import WorldModel


def export(request: PortRequest, observer: Observer) -> PortRecord:
    """Export one checkpoint's components and record its reference rollout.

    Raises:
        PortingError: the checkpoint, a profile or the bundle is of no use.
    """
    with _opened(request, observer) as (workshop, model, host):
        observer.planned(_plan_exports(model))
        _make(workshop, model, host, None, request)
        return _finish(workshop, request)


def port(request: PortRequest, observer: Observer) -> PortRecord:
    """Port one checkpoint to every target asked for.

    Returns:
        The record, each target with a verdict; it is in the bundle too, and so is the report.

    Raises:
        PortingError: the checkpoint, a profile or the bundle is of no use.
    """
    with _opened(request, observer) as (workshop, model, host):
        targets = tuple(profile.name for profile in request.profiles)
        note_chains(workshop, targets)
        batch = KernelBatch(request.profiles, request.jobs)
        with_kernels = _plan_kernels(model) if needs_kernels(workshop.record, model, request) else ()
        observer.planned(_plan_exports(model) + with_kernels + _plan_targets(workshop.record, targets))
        if _make(workshop, model, host, batch, request):
            drivers = eager_drivers(model.program, lambda: model.modules, request.precision)
            sessions = tuple(Session(workshop, target, host) for target in targets)
            for session in sessions:
                measure(session, drivers)
            run_limits(sessions)
        return _finish(workshop, request)


@contextmanager
def _opened(request: PortRequest, observer: Observer) -> Iterator[tuple[Workshop, "WorldModel", Host]]:
    """The bundle, locked, with a record of this checkpoint and these targets."""
    model = load_world_model(request.checkpoint)
    host = describe_host(request.threads)
    bundle = Bundle(request.out)
    with bundle.locked():
        yield Workshop(bundle, _open_record(bundle, request, model, host), observer), model, host


def _finish(workshop: Workshop, request: PortRequest) -> PortRecord:
    """Judge what there is, and write it down for people."""
    workshop.change(_drop_outdated)
    judge_all(workshop, tuple(p.name for p in request.profiles if p.name in workshop.record.targets))
    write_reports(workshop)
    return workshop.record


def _drop_outdated(record: PortRecord) -> PortRecord:
    """Without targets of an earlier run whose artifacts were built from components that are there no more."""
    done = {stage.name for stage in record.stages}
    kept = {
        name: target
        for name, target in record.targets.items()
        if all(compile_name(name, a.component, a.backend) in done for a in target.artifacts)
    }
    return record.model_copy(update={"targets": kept})


def measure(session: Session, references: Mapping[str, Driver]) -> None:
    """Parity and throughput of one target, as far as this host can run it."""
    ability = describe_ability(session.record.profile)
    if ability.highest is not Step.THROUGHPUT:
        session.workshop.observer.note(f"{session.target}: not run here; {ability.reason}")
        return
    session.workshop.run(plan_parity(session, keep_choice=False))
    if len(chosen_backends(session.record)) == len(session.program.components):
        session.workshop.run(plan_throughput(session, references))
    else:
        session.workshop.observer.note(f"{session.target}: a component has no artifact that runs here; not timed")


def _make(workshop: Workshop, model: "WorldModel", host: Host, batch: KernelBatch | None, request: PortRequest) -> bool:
    """Components, trace, and beside them what is compiled; False when something broke, so that nothing can be measured.

    Compilers are processes of their own: they run while this one exports the next component and records the trace.
    Without a batch, nothing is compiled.
    """
    asked = workshop.record.targets.values()
    # One set of components serves every target, so the oldest operator set that one of them asks for.
    opset = min(target.profile.compile.opset for target in asked)
    with_kernels = batch is not None and needs_kernels(workshop.record, model, request)
    with workshop.background(request.jobs) as submit:
        for component in model.program.components:
            stage = plan_export(model, component.name, opset)
            workshop.run(stage)
            if with_kernels:
                graph = opset if any(takes_plugins(target) for target in asked) else None
                workshop.run(plan_kernel_export(model, component.name, request.precision, graph))
            if batch is not None and not workshop.broken(stage.name):
                for profile in request.profiles:
                    for together in plan_compiles(workshop, profile.name, component.name, host):
                        submit(*together)
        for kernels in batch.plan() if batch is not None else []:
            submit(kernels)
        workshop.run(plan_trace(model, tuple(target.profile for target in asked), request.precision))
        if with_kernels and not any(workshop.broken(name) for name in ("trace", *_plan_kernels(model)[:-1])):
            submit(plan_interpreting(workshop, request.profiles[0].parity))
    return not any(workshop.broken(name) for name in _plan_exports(model))


def needs_kernels(record: PortRecord, model: "WorldModel", request: PortRequest) -> bool:
    """True when a backend that builds here computes by kernels, and the model's family does so too."""
    asked = any(WITH_KERNELS & set(building(record.targets[profile.name])) for profile in request.profiles)
    return asked and model.use_kernels is not None


def _plan_exports(model: "WorldModel") -> tuple[str, ...]:
    return (*(f"export {component.name}" for component in model.program.components), "trace")


def _plan_kernels(model: "WorldModel") -> tuple[str, ...]:
    return (*(kernel_export_name(component.name) for component in model.program.components), INTERPRETING)


def _plan_targets(record: PortRecord, targets: tuple[str, ...]) -> tuple[str, ...]:
    names: list[str] = []
    for name in targets:
        target = record.targets[name]
        names += [compile_name(name, c.name, b) for c in record.program.components for b in building(target)]
        if target.profile.device.kind != "cpu":
            names.append(kernels_name(name))
        if describe_ability(target.profile).highest is Step.THROUGHPUT:
            names += [f"parity {name}", f"throughput {name}"]
        names.append(limit_name(name))
    return tuple(names)


def _open_record(bundle: Bundle, request: PortRequest, model: "WorldModel", host: Host) -> PortRecord:
    """The record to go on from: the bundle's, where it is of the same checkpoint, with the targets asked for."""
    old = bundle.read_record() if bundle.exists() else None
    if old is not None and (old.checkpoint.digest != model.digest or old.program != model.program):
        # Another model's port stands here: nothing of it can be reused.
        bundle.remove_files(old.files)
        old = None
    checkpoint = CheckpointRecord(
        name=model.name,
        family=model.family,
        digest=model.digest,
        parameters=model.parameters,
        weight_bytes=model.weight_bytes,
        source=request.checkpoint,
    )
    record = PortRecord(
        worldport=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=request.command,
        host=host,
        checkpoint=checkpoint,
        program=model.program,
    )
    if old is not None:
        kept = {name: getattr(old, name) for name in ("components", "trace", "interpreted", "stages", "files")}
        # One trace serves every target, so targets of another precision cannot stay.
        targets = {name: target for name, target in old.targets.items() if target.precision == request.precision}
        record = record.model_copy(update={**kept, "targets": targets})
    record = forget_stage(record, "report")
    for profile in request.profiles:
        record = _add_target(record, profile.name, TargetRecord(profile=profile, precision=request.precision))
    bundle.write_record(record)
    return record


def _add_target(record: PortRecord, name: str, asked: TargetRecord) -> PortRecord:
    """With that target as asked for; what an earlier run found out stays until its stage is redone."""
    target = asked
    if name in record.targets:
        changes = {"profile": asked.profile, "precision": asked.precision, "verdict": None}
        target = record.targets[name].model_copy(update=changes)
    return prune_artifacts(record.model_copy(update={"targets": {**record.targets, name: target}}), name)
