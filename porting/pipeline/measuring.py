"""The stages that measure on this host: parity with the choice of artifacts, then throughput. Torch is not needed.

Both read the bundle alone: the program, the recorded trace and the artifacts. Modules of PyTorch, where there are any,
only come in as further drivers to compare with.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from porting import __version__, parity, runners, throughput
from porting.bundle import forget_stage
from porting.errors import BundleError
from porting.pipeline.choosing import Field, choose, measure_field, open_field, worst_ratio
from porting.pipeline.compiling import building, change_target, compile_name, target_folder
from porting.pipeline.device_used import describe_device, remember_watches
from porting.pipeline.workshop import Stage, Update, Workshop
from porting.program import Program
from porting.record import Host, OutputParity, ParityEvidence, PortRecord, TargetRecord, ThroughputEvidence
from porting.runners.base import Runner
from porting.trace.data import Trace
from porting.trace.storage import read_trace

Driver = Callable[[], Mapping[str, Runner]]
"""Opens one runner a component."""


@dataclass(frozen=True)
class Session:
    """What measuring one target needs."""

    workshop: Workshop
    target: str
    host: Host

    @property
    def record(self) -> TargetRecord:
        """The target's part of the record, as it is now."""
        return self.workshop.record.targets[self.target]

    @property
    def program(self) -> Program:
        """The frame program."""
        return self.workshop.record.program

    @property
    def folder(self) -> Path:
        """The bundle's folder, which every recorded path counts from."""
        return self.workshop.bundle.path

    def read_trace(self) -> Trace:
        """The recorded rollout.

        Raises:
            BundleError: the bundle has none.
            TraceError: it is damaged.
        """
        trace = self.workshop.record.trace
        if trace is None:
            raise BundleError(f"{self.folder}: has no trace to compare with; run worldport port again")
        return read_trace(self.folder / trace.path)

    def compile_stages(self) -> tuple[str, ...]:
        """Names of the stages that made this target's artifacts."""
        return tuple(
            compile_name(self.target, component.name, backend)
            for component in self.program.components
            for backend in building(self.record)
        )

    def inputs(self) -> dict[str, object]:
        """What every measurement on this host depends on."""
        return {
            "host": self.host.model_dump(mode="json"),
            "precision": self.record.precision,
            "profile": self.record.profile.model_dump(mode="json"),
            "worldport": __version__,
        }


def plan_parity(session: Session, keep_choice: bool) -> Stage:
    """Measure every artifact, choose one per component, and measure whole rollouts with the chosen ones.

    Args:
        session: which target of which bundle.
        keep_choice: artifacts chosen earlier stay chosen where they still open.
    """

    def work(folder: Path) -> Update:
        out = folder / target_folder(session.target)
        out.mkdir(parents=True)
        trace = session.read_trace()
        with ExitStack() as stack:
            fields, chosen = _choose_all(session, trace, keep_choice, stack)
            evidence = _measure_rollouts(session, trace, fields, chosen, out)
        artifacts = tuple(artifact for found in fields.values() for artifact in found.artifacts.values())

        def update(record: PortRecord) -> PortRecord:
            if chosen != chosen_backends(record.targets[session.target]):
                # Throughput of another choice of artifacts says nothing about this one.
                record = _clear_throughput(session.target)(forget_stage(record, f"throughput {session.target}"))
            found = {"artifacts": artifacts, "parity": evidence}
            return change_target(session.target, found)(record)

        return update

    return Stage(
        name=f"parity {session.target}",
        inputs=session.inputs(),
        work=work,
        after=("trace", *session.compile_stages()),
        clear=partial(_clear_measured, target=session.target),
    )


def _choose_all(
    session: Session, trace: Trace, keep_choice: bool, stack: ExitStack
) -> tuple[dict[str, Field], dict[str, str]]:
    """Per component: its artifacts as measured, and the backend chosen; a component that cannot run is not chosen."""
    target, program, budget = session.record, session.program, session.record.profile.parity
    fields, chosen = {}, {}
    for spec in program.components:
        kept = next((a.backend for a in target.artifacts if a.chosen and a.component == spec.name), None)
        opening = open_field(target.artifacts, spec, session.folder, session.host.threads, session.workshop.observer)
        found = fields[spec.name] = stack.enter_context(opening)
        measure_field(found, program, spec.name, trace, target.precision)
        backend = choose(found, program, spec.name, trace, budget, kept if keep_choice else None)
        if backend is not None:
            chosen[spec.name] = backend
    return fields, chosen


