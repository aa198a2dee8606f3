"""Whether this host has the AMD device that a component is compiled for, from what the kernel driver tells of it."""

import re
from pathlib import Path

from porting.compilers.base import CompileRequest, require_architecture
from porting.errors import CompileError

TOPOLOGY = Path("/sys/class/kfd/kfd/topology/nodes")
TARGET_VERSION = re.compile(r"^gfx_target_version (\d+)$", re.MULTILINE)


def require_device(request: CompileRequest) -> None:
    """Find the device of the architecture asked for.

    Raises:
        CompileError: it is not here; the message says what is, and where to compile instead.
    """
    wanted = require_architecture(request)
    found = find_architectures()
    if wanted in found:
        return
    here = ", ".join(sorted(set(found))) or "no AMD driver or device"
    raise CompileError(
        f"{request.where}: needs the {wanted} device, and this host has {here};"
        " run `worldport compile BUNDLE` on the host that has it"
    )


def find_architectures(topology: Path = TOPOLOGY) -> tuple[str, ...]:
    """The architecture of each AMD device, for example gfx942; none without the driver."""
    found = []
    for properties in sorted(topology.glob("*/properties")):
        try:
            numbers = TARGET_VERSION.findall(properties.read_text(encoding="ascii", errors="replace"))
        except OSError:
            continue
        # A node that is a CPU has version 0.
        found += [name_architecture(int(number)) for number in numbers if int(number)]
    return tuple(found)


def name_architecture(version: int) -> str:
    """The driver's number as the compiler's name: 90402 is gfx942, 90010 gfx90a, 120001 gfx1201."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"
