"""What a port leaves behind: `port.json`, schema 1. Evidence is measured; a verdict is evidence held against budgets.

Records never compute what they could have measured wrongly: every judgement is a `Check` with value, limit and reason.
"""

import math
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from porting.profile import Profile
from porting.program import Program
from porting.tensor_spec import Model, Precision

SCHEMA_VERSION = 1
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Outcome(StrEnum):
    """What one check came to; only PASSED lets a port through."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_MEASURED = "not measured"


class Step(StrEnum):
    """The evidence ladder, lowest first."""

    EXPORTED = "exported"
    COMPILED = "compiled"
    ATTESTED = "attested"
    PARITY = "parity"
    THROUGHPUT = "throughput"


LADDER = tuple(Step)


class Check(Model):
    """One thing that was held against a limit; `subject` says of what: component, frame, artifact."""

    step: Step
    name: str
    subject: str
    outcome: Outcome
    reason: str
    """A sentence with the figures, for a reader who sees nothing else."""
    value: float | None = None
    limit: float | None = None
    unit: str = ""


class FileRecord(Model):
    """One file of the bundle; the path is relative to the bundle and uses forward slashes."""

    path: str
    sha256: Sha256
    nbytes: Annotated[int, Field(ge=0)]


class Host(Model):
    """The machine and versions that a measurement was made with."""

    machine: str
    cpu: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    packages: dict[str, str]
    threads: int


class CheckpointRecord(Model):
    """What was ported. `digest` covers config and weights."""

    name: str
    family: str
    digest: Sha256
    parameters: int
    weight_bytes: int
    source: str = ""
    """What the user called it by: a path, or `bundled:NAME`."""


class StateContract(Model):
    """How a component's declared state was proved before its file was written."""

    states_in: tuple[str, ...]
    states_out: tuple[str, ...]
    mutated_buffers: tuple[str, ...] = ()
    """Always empty in a record: a component that mutates is refused."""
    exercised: tuple[str, ...]
    """What was run: "wrap-around", "sink", "reset", "aliasing", ..."""
    max_relative_error: float
    """Worst output error of the exported graph against the module, over everything exercised."""


class ComponentRecord(Model):
    """One exported component."""

    name: str
    path: str
    opset: int
    nodes: int
    parameters: int
    weight_bytes: int
    operators: dict[str, int]
    contract: StateContract
    export_seconds: float


class TraceRecord(Model):
    """The reference rollout: recorded inputs, gold and eager outputs."""

    path: str
    sessions: int
    frames: int
    precision: Precision
    gold: Precision
    seed: int
    source: str
    """Where the context frames and actions come from, in words."""


class Attestation(Model):
    """What is really in an artifact, read back from the compiled thing itself."""

    precision_asked: Precision
    layers_by_precision: dict[str, int]
    layers_by_backend: dict[str, int]
    detail: dict[str, str] = {}
    read_from: str
    """The runtime's own account: "onnxruntime profile", "openvino runtime model", ..."""


class ArtifactRecord(Model):
    """What one backend compiled for one component."""

    component: str
    backend: str
    precision: Precision
    path: str | None
    """None when it did not compile; `error` says why."""
    files: tuple[str, ...] = ()
    compile_seconds: float | None = None
    error: str | None = None
    attestation: Attestation | None = None
    median_ms: float | None = None
    """Median time of one call on this host, interleaved with the other backends' calls."""
    call_ms: tuple[float, ...] = ()
    chosen: bool = False


class KernelRecord(Model):
    """One kernel compiled for one architecture in one dtype or format, and what stands in the machine code.

    A figure that could not be read is None and has its reason in `unknown`; it is never 0.
    """

    kernel: str
    variant: str
    """The dtype of the main input, or the block-scaled format: "bfloat16", "nvfp4", ..."""
    architecture: str
    """What was asked for: "cuda:107", "hip:gfx950", ..."""
    source_digest: Sha256
    """Of the kernel file."""
    sizes: tuple[int, ...]
    """What the file's `example` was called with; constants of the compiled code may depend on it."""
    tuning: dict[str, int]
    tensor_cores_claimed: bool
    """The kernel file claims matrix instructions; no claim is made for float32, whose exact product has none."""
    error: str | None = None
    """Why there is no binary: the reason of the kernel file when `unsupported`, else the compiler's last words."""
    unsupported: bool = False
    """The kernel file itself says that this architecture cannot take it."""

    files: tuple[str, ...] = ()
    """The ELF file, its assembly text, and their metadata as JSON."""
    symbol: str | None = None
    architecture_found: str | None = None
    """Read from the header of the ELF file."""
    warps: int | None = None
    """Warps or wavefronts of one program."""
    programs: int | None = None
    """Of one launch with `sizes`."""
    registers: int | None = None
    """Vector registers a thread, accumulation registers included."""
    accumulation_registers: int | None = None
    scalar_registers: int | None = None
    """A wavefront; AMD only."""
    spill_store_bytes: int | None = None
    """A thread, as far as they are in the text of the code: a loop repeats them."""
    spill_load_bytes: int | None = None
    scalar_spills: int | None = None
    """Scalar registers kept in lanes of vector registers; AMD only."""
    scratch_bytes: int | None = None
    """Local memory of a thread: spilled registers, and arrays that are indexed."""
    shared_bytes: int | None = None
    """Shared memory (LDS) of a program."""
    tensor_memory_columns: int | None = None
    """32-bit columns of a program; 0 where a chip of this vendor has none."""
    resident_programs: int | None = None
    """Programs that fit on a multiprocessor (compute unit) at once."""
    occupancy: float | None = None
    """Their warps, as a share of the warps that a multiprocessor can hold."""
    occupancy_limiter: str | None = None
    """What keeps one more program away: "registers", "shared memory", "warps", ..."""
    instructions: int | None = None
    loop_instructions: int | None = None
    """Those of them that stand in loops."""
    tensor_instructions: dict[str, int] = {}
    """Matrix instructions by mnemonic."""
    native_tensor_instructions: int | None = None
    """Those that take the variant itself; a block-scaled format has its scales applied by the instruction."""
    code_bytes: int | None = None
    compile_seconds: float | None = None
    """When it was compiled; a cached result keeps the time that it once took."""
    unknown: dict[str, str] = {}
    """Field -> why it could not be read."""


