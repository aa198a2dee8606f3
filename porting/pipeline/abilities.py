"""What this host can do: which backends are installed, and how high on the evidence ladder a target can climb here."""

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass

from porting.profile import Profile
from porting.record import Step

DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-migraphx"),
    "openvino": ("openvino",),
    "inductor": ("torch",),
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt-rtx",),
    "triton": ("triton",),
    "migraphx": ("onnxruntime-migraphx",),
}
"""Backend -> the distributions that can supply it, any one of them."""
DEVICE_FILES = {"cuda": "/dev/nvidiactl", "hip": "/dev/kfd"}


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


@dataclass(frozen=True)
class Ability:
    """What this host can do for one target."""

    target: str
    highest: Step | None
    """None when it cannot even compile for it."""
    reason: str
    backends: dict[str, bool]
    """Backend of the profile -> its compiler is here and this version of worldport drives it."""


def find_version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def find_versions(distributions: tuple[str, ...]) -> dict[str, str | None]:
    """Versions of several distributions, for cache keys and tables."""
    return {name: find_version(name) for name in distributions}


def list_requirements() -> list[Requirement]:
    """Every package that makes, compiles or runs something, installed or not."""
    wanted = (
        ("torch", "reading checkpoints; the inductor backend", "torch", True),
        ("onnx", "exporting components", "torch", True),
        ("onnxscript", "exporting components", "torch", True),
        ("onnxruntime", "a backend of cpu", "onnxruntime", True),
        ("openvino", "a backend of cpu", "openvino", True),
        ("onnxruntime-gpu", "NVIDIA targets", "onnxruntime-gpu", False),
        ("tensorrt", "NVIDIA targets", "tensorrt", False),
        ("tensorrt-rtx", "NVIDIA targets", "tensorrt-rtx", False),
        ("onnxruntime-migraphx", "AMD targets", "migraphx", False),
        ("triton", "compiling kernels", "triton", False),
    )
    return [
        Requirement(name, find_version(name), purpose, f"pip install 'worldport[{extra}]'", needed)
        for name, purpose, extra, needed in wanted
    ]


def has_device(kind: str) -> bool:
    """True when the driver of that kind of device is loaded; a CPU always is."""
    return kind == "cpu" or os.path.exists(DEVICE_FILES[kind])


def has_backend(backend: str) -> bool:
    """True when this version of worldport drives the backend and its package is installed."""
    driven = importlib.util.find_spec(f"porting.compilers.{backend}") is not None
    return driven and any(find_version(name) for name in DISTRIBUTIONS.get(backend, ()))


def describe_ability(profile: Profile) -> Ability:
    """Hold one profile against this host; nothing is loaded and no device is opened."""
    backends = {name: has_backend(name) for name in profile.compile.backends}
    kind = profile.device.kind
    if not any(backends.values()):
        return Ability(profile.name, None, f"no backend of it is here: {', '.join(backends)}", backends)
    if kind == "cpu":
        return Ability(profile.name, Step.THROUGHPUT, f"this host is one ({platform.machine()})", backends)
    if not has_device(kind):
        return Ability(profile.name, Step.ATTESTED, f"no {kind} device here: compiled, not run", backends)
    return Ability(profile.name, Step.THROUGHPUT, f"a {kind} device is here", backends)
