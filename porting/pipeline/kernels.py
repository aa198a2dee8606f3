"""Compiles the kernel library for every accelerator of a port, and reads from the binaries what they are.

One stage a target; the compiles of all of them are done in one go when the first of them runs, since importing the
compiler takes longer than most kernels do.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from threading import Lock

from porting import __version__
from porting.bundle import digest_file
from porting.kernel_library import Kernel, find_kernels, kernel_paths
from porting.pipeline.abilities import find_versions
from porting.pipeline.compiling import change_target, target_folder
from porting.pipeline.workshop import Stage, Update
from porting.profile import Profile
from porting.record import KernelRecord, PortRecord
from porting.tensor_spec import Model

VARIANTS = ("bfloat16", "fp8", "mxfp8", "mxfp4", "nvfp4")
"""What evidence is taken in: what these chips are bought for. A chip that cannot take a format has the kernel file's
reason in its place; a port's own precision is compiled with its components."""
COMPILERS = ("triton", "nvidia-cuda-nvdisasm")


def kernels_name(target: str) -> str:
    """The stage's name."""
    return f"kernels {target}"


class KernelStages(ABC):
    """Stages over the kernel library, one a target; the first that runs does the work of all of them."""

    purpose: str
    """Begins each stage's name."""
    field: str
    """Of the target's record, which each stage fills."""
    packages: tuple[str, ...]
    """Whose versions decide what comes out."""

    def __init__(self, profiles: tuple[Profile, ...], jobs: int) -> None:
        """Nothing is loaded yet.

        Args:
            profiles: of the targets; a CPU takes no kernels and is passed over.
            jobs: kernels at once.
        """
        self.profiles = tuple(profile for profile in profiles if profile.device.kind != "cpu")
        self.jobs = jobs
        self._filling = Lock()
        self._kernels: dict[str, Kernel] | None = None

    def plan(self) -> list[Stage]:
        """One stage a target."""
        sources = {name: digest_file(path) for name, path in kernel_paths().items()}
        return [self._plan(profile, sources) for profile in self.profiles]

    @abstractmethod
    def fill(self, kernels: dict[str, Kernel], architectures: list[str]) -> None:
        """Do the work of all targets, so that each then finds its own in a cache."""

    @abstractmethod
    def find(self, kernels: dict[str, Kernel], profile: Profile, folder: Path) -> tuple[Model, ...]:
        """The records of one target; files go into the folder, which is laid out like the bundle."""

    def _plan(self, profile: Profile, sources: dict[str, str]) -> Stage:
        def work(folder: Path) -> Update:
            return change_target(profile.name, {self.field: self.find(self._fill(), profile, folder)})

        def clear(record: PortRecord) -> PortRecord:
            return change_target(profile.name, {self.field: (), "verdict": None})(record)

        return Stage(
            name=f"{self.purpose} {profile.name}",
            inputs={
                "architecture": profile.device.tuning_key,
                "sources": sources,
                "variants": list(VARIANTS),
                "versions": find_versions(self.packages),
                "worldport": __version__,
            },
            work=work,
            clear=clear,
        )

    def _fill(self) -> dict[str, Kernel]:
        """The loaded kernels, once the work of all targets is done."""
        with self._filling:
            if self._kernels is None:
                kernels = find_kernels()
                self.fill(kernels, [profile.device.tuning_key for profile in self.profiles])
                self._kernels = kernels
            return self._kernels


class KernelBatch(KernelStages):
    """The kernel library, to be compiled for several targets at once."""

    purpose, field, packages = "kernels", "kernels", COMPILERS

    def fill(self, kernels: dict[str, Kernel], architectures: list[str]) -> None:
        """Compile for all targets."""
        from porting.kernel_compiler import fill_cache

        fill_cache(kernels, architectures, VARIANTS, jobs=self.jobs)

    def find(self, kernels: dict[str, Kernel], profile: Profile, folder: Path) -> tuple[Model, ...]:
        """The binaries of one target, and what was read from them."""
        from porting.kernel_compiler import compile_kernels

        out = folder / target_folder(profile.name) / "kernels"
        made = compile_kernels(kernels, profile.device.tuning_key, VARIANTS, out, jobs=self.jobs)
        return tuple(_in_bundle(record, folder, out) for record in made)


def _in_bundle(record: KernelRecord, folder: Path, out: Path) -> KernelRecord:
    """Its files counted from the bundle."""
    return record.model_copy(update={"files": tuple((out / f).relative_to(folder).as_posix() for f in record.files)})
