"""AOTInductor on a GPU: a package with Triton kernels and library calls, built on the device that it is for.

Inductor asks the device while it compiles and times kernels on it, so there is nothing to build elsewhere. Written
against torch's documented interface; this module has run on no device.
"""

import re
import zipfile
from collections import Counter
from pathlib import Path

import torch
import torch._inductor
from torch.export.passes import move_to_device_pass

from porting.compilers.base import INTEGER, CompileRequest
from porting.errors import CompileError
from porting.kernel_compiler import amd, nvidia
from porting.kernel_compiler.elf import ElfFile
from porting.record import Attestation
from porting.tensor_spec import UNIT_ROUNDOFF, Precision

ARCHITECTURE = "worldport_architecture"
"""Key of the package's metadata for the device that it was built on."""
BINARIES = (".cubin", ".hsaco")
KERNEL = re.compile(r'"(triton_[a-z]+_\w+)"')
"""Names by which the package's code loads them."""
LIBRARY_CALL = re.compile(r"aoti_torch_cuda_(\w+)\(")
BUFFER = re.compile(r"cached_torch_dtype_(\w+)")
TORCH_TYPES: dict[str, Precision] = {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def require_torch_device(request: CompileRequest) -> torch.device:
    """The device of the architecture asked for, as torch sees it; ROCm's torch calls it cuda too.

    Raises:
        CompileError: torch sees none, or another one.
    """
    where, wanted = request.where, request.architecture
    if not torch.cuda.is_available():
        raise CompileError(
            f"{where}: inductor compiles on the {wanted} device itself, and torch {torch.__version__} sees none; run"
            " `worldport compile BUNDLE` on the host that has it, with a torch that was built for it"
        )
    device = torch.device("cuda", torch.cuda.current_device())
    found = name_device(device)
    if found != wanted:
        raise CompileError(
            f"{where}: inductor compiles on the {wanted} device itself, and this host has {found}; run"
            " `worldport compile BUNDLE` on the host that has it"
        )
    return device


def name_device(device: torch.device) -> str:
    """What profiles call a device of torch: sm_120, gfx950."""
    if torch.version.hip is not None:
        return str(torch.cuda.get_device_properties(device).gcnArchName).partition(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def compile_for_device(request: CompileRequest, source: Path, artifact: Path, metadata: dict[str, str]) -> Attestation:
    """Write the package for the device that is here; returns what is in it.

    Raises:
        CompileError: the device is not here, inductor cannot lower the component, or its kernels are for another chip.
    """
    device = require_torch_device(request)
    # Convolutions of float32 would otherwise keep 11 of their 24 bits, without a word.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    told = {**metadata, ARCHITECTURE: str(request.architecture)}
    configs: dict[str, object] = {"aot_inductor.metadata": told, "freezing": True}
    try:
        program = move_to_device_pass(torch.export.load(source), device)
        with torch.no_grad():
            torch._inductor.aoti_compile_and_package(program, package_path=str(artifact), inductor_configs=configs)
    except (RuntimeError, ValueError, OSError, zipfile.BadZipFile) as cause:
        raise CompileError(f"{request.where}: inductor refuses {source.name} ({cause}); try another backend") from cause
    return attest_package(request, artifact)


def attest_package(request: CompileRequest, artifact: Path) -> Attestation:
    """Count the kernels and library calls of a package, and read from its binaries which chip they are for.

    Code of the host says nothing of a kernel's types: everything counts as the coarsest that any buffer has.

    Raises:
        CompileError: a binary is for another chip, or there are kernels and no binary of them.
    """
    with zipfile.ZipFile(artifact) as package:
        files = {name: package.read(name) for name in package.namelist() if name.endswith((".cpp", *BINARIES))}
    code = [content.decode("utf-8", "replace") for name, content in files.items() if name.endswith(".cpp")]
    kernels = {name for text in code for name in KERNEL.findall(text)}
    calls = Counter(name for text in code for name in LIBRARY_CALL.findall(text))
    buffers = {name for text in code for name in BUFFER.findall(text)}
    chips = Counter(_read_chip(name, content) for name, content in files.items() if name.endswith(BINARIES))
    if set(chips) - {request.architecture}:
        found = ", ".join(sorted(chips))
        raise CompileError(f"{request.where}: its kernels are for {found}, not {request.architecture}; drop inductor")
    if kernels and not chips:
        raise CompileError(f"{request.where}: {len(kernels)} kernels and no binary of one in {artifact.name}; drop it")
    floats = [TORCH_TYPES[name] for name in buffers if name in TORCH_TYPES]
    coarsest = max(floats, key=UNIT_ROUNDOFF.__getitem__, default=INTEGER)
    return Attestation(
        precision_asked=request.precision,
        layers_by_precision={coarsest: len(kernels) + calls.total()},
        layers_by_backend={"inductor kernel": len(kernels), "torch library call": calls.total()},
        detail={
            "architecture in the binaries": ", ".join(f"{chip} {count}" for chip, count in sorted(chips.items())),
            "library calls": ", ".join(f"{name} {count}" for name, count in calls.most_common()),
            "TF32": "off",
            "version": torch.__version__,
        },
        read_from="inductor package source and ELF files of its kernels",
    )


def _read_chip(name: str, content: bytes) -> str:
    """What a profile calls the chip of one binary."""
    file = ElfFile(content)
    return f"sm_{nvidia.read_capability(file)}" if name.endswith(".cubin") else amd.read_processor(file)
