"""The two bundles of a comparison: opened, held against each other, and as functions that open their artifacts.

What must be the same on both sides is what is computed: checkpoint, frame program and recorded inputs. What it is
compiled by, and at which precision, is what is compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from porting import runners
from porting.bundle import Bundle
from porting.comparison.turns import Load
from porting.compilers import CompileRequest, compile_component
from porting.errors import BundleError, CompileError, UsageError
from porting.program import Program
from porting.record import ArtifactRecord, ComparedBundle, PortRecord, TargetRecord
from porting.runners.base import Runner
from porting.trace.data import TracedSession
from porting.trace.storage import read_trace


@dataclass(frozen=True)
class Side:
    """One bundle, with the target that is driven."""

    bundle: Bundle
    record: PortRecord
    target: str

    @property
    def ported(self) -> TargetRecord:
        """The target's part of the record."""
        return self.record.targets[self.target]

    @property
    def chosen(self) -> dict[str, ArtifactRecord]:
        """Component -> the artifact that was chosen for it."""
        return {artifact.component: artifact for artifact in self.ported.artifacts if artifact.chosen}

    @property
    def unchosen(self) -> list[str]:
        """Components without one."""
        return [c.name for c in self.record.program.components if c.name not in self.chosen]

    def describe(self) -> ComparedBundle:
        """What stood on disk when it was opened."""
        names = {name for artifact in self.chosen.values() for name in (artifact.path, *artifact.files) if name}
        return ComparedBundle(
            path=self.bundle.path.as_posix(),
            checkpoint=self.record.checkpoint.name,
            checkpoint_digest=self.record.checkpoint.digest,
            precision=self.ported.precision,
            worldport=self.record.worldport,
            created=self.record.created,
            artifacts={component: artifact.backend for component, artifact in self.chosen.items()},
            files={file.path: file.sha256 for file in self.record.files if file.path in names},
        )

    def read_session(self) -> TracedSession:
        """The first recorded session.

        Raises:
            BundleError: the bundle has no trace.
            TraceError: it is damaged.
        """
        if self.record.trace is None:
            raise BundleError(f"{self.bundle.path}: has no trace to be driven with; run worldport port again")
        sessions = read_trace(self.bundle.path / self.record.trace.path).sessions
        if not sessions:
            raise BundleError(f"{self.bundle.path}: its trace has no session; run worldport port again")
        return sessions[0]

    def load(self, threads: int) -> Load:
        """Opens the artifacts in the bundle."""
        return _opener(self.record.program, self.chosen, self.bundle.path, threads)

    def rebuild(self, out: Path, threads: int) -> Load:
        """Compile the chosen artifacts anew into a folder; opens what came of it.

        Raises:
            UsageError: one does not compile here.
        """
        opsets = {component.name: component.opset for component in self.record.components}
        built = {}
        for component, artifact in self.chosen.items():
            request = CompileRequest(
                component=self.record.program.component(component),
                components_dir=self.bundle.path / "components",
                backend=artifact.backend,
                precision=artifact.precision,
                opset=opsets[component],
                out_dir=out,
                threads=threads,
                architecture=self.ported.profile.device.architecture,
            )
            try:
                made = compile_component(request)
            except CompileError as cause:
                raise UsageError(f"{self.bundle.path}: {cause}; compare without --rebuilds") from cause
            if made.error is not None or made.path is None:
                raise UsageError(f"{self.bundle.path}: cannot be built anew: {made.error}; compare without --rebuilds")
            built[component] = made
        return _opener(self.record.program, built, out, threads)

    def check_unchanged(self) -> None:
        """Hold the driven files and the record against what was opened.

        Raises:
            BundleError: something was changed meanwhile.
        """
        self.bundle.verify_files(self.record)
        if self.bundle.read_record() != self.record:
            raise BundleError(f"{self.bundle.path}: was changed while it was driven; compare again")


def open_sides(baseline: Path, candidate: Path, target: str | None) -> tuple[Side, Side]:
    """Read both bundles, every file intact, for one target that both have.

    Raises:
        BundleError: one is missing or damaged.
        UsageError: they have no such target in common, or compute something else; the message says what differs.
    """
    found = []
    for path in (baseline, candidate):
        bundle = Bundle(path)
        record = bundle.read_record()
        bundle.verify_files(record)
        found.append((bundle, record))
    name = _choose_target(found[0][1], found[1][1], target)
    first, second = (Side(bundle, record, name) for bundle, record in found)
    differences = find_differences(first, second)
    if differences:
        raise UsageError(
            f"{baseline} and {candidate}: do not compute the same: {'; '.join(differences)}; compare two ports of one"
            " checkpoint with one trace"
        )
    return first, second


def find_differences(first: Side, second: Side) -> list[str]:
    """What makes the two no ports of one thing, each a clause with both values; empty when they are."""
    one, other = first.record, second.record
    differences = []
    if one.checkpoint.digest != other.checkpoint.digest:
        differences.append(
            f"the checkpoints are {one.checkpoint.name} ({one.checkpoint.digest[:12]}) and"
            f" {other.checkpoint.name} ({other.checkpoint.digest[:12]})"
        )
    if one.program != other.program:
        differences.append(f"the frame programs differ in {', '.join(_differing_fields(one.program, other.program))}")
    if one.trace is None or other.trace is None:
        differences += [f"{s.bundle.path} has no trace" for s in (first, second) if s.record.trace is None]
        return differences
    return differences + _differing_inputs(first.read_session(), second.read_session())


def _differing_fields(one: Program, other: Program) -> list[str]:
    return [name for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]


def _differing_inputs(one: TracedSession, other: TracedSession) -> list[str]:
    """What the two are fed, input by input."""
    differences = []
    for kind in ("session_inputs", "frame_inputs"):
        a, b = getattr(one, kind), getattr(other, kind)
        word = kind.replace("_", " ")
        if a.keys() != b.keys():
            differences.append(f"the {word} are {sorted(a)} and {sorted(b)}")
        for name in sorted(a.keys() & b.keys()):
            if a[name].shape != b[name].shape or a[name].dtype != b[name].dtype:
                sides = [f"{array.shape} {array.dtype}" for array in (a[name], b[name])]
                differences.append(f"of the {word}, {name!r} is {' and '.join(sides)}")
            elif not np.array_equal(a[name], b[name]):
                differences.append(f"of the {word}, {name!r} holds other numbers")
    return differences


def _choose_target(first: PortRecord, second: PortRecord, asked: str | None) -> str:
    """The one asked for, or the only one that both have and that has chosen artifacts on either side."""
    common = sorted(first.targets.keys() & second.targets.keys())
    if asked is not None:
        if asked not in common:
            raise UsageError(f"target {asked!r}: is not in both bundles; they have {', '.join(common) or 'none'} both")
        return asked
    ran = [name for name in common if any(a.chosen for r in (first, second) for a in r.targets[name].artifacts)]
    named = ran or common
    if len(named) != 1:
        raise UsageError(f"target: both bundles have {', '.join(named) or 'none'}; name one with --target")
    return named[0]


def _opener(program: Program, artifacts: Mapping[str, ArtifactRecord], folder: Path, threads: int) -> Load:
    def open_all() -> Mapping[str, Runner]:
        opened: dict[str, Runner] = {}
        try:
            for component, artifact in artifacts.items():
                spec = program.component(component)
                opened[component] = runners.open_runner(artifact.backend, folder, artifact, spec, threads)
        except BaseException:
            # The first components' runtimes would stay open for ever.
            for runner in opened.values():
                runner.close()
            raise
        return opened

    return open_all