def _measure_rollouts(
    session: Session, trace: Trace, fields: Mapping[str, Field], chosen: Mapping[str, str], out: Path
) -> ParityEvidence:
    """The three levels for the chosen artifacts, with the other artifacts' outputs beside them."""
    outputs = [output for found in fields.values() for made in found.outputs.values() for output in made]
    if len(chosen) < len(session.program.components):
        return ParityEvidence(outputs=tuple(outputs), teacher_forced=(), free_running=None, gold="fp64", seconds=0.0)
    mix = {component: fields[component].opened[backend] for component, backend in chosen.items()}
    budget, precision = session.record.profile.parity, session.record.precision
    folder = target_folder(session.target)
    evidence = parity.measure_parity(session.program, mix, trace, budget, precision, out, chosen, folder)
    measured = {(o.component, o.backend, o.output, o.inputs) for o in evidence.outputs}
    others = [o for o in outputs if (o.component, o.backend, o.output, o.inputs) not in measured]
    return evidence.model_copy(update={"outputs": (*evidence.outputs, *others)})


def plan_throughput(session: Session, references: Mapping[str, Driver]) -> Stage:
    """Time whole rollouts of the chosen artifacts, interleaved with every other way of driving the same program.

    Args:
        session: which target of which bundle; its artifacts were chosen before.
        references: PyTorch's own drivers, where there is PyTorch.
    """

    def work(folder: Path) -> Update:
        out = folder / target_folder(session.target)
        out.mkdir(parents=True)
        ported = {"port": chosen_backends(session.record), **whole_backends(session)}
        drivers = {**references, **{name: artifact_driver(session, mix) for name, mix in ported.items()}}
        budget = session.record.profile.throughput
        device = session.record.profile.device
        instruments, watches = remember_watches(throughput.instruments_for(device.kind))
        trace = session.read_trace()
        evidence = throughput.measure_throughput(
            session.program, drivers, "port", trace, budget, out, None, instruments
        )
        timings = tuple(
            timing.model_copy(update={"proved": are_proved(session.record, ported[timing.name])})
            if timing.name in ported
            else timing
            for timing in evidence.drivers
        )
        found = {"drivers": timings, "device": describe_device(device, watches)}
        placed = _timed_in_bundle(evidence.model_copy(update=found), folder, out)
        return change_target(session.target, {"throughput": placed})

    return Stage(
        name=f"throughput {session.target}",
        inputs={**session.inputs(), "references": sorted(references)},
        work=work,
        after=(f"parity {session.target}",),
        clear=_clear_throughput(session.target),
    )


def whole_backends(session: Session) -> dict[str, dict[str, str]]:
    """Every backend that has an artifact of every component, driving all of them: what one backend alone would give."""
    made = {(a.component, a.backend) for a in session.record.artifacts if a.path is not None and a.error is None}
    names = [component.name for component in session.program.components]
    backends = sorted({backend for _, backend in made})
    return {
        backend: dict.fromkeys(names, backend) for backend in backends if all((name, backend) in made for name in names)
    }


def chosen_backends(target: TargetRecord) -> dict[str, str]:
    """Component -> the backend chosen for it."""
    return {artifact.component: artifact.backend for artifact in target.artifacts if artifact.chosen}


def port_driver(session: Session) -> Driver:
    """Opens the artifacts that were chosen, one a component."""
    return artifact_driver(session, chosen_backends(session.record))


def are_proved(target: TargetRecord, backends: Mapping[str, str]) -> bool:
    """True when each of these artifacts was measured here and kept the error budget."""
    if target.parity is None:
        return False
    by_artifact: dict[tuple[str, str], list[OutputParity]] = {}
    for output in target.parity.outputs:
        by_artifact.setdefault((output.component, output.backend), []).append(output)
    limit = target.profile.parity.error_budget_ratio
    return all(worst_ratio(tuple(by_artifact.get(artifact, ()))) <= limit for artifact in backends.items())


def artifact_driver(session: Session, backends: Mapping[str, str]) -> Driver:
    """Opens the artifact of each component that its backend made."""
    artifacts = {(a.component, a.backend): a for a in session.record.artifacts}

    def open_all() -> Mapping[str, Runner]:
        return {
            component: runners.open_runner(
                backend,
                session.folder,
                artifacts[component, backend],
                session.program.component(component),
                session.host.threads,
            )
            for component, backend in backends.items()
        }

    return open_all


def _clear_measured(record: PortRecord, target: str) -> PortRecord:
    """Without what was found out about the target's artifacts, the choice among them included."""
    nothing = {"chosen": False, "median_ms": None, "call_ms": ()}
    artifacts = tuple(artifact.model_copy(update=nothing) for artifact in record.targets[target].artifacts)
    gone = {"artifacts": artifacts, "parity": None, "throughput": None, "limit": None, "verdict": None}
    return change_target(target, gone)(record)


def _clear_throughput(target: str) -> Update:
    return change_target(target, {"throughput": None, "limit": None, "verdict": None})


def _timed_in_bundle(evidence: ThroughputEvidence, folder: Path, out: Path) -> ThroughputEvidence:
    place = (out / evidence.frames_file).relative_to(folder).as_posix()
    return evidence.model_copy(update={"frames_file": place})
