"""Compiles the kernel library for every accelerator of a port, and reads from the binaries what they are.

One stage a target; the compiles of all of them are done in one go when the first of them runs, since importing the
compiler takes longer than most kernels do.
"""

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

VARIANTS = ("bfloat16", "fp8", "mxfp8", "mxfp4", "nvfp4")
"""What evidence is taken in: what these chips are bought for. A chip that cannot take a format has the kernel file's
reason in its place; a port's own precision is compiled with its components."""
COMPILERS = ("triton", "nvidia-cuda-nvdisasm")


def kernels_name(target: str) -> str:
    """The stage's name."""
    return f"kernels {target}"


class KernelBatch:
    """The kernel library, to be compiled for several targets at once."""

    def __init__(self, profiles: tuple[Profile, ...], jobs: int) -> None:
        """Nothing is loaded yet.

        Args:
            profiles: of the targets; a CPU takes no kernels and is passed over.
            jobs: compiles at once.
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
            from porting.kernel_compiler import compile_kernels

            kernels = self._fill()
            out = folder / target_folder(profile.name) / "kernels"
            made = compile_kernels(kernels, profile.device.tuning_key, VARIANTS, out, jobs=self._jobs)
            placed = tuple(_in_bundle(record, folder, out) for record in made)
            return change_target(profile.name, {"kernels": placed})

        def clear(record: PortRecord) -> PortRecord:
            return change_target(profile.name, {"kernels": (), "verdict": None})(record)

        return Stage(
            name=kernels_name(profile.name),
            inputs={
                "architecture": profile.device.tuning_key,
                "sources": sources,
                "variants": list(VARIANTS),
                "versions": find_versions(COMPILERS),
                "worldport": __version__,
            },
            work=work,
            clear=clear,
        )

    def _fill(self) -> dict[str, Kernel]:
        """The loaded kernels, once all of them are compiled for all targets."""
        from porting.kernel_compiler import fill_cache

        with self._filling:
            if self._kernels is None:
                kernels = find_kernels()
                fill_cache(kernels, [p.device.tuning_key for p in self.profiles], VARIANTS, jobs=self._jobs)
                self._kernels = kernels
            return self._kernels


def _in_bundle(record: KernelRecord, folder: Path, out: Path) -> KernelRecord:
    """Its files counted from the bundle."""
    return record.model_copy(update={"files": tuple((out / f).relative_to(folder).as_posix() for f in record.files)})
