"""Stages that execute compiled kernels in an emulator, for targets whose device is not here; one stage a target.

All targets are done in one go when the first of them runs: importing the compiler takes longer than most kernels do,
and chips that get the same text share its execution.
"""

from importlib.util import find_spec
from pathlib import Path

from porting.kernel_library import Kernel
from porting.pipeline.kernels import VARIANTS, KernelStages
from porting.profile import Profile
from porting.tensor_spec import Model

NEEDED = ("triton", "torch", "ml_dtypes")


def why_not_emulated() -> str | None:
    """What this host lacks for it; None where it lacks nothing."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    return f"{', '.join(lacking)} not installed; install worldport[triton]" if lacking else None


class KernelEmulation(KernelStages):
    """The kernel library, to be executed as compiled for several targets."""

    purpose, field, packages = "emulate", "emulated", ("triton", "torch", "numpy")

    def fill(self, kernels: dict[str, Kernel], architectures: list[str]) -> None:
        """Execute for all targets."""
        from porting.emulation import emulate_kernels

        emulate_kernels(kernels, architectures, VARIANTS, jobs=self.jobs)

    def find(self, kernels: dict[str, Kernel], profile: Profile, folder: Path) -> tuple[Model, ...]:
        """What the executions of one target came to; there are no files."""
        from porting.emulation import emulate_kernels

        return emulate_kernels(kernels, (profile.device.tuning_key,), VARIANTS, jobs=self.jobs)
