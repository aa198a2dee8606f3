"""Whether this host has the CUDA device that a component is compiled for: some compilers time their kernels on it.

It asks NVIDIA's driver itself, whose C interface is stable, so that a host needs no bindings to be recognised.
"""

import ctypes
from typing import Any

from porting.compilers.base import CompileRequest, require_architecture
from porting.errors import CompileError

DRIVER_LIBRARY = "libcuda.so.1"
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""


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
    """The architecture of each visible CUDA device, for example sm_90; none without a driver or a device."""
    driver = load_driver()
    count = ctypes.c_int()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    found = []
    for ordinal in range(count.value):
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        failed = (
            driver.cuDeviceGet(ctypes.byref(device), ordinal)
            or driver.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, device)
            or driver.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, device)
        )
        if not failed:
            found.append(f"sm_{major.value}{minor.value}")
    return tuple(found)


def load_driver() -> Any:
    """NVIDIA's driver, or None where there is none."""
    try:
        return ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return None
