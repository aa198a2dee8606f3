"""Energy, clock and slowdowns of the NVIDIA device that a program's first CUDA device is, from NVML."""

import ctypes
from collections.abc import Callable
from typing import Any

from porting.devices.gauge import GaugeReading
from porting.devices.nvidia import LIBRARY, load_nvml

SOURCE = "NVML"
BUS_ID_BYTES = 32
SLOWDOWNS = {
    0x08: "hardware slowdown",
    0x20: "heat (software)",
    0x40: "heat (hardware)",
    0x80: "power brake",
}
"""Bits of nvmlClocksEventReasons of a device in trouble; a power cap is its own working point and none."""


def open_reader() -> Callable[[], GaugeReading]:
    """A function that reads the device; where there is none, it says why each time."""
    try:
        nvml = load_nvml()
    except ImportError as cause:
        return _silent(f"nvidia-ml-py is not installed ({cause})")
    try:
        nvml.nvmlInit()
        handle = _find_handle(nvml)
    except (nvml.NVMLError, OSError) as cause:
        return _silent(f"NVML: {cause}")
    if handle is None:
        return _silent("NVML lists several devices, and CUDA does not tell which of them programs use")
    return lambda: _read(nvml, handle)


def _silent(note: str) -> Callable[[], GaugeReading]:
    return lambda: GaugeReading(SOURCE, note=note)


def _find_handle(nvml: Any) -> Any:
    """The device of CUDA's ordinal 0, None where it cannot be told; CUDA_VISIBLE_DEVICES means nothing to NVML."""
    if nvml.nvmlDeviceGetCount() == 1:
        return nvml.nvmlDeviceGetHandleByIndex(0)
    bus_id = _first_bus_id()
    return None if bus_id is None else nvml.nvmlDeviceGetHandleByPciBusId(bus_id)


def _first_bus_id() -> bytes | None:
    """Where on the bus the first device sits that CUDA offers to programs."""
    try:
        cuda = ctypes.CDLL(LIBRARY)
        name = ctypes.create_string_buffer(BUS_ID_BYTES)
        statuses = (cuda.cuInit(ctypes.c_uint(0)), cuda.cuDeviceGetPCIBusId(name, BUS_ID_BYTES, ctypes.c_int(0)))
    except (OSError, AttributeError):
        return None
    return None if any(statuses) else name.value


def _read(nvml: Any, handle: Any) -> GaugeReading:
    """What of the three the device tells."""
    notes: list[str] = []

    def ask(name: str, *arguments: int) -> Any:
        try:
            return getattr(nvml, name)(handle, *arguments)
        except (nvml.NVMLError, AttributeError) as cause:
            notes.append(f"{name}: {cause}")
            return None

    energy = ask("nvmlDeviceGetTotalEnergyConsumption")
    clock = ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM)
    reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    return GaugeReading(
        source=SOURCE,
        energy_joules=None if energy is None else float(energy) * 1e-3,
        clock_mhz=None if clock is None else float(clock),
        slowed_by=tuple(name for bit, name in SLOWDOWNS.items() if reasons is not None and int(reasons) & bit),
        note="; ".join(notes),
    )
