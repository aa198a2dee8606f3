"""Whether this host has the device that a component is compiled for: some compilers time their kernels on it."""

from porting.compilers.base import CompileRequest, require_architecture
from porting.devices import find_devices
from porting.errors import CompileError


def require_device(request: CompileRequest) -> None:
    """Find the device of the architecture asked for.

    Raises:
        CompileError: it is not here; the message says what is, and where to compile instead.
    """
    wanted = require_architecture(request)
    census = find_devices("hip" if wanted.startswith("gfx") else "cuda")
    found = {device.architecture for device in census.devices}
    if wanted in found:
        return
    here = ", ".join(sorted(found)) or f"none ({census.note or 'the driver lists no device'})"
    raise CompileError(
        f"{request.where}: needs the {wanted} device, and this host has {here};"
        " run `worldport compile BUNDLE` on the host that has it"
    )
