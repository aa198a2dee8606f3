"""The whole of `port.json`: targets with their evidence and verdicts, and the stages that made them."""

from typing import Literal, Self

from pydantic import model_validator

from porting.profile import Profile
from porting.program import Program
from porting.record.artifacts import ArtifactRecord, ChainLink, KernelRecord
from porting.record.checks import Check, Outcome, Step
from porting.record.emulated import EmulatedKernel
from porting.record.limit import FrameLimit
from porting.record.made import CheckpointRecord, ComponentRecord, FileRecord, Host, Sha256, TraceRecord
from porting.record.parity import ParityEvidence
from porting.record.throughput import ThroughputEvidence
from porting.tensor_spec import Model, Precision

SCHEMA_VERSION = 1


class Verdict(Model):
    """The evidence held against the profile's budgets."""

    outcome: Outcome
    reached: Step | None
    """The highest step whose checks, and those of every step below it, all passed."""
    highest_possible: Step
    """The highest step that this host can reach for this target."""
    checks: tuple[Check, ...]

    @model_validator(mode="after")
    def _nothing_passes_by_absence(self) -> Self:
        bad = {c.outcome for c in self.checks} - {Outcome.PASSED}
        if self.outcome is Outcome.PASSED and (not self.checks or bad):
            raise ValueError("a verdict cannot pass without checks or with one that did not pass")
        return self


class TargetRecord(Model):
    """One target of a port."""

    profile: Profile
    precision: Precision
    chain: tuple[ChainLink, ...] = ()
    """Every backend of the profile, in the profile's order of preference."""
    artifacts: tuple[ArtifactRecord, ...] = ()
    kernels: tuple[KernelRecord, ...] = ()
    emulated: tuple[EmulatedKernel, ...] = ()
    """Kernels whose compiled code an emulator executed; empty where nobody asked for it."""
    parity: ParityEvidence | None = None
    throughput: ThroughputEvidence | None = None
    limit: FrameLimit | None = None
    """What the hardware would allow, beside what was measured; a projection where the target did not run."""
    verdict: Verdict | None = None


class StageRecord(Model):
    """One stage that ended. `key` digests everything that it depended on."""

    name: str
    key: Sha256
    seconds: float
    files: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    """Stages whose results it used: when one of them is redone, so is this one."""
    error: str | None = None
    """Traceback of a stage that broke instead of finding out; it is redone at the next run and fails the port."""


class PortRecord(Model):
    """The whole of `port.json`."""

    schema_version: Literal[1] = 1
    worldport: str
    created: str
    """UTC, ISO 8601."""
    command: str
    host: Host
    checkpoint: CheckpointRecord
    program: Program
    components: tuple[ComponentRecord, ...] = ()
    trace: TraceRecord | None = None
    interpreted: ParityEvidence | None = None
    """A short rollout of the components with their kernels, run by Triton's interpreter: it says that the kernels'
    source computes the same world, and never stands in for parity on a device."""
    targets: dict[str, TargetRecord] = {}
    stages: tuple[StageRecord, ...] = ()
    files: tuple[FileRecord, ...] = ()
