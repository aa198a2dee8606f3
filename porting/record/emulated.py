"""What compiled kernels computed when an emulator executed their code on a CPU: evidence of its own kind.

It proves lowering, addressing, layouts and synchronisation of the compiled text under the emulator's reading of the
architecture. It never stands in for parity on a device.
"""

import math
from typing import Annotated

from pydantic import Field

from porting.record.made import Sha256
from porting.tensor_spec import Model

EMULATED = "compiled kernels compute what their references do, emulated"
"""Name of the check over all of them."""


class EmulatedLaunch(Model):
    """One launch of one example, executed once for each schedule."""

    sizes: tuple[int, ...]
    """What the file's `example` was called with."""
    grid: tuple[int, ...]
    warps: int
    """Of one program."""
    text_sha256: Sha256
    """Of the compiled text without source lines, comments and the name of the target."""
    executed_as: str
    """The architecture that this text was executed for; another one where it compiles to the very same text."""
    ratio: float | None = None
    """Worst output's error over the reference's own rounding; None where it was not executed to its end."""
    complaints: tuple[str, ...] = ()
    """What is wrong with the outputs, a sentence each."""
    fault: str | None = None
    """What the emulator found, with the instruction and the kernel's source line."""
    schedules: tuple[str, ...] = ()
    """Those that were executed to their end: "eager", "lazy", "lazy, last warp first"."""
    same_bits: bool | None = None
    """Whether every schedule wrote the same bits."""
    instructions: dict[str, int] = {}
    """Mnemonic -> warp-wide executions, of one schedule."""
    bytes_read: dict[str, int] = {}
    """By memory space."""
    bytes_written: dict[str, int] = {}
    bank_conflicts: Annotated[int, Field(ge=0)] = 0
    """Turns of shared memory beyond the least that each access takes."""
    seconds: float = 0.0
    """Over all schedules."""


class EmulatedKernel(Model):
    """One kernel in one variant, compiled for one architecture with its tuning and executed on its first examples."""

    kernel: str
    variant: str
    architecture: str
    source_digest: Sha256
    """Of the kernel file."""
    tuning: dict[str, int]
    unsupported: str | None = None
    """The kernel file's reason why this architecture cannot take it; nothing was executed then."""
    error: str | None = None
    """Why it was not executed otherwise: the compiler's last words, or a time limit."""
    launches: tuple[EmulatedLaunch, ...] = ()

    @property
    def ratio(self) -> float | None:
        """The worst of its launches; None without any, or where one was not executed to its end."""
        ratios = [launch.ratio for launch in self.launches]
        if not ratios or None in ratios:
            return None
        numbers = [ratio for ratio in ratios if ratio is not None]
        return math.nan if any(map(math.isnan, numbers)) else max(numbers)

    @property
    def trouble(self) -> str | None:
        """What is wrong with it, in words; None where everything held. Not being executed is trouble, too."""
        if self.error is not None:
            return self.error
        for launch in self.launches:
            where = "x".join(map(str, launch.sizes))
            if launch.fault is not None:
                return f"{where}: {launch.fault}"
            if launch.complaints:
                return f"{where}: {launch.complaints[0]}"
            if not launch.same_bits or launch.ratio is None:
                return f"{where}: schedules differ in the bits that they write"
        return None if self.launches or self.unsupported else "nothing was executed"
