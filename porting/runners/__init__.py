"""Runners: a compiled artifact as a callable on named buffers, one module a backend.

A backend's runtime is imported when its first artifact is opened, never before.
"""

import importlib
from pathlib import Path

from porting.errors import BackendMissingError, RunnerError
from porting.program import ComponentSpec
from porting.record import ArtifactRecord
from porting.runners.base import Runner

PACKAGES = {
    "onnxruntime": ("onnxruntime", "worldport[onnxruntime]"),
    "openvino": ("openvino", "worldport[openvino]"),
    "inductor": ("torch", "worldport[torch]"),
    "tensorrt": ("tensorrt", "worldport[tensorrt]"),
    "tensorrt_plugins": ("tensorrt", "worldport[tensorrt]"),
    "tensorrt_rtx": ("tensorrt_rtx", "worldport[tensorrt-rtx]"),
    "onnxruntime_cuda": ("onnxruntime", "worldport[onnxruntime-gpu]"),
    "onnxruntime_tensorrt": ("onnxruntime", "worldport[onnxruntime-gpu]"),
    "migraphx": ("onnxruntime", "worldport[migraphx]"),
    "triton": ("triton", "worldport[triton]"),
}
"""Backend -> the package that it runs on, and what to install."""


def open_runner(
    backend: str, artifact_dir: Path, artifact: ArtifactRecord, spec: ComponentSpec, threads: int
) -> Runner:
    """Load one artifact.

    Args:
        backend: one of `PACKAGES`.
        artifact_dir: the folder that the record's paths are relative to.
        artifact: what the backend compiled.
        spec: the component's inputs and outputs, which the artifact must have exactly.
        threads: CPU threads that one call may use.

    Raises:
        BackendMissingError: the backend's runtime is not installed.
        RunnerError: no such backend, nothing was compiled, the file is missing or cannot be loaded, or its inputs and
            outputs are not the component's.
    """
    where = f"{artifact.component} on {backend}"
    if backend not in PACKAGES:
        raise RunnerError(f"{where}: no such backend; there are {', '.join(sorted(PACKAGES))}")
    if artifact.backend != backend or artifact.component != spec.name:
        raise RunnerError(f"{where}: the artifact is {artifact.component}'s on {artifact.backend}; give its own record")
    if artifact.path is None:
        raise RunnerError(f"{where}: did not compile ({artifact.error}); compile it again")
    path = artifact_dir / artifact.path
    if not path.is_file():
        raise RunnerError(f"{where}: {path} is not there; compile the component again")
    if threads < 1:
        raise RunnerError(f"{where}: cannot run on {threads} threads; give 1 or more")
    package, extra = PACKAGES[backend]
    try:
        importlib.import_module(package)
    except ImportError as cause:
        raise BackendMissingError(f"{where}: {package} cannot be imported ({cause}); pip install '{extra}'") from cause
    opened: Runner = importlib.import_module(f"porting.runners.{backend}").open_artifact(
        path, spec, threads, artifact.precision
    )
    return opened