class OutputParity(Model):
    """One output of one component on one kind of input, worst over the samples."""

    component: str
    backend: str
    output: str
    inputs: str
    """"trace", or the name of the hard input: "constant rows", "large values", "empty ring", ..."""
    samples: int
    error_port: float
    """|port - gold| / |gold|, Frobenius norms."""
    error_eager: float
    ratio: float
    """error_port over error_eager; eager's error is taken as at least one unit in the last place."""
    max_abs: float
    unit: str
    sqnr_db: float
    cosine: float
    finite: bool

    @property
    def measured(self) -> bool:
        """False for no samples or anything that is not a number: such evidence passes nothing."""
        return self.samples > 0 and self.finite and math.isfinite(self.ratio)


class TeacherForced(Model):
    """Every frame starts from the reference's state; one entry a frame, that of the session with the worst ratio."""

    output: str
    """A value or a state that a frame writes."""
    error_port: tuple[float, ...]
    error_eager: tuple[float, ...]
    ratio: tuple[float, ...]


class FreeRunning(Model):
    """The port feeds itself. Per frame, against the reference's rollout; worst over the sessions.

    The envelope is what the reference does to itself: the lowest PSNR, up to and including each frame, over its own
    reruns at the same precision with last-bit changes of the inputs.
    """

    psnr_db: tuple[float, ...]
    ssim: tuple[float, ...]
    envelope_psnr_db: tuple[float, ...]
    envelope_ssim: tuple[float, ...]
    envelope_members: int
    sessions: int = 0
    first_failing_frame: int | None
    """First frame that `ParityBudget.holds_frame` refuses; None when it refuses none of those that were run."""
    reference_frames: str
    """Folder of the frames themselves, relative to the bundle: `rollout_reference.png`, `rollout_port.png` and
    `rollout_difference.png`, uint8, one row a session, one column a frame."""
    difference_gain: float = 1.0
    """What `rollout_difference.png` is amplified by, so that the worst pixel is white."""


class ParityEvidence(Model):
    """All three levels. An empty level was not measured; a shorter one than the budget asks for passes nothing."""

    outputs: tuple[OutputParity, ...]
    """Every output of every component has an entry for "trace"; one without samples is not measured."""
    teacher_forced: tuple[TeacherForced, ...]
    free_running: FreeRunning | None
    gold: Precision
    seconds: float
    dropped: tuple[str, ...] = ()
    """Hard inputs that the reference itself does not survive: component, name and reason."""


class Distribution(Model):
    """Frame times in ms, after warm-up."""

    frames: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


class DriverTiming(Model):
    """One way of driving the same rollout: the port, PyTorch eager, torch.compile, one backend throughout."""

    name: str
    frames_per_second: float
    frame_ms: Distribution
    ratio_to_eager: float
    """Median over interleaved rounds of eager's time over this driver's."""
    ratio_low: float
    ratio_high: float
    """Lowest and highest round."""
    rounds: int
    proved: bool | None = None
    """Whether every artifact that it ran kept the error budget on every input; None for PyTorch, the yardstick."""


class Pacing(Model):
    """How frames met the deadline."""

    frames: int
    missed: int
    longest_stall_ms: float
    """Longest time past a deadline."""
    jitter_ms: float
    """Standard deviation of the time between two finished frames."""


class ThroughputEvidence(Model):
    """Over whole rollouts, on the host named."""

    host: Host
    deadline_ms: float
    frame_ms: Distribution
    frames_per_second: float
    time_to_first_frame_ms: float
    """From the first input of a session to its first generated frame: priming included, loading not."""
    load_ms: float
    warmup_frames: int
    closed_loop: Pacing
    paced: Pacing
    drivers: tuple[DriverTiming, ...]
    memory_high_water_bytes: int
    """Most of this process in memory while the port alone was driven; whatever else the process holds is in it."""
    memory_slope_bytes_per_frame: float
    host_overhead_share: float
    """Time outside the components' own calls, as a share of frame time."""
    frames_file: str
    """Raw time of every frame, warm-up included and marked; a path relative to the bundle."""
    valid: bool
    """False when the machine was seen to be in no state to measure on; `disturbances` says how."""
    disturbances: tuple[str, ...] = ()
    unchanged_frames: int | None = None
    """Timed frames that were not written, or are the one before: frames_per_second leaves them out, pacing counts them
    as missed. None was not looked for."""
    not_run: dict[str, str] = {}
    """Drivers to compare with that could not run on this host, and why."""


class ChainLink(Model):
    """One backend of a target's fallback chain, as the host that compiled found it."""

    backend: str
    builds: bool
    """The host could try it; whether it then compiled, the artifacts say."""
    reason: str


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
    parity: ParityEvidence | None = None
    throughput: ThroughputEvidence | None = None
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


def exit_code(outcomes: set[Outcome]) -> int:
    """0 only when there is an outcome and every one passed; 1 when one failed; 3 when one was not measured."""
    if Outcome.FAILED in outcomes:
        return 1
    return 0 if outcomes == {Outcome.PASSED} else 3
