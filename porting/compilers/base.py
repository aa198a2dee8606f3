"""What every compiler takes and what it must be able to say of its artifact."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from porting.errors import CompileError
from porting.program import ComponentSpec
from porting.record import Attestation
from porting.tensor_spec import UNIT_ROUNDOFF, Model, Precision

INTEGER = "integer"
"""Layers that hold no floating number: shapes, indices, masks. No precision is asked of them."""

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
"""Backend -> the package that compiles for it, and what to install."""

NEEDS_DEVICE = frozenset({"tensorrt", "tensorrt_plugins", "onnxruntime_cuda", "onnxruntime_tensorrt", "migraphx"})
"""Backends that time or compile kernels on the device itself, so that only its host compiles for it."""

TIMES_KERNELS = frozenset({"tensorrt", "tensorrt_plugins"})
"""Backends that keep kernel times from one build to the next. TensorRT-RTX times none: it chooses on loading."""


class BatchRange(Model):
    """Worlds that one call may step, side by side on axis 0; the engine is tuned for `usual`."""

    least: Annotated[int, Field(ge=1)] = 1
    usual: Annotated[int, Field(ge=1)]
    most: Annotated[int, Field(ge=1)]
    shared: tuple[str, ...] = ()
    """Inputs that all worlds have in common, for example the noise levels of a sampler."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.least <= self.usual <= self.most:
            raise ValueError(f"batch {self.least}, {self.usual}, {self.most} does not rise")
        return self


class CompileRequest(Model):
    """One component, one backend, one precision; as JSON it is what the child process reads."""

    component: ComponentSpec
    components_dir: Path
    """Holds `<component>.onnx`, its `.onnx.data` where there is one, and `<component>.pt2`."""
    backend: str
    precision: Precision
    opset: int
    out_dir: Path
    threads: Annotated[int, Field(gt=0)]
    timeout_seconds: Annotated[float, Field(gt=0)] = 1800.0
    architecture: str | None = None
    """What the profile calls the device: sm_120, gfx950; None for a CPU."""
    batch: BatchRange | None = None
    """None compiles the static shapes of the program, which is what the runners drive."""
    hardware: Literal["same device", "same architecture", "newer architectures"] = "same device"
    """Where an engine that is timed on a device shall run too; the further, the fewer kernels there are to choose."""
    newer_versions: bool = False
    """Whether such an engine shall run under newer versions of its library too."""
    timing_cache: Path | None = None
    """A file that a compiler which times kernels on the device reads first and writes back."""
    with_plugins: bool = False
    """Whether backend triton also writes its kernels as TensorRT plugins."""
    plugins: Path | None = None
    """What it wrote so, for backend tensorrt_plugins."""

    @property
    def where(self) -> str:
        """How messages name this compile."""
        return f"{self.component.name} for {self.backend} {self.precision}"

    def source(self, suffix: str) -> Path:
        """The component's exported file.

        Raises:
            CompileError: it is not there.
        """
        path = self.components_dir / f"{self.component.name}{suffix}"
        if not path.is_file():
            raise CompileError(f"{self.where}: {path} is not there; export the component first")
        return path

    def artifact(self, suffix: str) -> Path:
        """Where the artifact is written: `<component>.<backend><suffix>`."""
        return self.out_dir / f"{self.component.name}.{self.backend}{suffix}"


def require_backend(request: CompileRequest) -> None:
    """Know the backend and find its package.

    Raises:
        CompileError: no such backend, or its package is not installed.
    """
    if request.backend not in PACKAGES:
        raise CompileError(f"{request.where}: no such backend; there are {', '.join(sorted(PACKAGES))}")
    package, extra = PACKAGES[request.backend]
    if importlib.util.find_spec(package) is not None:
        return
    if request.backend not in NEEDS_DEVICE:
        raise CompileError(f"{request.where}: {package} is not installed; pip install '{extra}'")
    raise CompileError(
        f"{request.where}: {package} is not installed, and compiles on the {request.architecture} device only;"
        f" pip install '{extra}' on the host that has it and run `worldport compile BUNDLE` there"
    )


def require_architecture(request: CompileRequest) -> str:
    """The architecture asked for.

    Raises:
        CompileError: the request names none.
    """
    if request.architecture is None:
        raise CompileError(f"{request.where}: no architecture was named; set device.architecture in the profile")
    return request.architecture


def names_device(request: CompileRequest) -> bool:
    """True when the architecture asked for is a GPU's."""
    return request.architecture is not None and request.architecture.startswith(("sm_", "gfx"))


def require_cpu(request: CompileRequest) -> None:
    """Refuse a device's architecture, for backends whose artifacts run on this host's CPU.

    Raises:
        CompileError: the request names a GPU.
    """
    if names_device(request):
        raise CompileError(
            f"{request.where}: makes artifacts for a CPU, not for {request.architecture}; use another backend"
        )


def require_static(request: CompileRequest) -> None:
    """Refuse a range of batches, for backends that compile static shapes only.

    Raises:
        CompileError: the request has one.
    """
    if request.batch is not None:
        raise CompileError(f"{request.where}: compiles static shapes only; leave the batch out of the request")


def require_precision(request: CompileRequest, supported: Iterable[Precision]) -> None:
    """Refuse, before anything is compiled, what the backend cannot do here.

    Raises:
        CompileError: the precision is not among those.
    """
    if request.precision not in supported:
        raise CompileError(f"{request.where}: not supported; ask for one of {', '.join(supported)}")


def check_attestation(request: CompileRequest, attestation: Attestation) -> None:
    """Hold the artifact's own account against what was asked: the precision is there, and nothing is coarser.

    Raises:
        CompileError: no layer computes in the precision asked for, or one computes in a coarser one.
    """
    found = {name: count for name, count in attestation.layers_by_precision.items() if count}
    if not found.get(request.precision):
        raise CompileError(f"{request.where}: no layer computes in it, but {found or 'none at all'}; ask for another")
    allowed = UNIT_ROUNDOFF[request.precision]
    coarser = {n: c for n, c in found.items() if n != INTEGER and UNIT_ROUNDOFF.get(n, 1.0) > allowed}  # type: ignore[call-overload]
    if coarser:
        raise CompileError(f"{request.where}: silently computes layers in {coarser}; ask for that, or drop the backend")
