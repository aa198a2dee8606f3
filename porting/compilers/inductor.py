"""AOTInductor: the exported component as one package that torch loads without the module; here of C++, for a CPU."""

import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import torch
import torch._inductor

from porting.compilers.base import INTEGER, CompileRequest, names_device, require_precision, require_static
from porting.compilers.inductor_device import compile_for_device
from porting.errors import CompileError
from porting.record import Attestation
from porting.tensor_spec import UNIT_ROUNDOFF, Precision

SIGNATURE = "worldport_component"
"""Key of the package's metadata for names, shapes and dtypes: the package itself knows none of them."""
C_TYPES: dict[str, Precision] = {
    "double": "fp64",
    "float": "fp32",
    "half": "fp16",
    "at::Half": "fp16",
    "bfloat16": "bf16",
    "at::BFloat16": "bf16",
}
TORCH_TYPES: dict[str, Precision] = {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
KERNEL = re.compile(r'extern "C"\s+void\s+(cpp_\w+)\(([^)]*)\)')
LIBRARY_CALL = re.compile(r"aoti_torch_cpu_(\w+)\(")
BUFFER = re.compile(r"cached_torch_dtype_(\w+)")


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.inductor.pt2`.

    The number of threads is part of the code. The package names the folder of its intermediate files (in comments and
    debug strings), which is the same for every checkout of one user.

    Raises:
        CompileError: there is no C++ compiler, the device is not here, or inductor cannot lower the component.
    """
    require_precision(request, ("fp32",))
    require_static(request)
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise CompileError(f"{request.where}: needs a C++ compiler and finds no {compiler}; install g++ or set CXX")
    source, artifact = request.source(".pt2"), request.artifact(".pt2")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(_private_folder())
    metadata = {SIGNATURE: request.component.model_dump_json()}
    if names_device(request):
        return (artifact,), compile_for_device(request, source, artifact, metadata)
    torch.set_num_threads(request.threads)
    configs: dict[str, object] = {
        "cpp.threads": request.threads,
        # torch hashes what it precompiles with the openssl command, and stops where there is none.
        "aot_inductor.precompile_headers": shutil.which("openssl") is not None,
        "aot_inductor.metadata": metadata,
    }
    try:
        program = torch.export.load(source)
        configs["freezing"] = convolves_mostly(program)
        with torch.no_grad():
            torch._inductor.aoti_compile_and_package(program, package_path=str(artifact), inductor_configs=configs)
    except (RuntimeError, ValueError, OSError) as cause:
        raise CompileError(f"{request.where}: inductor refuses {source.name} ({cause}); try another backend") from cause
    return (artifact,), attest(request, artifact)


def convolves_mostly(program: torch.export.ExportedProgram) -> bool:
    """Whether most weights are of convolutions, which are worth packing for this CPU once and not at every call.

    Packed linear layers sum in another order: seen on the bundled denoiser, with twice the rounding error.
    """
    weights: Counter[str] = Counter()
    for node in program.graph.nodes:
        name = getattr(node.target, "__name__", "")
        if node.op == "call_function" and name.startswith(("conv", "linear")):
            weights[name[:4]] += node.args[1].meta["val"].numel()
    return weights["conv"] > weights["line"]


def attest(request: CompileRequest, artifact: Path) -> Attestation:
    """Count the kernels that inductor wrote and the library calls between them, from the code in the package."""
    with zipfile.ZipFile(artifact) as package:
        code = {n: package.read(n).decode("utf-8", "replace") for n in package.namelist() if n.endswith(".cpp")}
    kernels = {name: arguments for text in code.values() for name, arguments in KERNEL.findall(text)}
    calls = Counter(name for text in code.values() for name in LIBRARY_CALL.findall(text))
    buffers = Counter(name for text in code.values() for name in BUFFER.findall(text))
    precisions = Counter(kernel_precision(arguments) for arguments in kernels.values())
    if calls:
        # A call says nothing of its types: it counts as the coarsest that any buffer has.
        floats = [TORCH_TYPES[name] for name in buffers if name in TORCH_TYPES]
        precisions[max(floats, key=UNIT_ROUNDOFF.__getitem__, default=INTEGER)] += calls.total()
    return Attestation(
        precision_asked=request.precision,
        layers_by_precision=dict(precisions),
        layers_by_backend={"inductor kernel": len(kernels), "torch library call": calls.total()},
        detail={
            "library calls": ", ".join(f"{name} {count}" for name, count in calls.most_common()) or "none",
            "threads": str(request.threads),
            "vector instructions": torch.backends.cpu.get_cpu_capability(),
            "version": torch.__version__,
        },
        read_from="inductor package source",
    )


def kernel_precision(arguments: str) -> str:
    """The coarsest floating type among a kernel's pointers; `integer` when there is none."""
    types = re.findall(r"([\w:]+)\s*\*", arguments)
    return max((C_TYPES[t] for t in types if t in C_TYPES), key=UNIT_ROUNDOFF.__getitem__, default=INTEGER)


def _private_folder() -> Path:
    """Where intermediate files live: in the same place for every checkout, so that packages do not differ by it.

    Raises:
        CompileError: the folder belongs to someone else.
    """
    folder = Path(tempfile.gettempdir()) / f"worldport-inductor-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise CompileError(f"{folder}: is not a folder of your own; remove it or set TMPDIR")
    return folder
