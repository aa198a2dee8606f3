"""Whether this host has the CUDA device that a component is compiled for: some compilers time their kernels on it."""

import importlib
from typing import Any

from porting.compilers.base import CompileRequest, require_architecture
from porting.errors import CompileError

BINDINGS = "cuda.bindings.runtime"


def require_device(request: CompileRequest) -> None:
    """Find the device of the architecture asked for.

    Raises:
        CompileError: it is not here; the message says what is, and where to compile instead.
    """
    wanted = require_architecture(request)
    found = find_architectures()
    if wanted in found:
        return
    here = ", ".join(sorted(set(found))) or "no NVIDIA driver or device"
    raise CompileError(
        f"{request.where}: needs the {wanted} device, and this host has {here};"
        " run `worldport compile BUNDLE` on the host that has it"
    )


def find_architectures() -> tuple[str, ...]:
    """The architecture of each visible CUDA device; none without cuda-bindings, a driver or a device."""
    try:
        runtime: Any = importlib.import_module(BINDINGS)
    except ImportError:
        return ()
    status, count = runtime.cudaGetDeviceCount()
    if int(status) != 0:
        return ()
    attributes = runtime.cudaDeviceAttr
    found = []
    for index in range(count):
        parts = [
            runtime.cudaDeviceGetAttribute(attribute, index)
            for attribute in (
                attributes.cudaDevAttrComputeCapabilityMajor,
                attributes.cudaDevAttrComputeCapabilityMinor,
            )
        ]
        if all(int(part[0]) == 0 for part in parts):
            found.append(f"sm_{parts[0][1]}{parts[1][1]}")
    return tuple(found)
