"""NVIDIA's devices: the CUDA driver says what programs can use, NVML what else it knows of.

They can contradict each other: NVML counts devices that are hidden from CUDA or that no driver library reaches. Only
what CUDA offers counts as found, and the contradiction is told.
"""

import ctypes
import importlib
from dataclasses import dataclass
from typing import Any

from porting.devices.census import Census, FoundDevice

LIBRARY = "libcuda.so.1"
# CUdevice_attribute of cuda.h.
MULTIPROCESSOR_COUNT = 16
COMPUTE_CAPABILITY_MAJOR = 75
COMPUTE_CAPABILITY_MINOR = 76
NAME_BYTES = 256


@dataclass(frozen=True)
class Told:
    """What one of the two said: names of devices by architecture, in its own order, or why it said nothing."""

    devices: tuple[FoundDevice, ...] = ()
    driver: str = ""
    problem: str = ""


class CudaError(Exception):
    """A call of the driver returned an error; the message names it."""


def take_census() -> Census:
    """Every device that CUDA programs can use here."""
    cuda, nvml = ask_cuda(), ask_nvml()
    return Census("cuda", cuda.devices, nvml.driver or cuda.driver, _compare(cuda, nvml))


def _compare(cuda: Told, nvml: Told) -> str:
    """Why CUDA offers nothing, or where NVML contradicts it; empty where both agree or NVML is silent."""
    listed = ", ".join(device.name or device.architecture for device in nvml.devices)
    if not cuda.devices:
        reason = cuda.problem or "CUDA counts no device"
        return f"{reason}, although NVML lists {listed}" if listed else "; ".join(filter(None, (reason, nvml.problem)))
    if not nvml.devices:
        return "" if nvml.problem else "CUDA offers a device, although NVML counts none"
    strange = {device.architecture for device in cuda.devices} - {device.architecture for device in nvml.devices}
    return f"CUDA offers {', '.join(sorted(strange))}, although NVML lists only {listed}" if strange else ""


def load_nvml() -> Any:
    """NVML's bindings.

    Raises:
        ImportError: nvidia-ml-py is not installed.
    """
    return importlib.import_module("pynvml")


def ask_nvml() -> Told:
    """What the management library lists; it sees more than a program may use."""
    try:
        nvml = load_nvml()
    except ImportError as cause:
        return Told(problem=f"nvidia-ml-py is not installed ({cause})")
    try:
        nvml.nvmlInit()
    except (nvml.NVMLError, OSError) as cause:
        return Told(problem=f"NVML: {cause}")
    try:
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return Told(tuple(_describe_handle(nvml, handle) for handle in handles), driver)
    except nvml.NVMLError as cause:
        return Told(problem=f"NVML: {cause}")
    finally:
        nvml.nvmlShutdown()


def _describe_handle(nvml: Any, handle: Any) -> FoundDevice:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return FoundDevice("cuda", _text(nvml.nvmlDeviceGetName(handle)), f"sm_{major}{minor}")


def _text(given: str | bytes) -> str:
    """Older bindings give bytes."""
    return given.decode("utf-8", "replace") if isinstance(given, bytes) else given


def ask_cuda() -> Told:
    """What the driver offers to this process; CUDA_VISIBLE_DEVICES counts."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as cause:
        missing = "cannot open shared object file" in str(cause)
        return Told(problem=f"no CUDA driver ({LIBRARY} is not there)" if missing else f"no CUDA driver ({cause})")
    try:
        _call(library, "cuInit", ctypes.c_uint(0))
        version = ctypes.c_int()
        _call(library, "cuDriverGetVersion", ctypes.byref(version))
        count = ctypes.c_int()
        _call(library, "cuDeviceGetCount", ctypes.byref(count))
        devices = tuple(_describe_device(library, ordinal) for ordinal in range(count.value))
    except CudaError as cause:
        return Told(problem=str(cause))
    driver = f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    return Told(devices, driver)


def _describe_device(library: ctypes.CDLL, ordinal: int) -> FoundDevice:
    device = ctypes.c_int()
    _call(library, "cuDeviceGet", ctypes.byref(device), ctypes.c_int(ordinal))
    name = ctypes.create_string_buffer(NAME_BYTES)
    _call(library, "cuDeviceGetName", name, ctypes.c_int(NAME_BYTES), device)
    memory = ctypes.c_size_t()
    _call(library, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major = _attribute(library, COMPUTE_CAPABILITY_MAJOR, device)
    minor = _attribute(library, COMPUTE_CAPABILITY_MINOR, device)
    return FoundDevice(
        kind="cuda",
        name=name.value.decode("utf-8", "replace"),
        architecture=f"sm_{major}{minor}",
        memory_bytes=memory.value,
        multiprocessors=_attribute(library, MULTIPROCESSOR_COUNT, device),
    )


def _attribute(library: ctypes.CDLL, attribute: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _call(library, "cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(attribute), device)
    return value.value


def _call(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    """Call one function of the driver.

    Raises:
        CudaError: the library lacks it, or it returned an error.
    """
    try:
        function = getattr(library, name)
    except AttributeError as cause:
        raise CudaError(f"{LIBRARY} has no {name}") from cause
    status = function(*arguments)
    if status != 0:
        raise CudaError(f"{name}: {_name_error(library, status)}")


def _name_error(library: ctypes.CDLL, status: int) -> str:
    """CUDA_ERROR_NO_DEVICE of 100, or the number where the library cannot tell."""
    name = ctypes.c_char_p()
    if not hasattr(library, "cuGetErrorName") or library.cuGetErrorName(ctypes.c_int(status), ctypes.byref(name)) != 0:
        return f"error {status}"
    return name.value.decode("ascii", "replace") if name.value else f"error {status}"
