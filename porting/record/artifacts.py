"""What backends and the kernel compiler made for a target, and what is really in it."""

from porting.record.made import Sha256
from porting.tensor_spec import Model, Precision


class LaunchRecord(Model):
    """One specialisation of a kernel that a component launches, and what stands in its machine code.

    A figure that could not be read is None and has its reason in `unknown`; it is never 0.
    """

    kernel: str
    variant: str
    launches: int
    """In one call of the component."""
    grid: tuple[int, ...]
    tuning: dict[str, int]
    tensor_cores_claimed: bool
    registers: int | None
    """Vector registers a thread."""
    spill_store_bytes: int | None
    spill_load_bytes: int | None
    scratch_bytes: int | None
    """Local memory of a thread."""
    scalar_spills: int | None = None
    """Scalar registers kept in lanes of vector registers; AMD only."""
    instructions: int | None
    tensor_instructions: dict[str, int] = {}
    """Matrix instructions by mnemonic."""
    native_tensor_instructions: int | None
    unknown: dict[str, str] = {}
    """Field -> why it could not be read."""


class Attestation(Model):
    """What is really in an artifact, read back from the compiled thing itself."""

    precision_asked: Precision
    layers_by_precision: dict[str, int]
    layers_by_backend: dict[str, int]
    detail: dict[str, str] = {}
    read_from: str
    """The runtime's own account: "onnxruntime profile", "openvino runtime model", ..."""
    launches: tuple[LaunchRecord, ...] = ()
    """The component's own launches of kernels, of a backend that compiles each of them."""


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


class ChainLink(Model):
    """One backend of a target's fallback chain, as the host that compiled found it."""

    backend: str
    builds: bool
    """The host could try it; whether it then compiled, the artifacts say."""
    reason: str
