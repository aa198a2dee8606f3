"""MIGraphX: the typed graph, which ONNX Runtime's provider compiles for an AMD device, where every node of it has run.

Where `migraphx-driver` is installed too, it compiles the same file and tells each instruction's type; else the types
are the graph's, which MIGraphX keeps. Written against the documented interface; this module has run on no device.
"""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from porting.compilers.base import INTEGER, CompileRequest
from porting.compilers.device_host import require_device
from porting.compilers.onnxruntime_device import (
    DeviceProvider,
    attest_profile,
    count_typed,
    require_provider,
    require_supported,
    write_typed,
)
from porting.errors import CompileError
from porting.record import Attestation
from porting.tensor_spec import UNIT_ROUNDOFF, Precision

PROVIDER = DeviceProvider(
    name="MIGraphXExecutionProvider",
    install="worldport[migraphx]",
    precisions=("fp32", "fp16", "bf16"),
)
DRIVER = "migraphx-driver"
ROCM_PROGRAMS = "/opt/rocm/bin"
"""Where ROCm's programs stand when its installer did not put them on the path."""
PRECISIONS: dict[str, Precision] = {
    "double_type": "fp64",
    "float_type": "fp32",
    "half_type": "fp16",
    "bf16_type": "bf16",
}
WHOLE = re.compile(r"u?int\d+_type|bool_type")
INSTRUCTION = re.compile(
    r"^\s*(?P<name>\S+) = (?P<operator>[\w:@#]+)(?:\[.*?\])?(?:\((?P<arguments>[^()]*)\))? -> (?P<type>\w+_type)\b",
    re.MULTILINE,
)


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.migraphx.onnx`, weights beside it where they are many.

    Raises:
        CompileError: this build or host has no such provider or device, or nodes would run on the CPU.
    """
    require_supported(request, PROVIDER)
    require_device(request)
    require_provider(request, PROVIDER)
    files, model = write_typed(request)
    placed = attest_profile(request, PROVIDER, files[0])
    driver = find_driver()
    if driver is None:
        precision = count_typed(model)
        how = {
            "precision": f"as the graph is typed: {DRIVER} is not installed",
            "read_from": "onnxruntime profile (placement), typed graph (precision)",
        }
    else:
        precision = read_program(compile_program(request, driver, files[0]))
        how = {"precision": f"of each instruction, from {DRIVER}", "read_from": f"onnxruntime profile, {DRIVER}"}
    return files, placed.model_copy(
        update={
            "layers_by_precision": precision,
            "detail": {**placed.detail, "precision": how["precision"]},
            "read_from": how["read_from"],
        }
    )


def find_driver() -> str | None:
    """The path of `migraphx-driver`, or None."""
    return shutil.which(DRIVER, path=os.pathsep.join([os.environ.get("PATH", os.defpath), ROCM_PROGRAMS]))


def compile_program(request: CompileRequest, driver: str, graph: Path) -> str:
    """What `migraphx-driver compile` prints of the compiled program.

    Raises:
        CompileError: it fails, or takes longer than the request allows.
    """
    command = [driver, "compile", str(graph), "--onnx", "--gpu"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=True, timeout=request.timeout_seconds
        )
    except subprocess.CalledProcessError as cause:
        raise CompileError(
            f"{request.where}: {DRIVER} refuses {graph.name} ({cause.stderr.strip()[-600:]}); use another backend"
        ) from cause
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise CompileError(f"{request.where}: {DRIVER} does not run ({cause}); take it off the path") from cause
    return done.stdout


def read_program(text: str) -> dict[str, int]:
    """The instructions that run on the device, by the coarsest floating type among what each reads and makes."""
    types: dict[str, str] = {}
    counted: Counter[str] = Counter()
    for found in INSTRUCTION.finditer(text):
        types[found["name"]] = found["type"]
        if found["operator"].startswith("gpu::"):
            read = [types[name] for name in (found["arguments"] or "").split(",") if name in types]
            counted[_coarsest([*read, found["type"]])] += 1
    return dict(counted)


def _coarsest(kinds: list[str]) -> str:
    """A type that is not known decides, so that it cannot hide."""
    strange = sorted(kind for kind in kinds if kind not in PRECISIONS and not WHOLE.fullmatch(kind))
    if strange:
        return strange[0]
    floats = {PRECISIONS[kind] for kind in kinds if kind in PRECISIONS}
    return max(floats, key=UNIT_ROUNDOFF.__getitem__, default=INTEGER)
