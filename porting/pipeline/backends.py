"""What backends are like: what supplies them, which devices they serve, and whether they build without one.

The facts are of the backends' current releases. Whether one is installed here is looked up, never assumed.
"""

import importlib.metadata
import importlib.util
from dataclasses import dataclass, field

from porting.profile import BACKEND_KINDS


@dataclass(frozen=True)
class Backend:
    """One compiler with its runtime."""

    distributions: tuple[str, ...]
    """Those that can supply it, any one of them."""
    extra: str
    """What of worldport installs it."""
    crosses: bool = False
    """It builds for a device that is not here; others build on the device itself."""
    chips: tuple[str, ...] | None = None
    """The architectures that it builds for, where they are few; None leaves that to the profiles."""
    floor: str | None = None
    """Under what name a profile's `software` gives the oldest version that serves the target."""
    readers: dict[str, str] = field(default_factory=dict)
    """Kind of device -> a further distribution without which the artifact cannot be read back."""
    prepared_by: str | None = None
    """The backend that makes, on any host, a part of what this one builds on the device."""


BACKENDS: dict[str, Backend] = {
    "onnxruntime": Backend(("onnxruntime", "onnxruntime-gpu", "onnxruntime-migraphx"), "onnxruntime"),
    "openvino": Backend(("openvino",), "openvino"),
    "inductor": Backend(("torch",), "torch"),
    "tensorrt": Backend(("tensorrt",), "tensorrt", floor="tensorrt"),
    "tensorrt_plugins": Backend(("tensorrt",), "tensorrt", floor="tensorrt", prepared_by="triton"),
    "tensorrt_rtx": Backend(
        ("tensorrt-rtx",),
        "tensorrt-rtx",
        crosses=True,
        # ComputeCapability of its 1.7 bindings.
        chips=("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121"),
        floor="tensorrt_rtx",
    ),
    "triton": Backend(("triton",), "cross", crosses=True, floor="triton", readers={"cuda": "nvidia-cuda-nvdisasm"}),
    "onnxruntime_tensorrt": Backend(("onnxruntime-gpu",), "onnxruntime-gpu"),
    "onnxruntime_cuda": Backend(("onnxruntime-gpu",), "onnxruntime-gpu"),
    "migraphx": Backend(("onnxruntime-migraphx",), "migraphx"),
}
DISTRIBUTIONS: dict[str, tuple[str, ...]] = {name: backend.distributions for name, backend in BACKENDS.items()}
"""Backend -> the distributions that can supply it, any one of them."""
KERNEL_COMPILER = "porting.kernel_compiler"


@dataclass(frozen=True)
class Requirement:
    """A package that something needs."""

    name: str
    version: str | None
    """None where it is missing."""
    purpose: str
    advice: str
    """What to type to install it."""
    needed: bool
    """A port of a checkpoint to this host's CPU cannot run without it."""


def find_version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def advise(extra: str) -> str:
    """What to type to install what an extra stands for."""
    return f"pip install 'worldport[{extra}]'"


def list_requirements() -> list[Requirement]:
    """Every package that makes, compiles or runs something, installed or not."""
    wanted = (
        ("torch", "reading checkpoints; the inductor backend", "torch", True),
        ("onnx", "exporting components", "torch", True),
        ("onnxscript", "exporting components", "torch", True),
        ("onnxruntime", "a backend of cpu", "onnxruntime", True),
        ("openvino", "a backend of cpu", "openvino", True),
        ("triton", "compiling kernels for every GPU target, with no device", "cross", False),
        ("tensorrt-rtx", "building engines for sm_75 to sm_89, sm_120 and sm_121, with no device", "cross", False),
        ("nvidia-cuda-nvdisasm", "reading back what was compiled for NVIDIA targets", "cross", False),
        ("tensorrt", "NVIDIA targets, on the device itself", "tensorrt", False),
        ("onnxruntime-gpu", "NVIDIA targets, on the device itself", "onnxruntime-gpu", False),
        ("onnxruntime-migraphx", "AMD targets, on the device itself", "migraphx", False),
        ("nvidia-ml-py", "driver, clocks and power of NVIDIA devices", "nvidia", False),
    )
    return [
        Requirement(name, find_version(name), purpose, advise(extra), needed) for name, purpose, extra, needed in wanted
    ]


def serves(backend: str, kind: str) -> bool:
    """True when the backend makes something for that kind of device."""
    return kind in BACKEND_KINDS[backend]


def has_compiler(backend: str) -> bool:
    """True when this version of worldport can drive the backend's compiler."""
    return _has_module(f"porting.compilers.{backend}")


def has_runner(backend: str) -> bool:
    """True when this version of worldport can run what that backend made."""
    return _has_module(f"porting.runners.{backend}")


def has_kernel_compiler() -> bool:
    """True when this version of worldport compiles kernels by themselves."""
    return _has_module(KERNEL_COMPILER)


def _has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
