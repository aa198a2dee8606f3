"""Stages that execute compiled kernels in an emulator, for targets whose device is not here; one stage a target.

All targets are done in one go when the first of them runs: importing the compiler takes longer than most kernels do,
and chips that get the same text share its execution.
"""

from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from porting import __version__
from porting.bundle import digest_file
from porting.kernel_library import Kernel, find_kernels, kernel_paths
from porting.pipeline.abilities import find_versions
from porting.pipeline.compiling import change_target
from porting.pipeline.kernels import VARIANTS
from porting.pipeline.workshop import Stage, Update
from porting.profile import Profile
from porting.record import PortRecord

NEEDED = ("triton", "torch", "ml_dtypes")


def emulation_name(target: str) -> str:
    """The stage's name."""
    return f"emulate {target}"


def why_not_emulated() -> str | None:
    """What this host lacks for it; None where it lacks nothing."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    return f"{', '.join(lacking)} not installed; install worldport[triton]" if lacking else None


class KernelEmulation:
    """The kernel library, to be executed as compiled for several targets."""

    def __init__(self, profiles: tuple[Profile, ...], jobs: int) -> None:
        """Nothing is loaded yet.

        Args:
            profiles: of the targets; a CPU takes no kernels and is passed over.
            jobs: kernels at once.
        """
        self.profiles = tuple(profile for profile in profiles if profile.device.kind != "cpu")
        self._jobs = jobs
        self._filling = Lock()
        self._kernels: dict[str, Kernel] | None = None

    def plan(self) -> list[Stage]:
        """One stage a target."""
        sources = {name: digest_file(path) for name, path in kernel_paths().items()}
        return [self._plan(profile, sources) for profile in self.profiles]

    def _plan(self, profile: Profile, sources: dict[str, str]) -> Stage:
        def work(folder: Path) -> Update:
            from porting.emulation import emulate_kernels

            made = emulate_kernels(self._fill(), (profile.device.tuning_key,), VARIANTS, jobs=self._jobs)
            return change_target(profile.name, {"emulated": made})

        def clear(record: PortRecord) -> PortRecord:
            return change_target(profile.name, {"emulated": (), "verdict": None})(record)

        return Stage(
            name=emulation_name(profile.name),
            inputs={
                "architecture": profile.device.tuning_key,
                "sources": sources,
                "variants": list(VARIANTS),
                "versions": find_versions(("triton", "torch", "numpy")),
                "worldport": __version__,
            },
            work=work,
            clear=clear,
        )

    def _fill(self) -> dict[str, Kernel]:
        """The loaded kernels, once all of them were executed for all targets."""
        from porting.emulation import emulate_kernels

        with self._filling:
            if self._kernels is None:
                kernels = find_kernels()
                emulate_kernels(kernels, [p.device.tuning_key for p in self.profiles], VARIANTS, jobs=self._jobs)
                self._kernels = kernels
            return self._kernels
