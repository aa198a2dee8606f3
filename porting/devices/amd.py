"""AMD's devices: the kernel's own topology says which there are, AMD SMI what they are called.

The topology is plain files that the amdgpu driver keeps; AMD SMI is optional, and raises at import where its library
is missing.
"""

import importlib
import os
from pathlib import Path
from typing import Any

from porting.devices.census import Census, FoundDevice

TOPOLOGY = Path("/sys/class/kfd/kfd/topology/nodes")
DEVICE_FILE = Path("/dev/kfd")
DRIVER_VERSION = Path("/sys/module/amdgpu/version")
HIDING_VARIABLES = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""Which devices ROCm's runtimes show to a process; the topology does not look at them."""
HEAPS_OF_DEVICE = {"1", "2"}
"""Memory of the device itself, seen by the host or not, as HSA's thunk numbers heaps."""


def take_census(
    topology: Path = TOPOLOGY, device_file: Path = DEVICE_FILE, driver_version: Path = DRIVER_VERSION
) -> Census:
    """Every device that ROCm programs can use here."""
    if not topology.is_dir():
        return Census("hip", note=f"no AMD driver ({topology} is not there)")
    driver = _read(driver_version).strip()
    found = [device for node in sorted(topology.iterdir(), key=_number) if (device := _describe_node(node)) is not None]
    if not found:
        return Census("hip", driver=driver, note="the AMD driver lists no accelerator")
    listed = ", ".join(device.architecture for device in found)
    if not os.access(device_file, os.R_OK | os.W_OK):
        note = f"the AMD driver lists {listed}, but this user may not open {device_file}; join the group render"
        return Census("hip", driver=driver, note=note)
    hidden = [name for name in HIDING_VARIABLES if os.environ.get(name) in {"", "-1"}]
    if hidden:
        return Census("hip", driver=driver, note=f"{hidden[0]} hides every device from programs, also {listed}")
    return _name_devices(tuple(found), driver)


def _number(node: Path) -> int:
    return int(node.name) if node.name.isdigit() else -1


def _describe_node(node: Path) -> FoundDevice | None:
    """The accelerator of one node; None for a CPU, and for a node that the driver does not let be read."""
    properties = _properties(node / "properties")
    version = int(properties.get("gfx_target_version", "0"))
    if version == 0:
        return None
    simds, per_unit = int(properties.get("simd_count", "0")), int(properties.get("simd_per_cu", "0"))
    banks = [_properties(bank / "properties") for bank in sorted((node / "mem_banks").glob("*"))]
    memory = sum(int(b.get("size_in_bytes", "0")) for b in banks if b.get("heap_type") in HEAPS_OF_DEVICE)
    return FoundDevice(
        kind="hip",
        name="",
        architecture=name_architecture(version),
        memory_bytes=memory or None,
        multiprocessors=simds // per_unit if per_unit else None,
    )


def name_architecture(version: int) -> str:
    """gfx942 of 90402: major, minor and stepping are two decimal digits each, and written in hexadecimal."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _properties(path: Path) -> dict[str, str]:
    pairs = (line.split() for line in _read(path).splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def load_smi() -> Any:
    """AMD SMI's bindings.

    Raises:
        ImportError, KeyError, OSError, AttributeError: they are not installed, or do not find their library.
    """
    return importlib.import_module("amdsmi")


def _name_devices(devices: tuple[FoundDevice, ...], driver: str) -> Census:
    """The same devices with AMD SMI's names, where it knows as many of the same architectures."""
    try:
        smi = load_smi()
    except (ImportError, KeyError, OSError, AttributeError) as cause:
        return Census("hip", devices, driver, f"devices have no names: AMD SMI is of no use here ({cause!r})")
    try:
        smi.amdsmi_init()
        told = [_ask_smi(smi, handle) for handle in smi.amdsmi_get_processor_handles()]
    except (smi.AmdSmiException, KeyError) as cause:
        return Census("hip", devices, driver, f"devices have no names: AMD SMI failed ({cause})")
    if [architecture for architecture, _ in told] != [device.architecture for device in devices]:
        listed = ", ".join(architecture for architecture, _ in told) or "none"
        return Census("hip", devices, driver, f"the AMD driver contradicts AMD SMI, which lists {listed}")
    pairs = zip(devices, told, strict=True)
    named = (
        FoundDevice("hip", name, device.architecture, device.memory_bytes, device.multiprocessors)
        for device, (_, name) in pairs
    )
    return Census("hip", tuple(named), driver)


def _ask_smi(smi: Any, handle: Any) -> tuple[str, str]:
    """Architecture and market name."""
    told = smi.amdsmi_get_gpu_asic_info(handle)
    return str(told["target_graphics_version"]), str(told["market_name"])
