"""What a target's hardware is: how a compiler calls it, how a host is recognised as it, and its figures."""

import re
from typing import Literal, Self

from pydantic import model_validator

from porting.profile.figures import Figure
from porting.tensor_spec import Model

Format = Literal["fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp6", "mxfp8", "mxfp6", "mxfp4", "nvfp4"]
"""What a matrix unit multiplies."""
Measured = Literal["gemm_bf16_tflops", "gemm_fp8_tflops", "copy_gb_per_s"]
"""What others measured: the best matrix product in a format, the rate of a copy in memory."""
ARCHITECTURES = {"cpu": r"", "cuda": r"sm_[1-9][0-9]+[af]?", "hip": r"gfx[1-9][0-9a-f]{2,3}"}


class Device(Model):
    """What the target is, and how a host is recognised as one. A figure that no source gives is None."""

    kind: Literal["cpu", "cuda", "hip"]
    architecture: str | None = None
    """What the compiler is told, for example sm_100 or gfx950."""
    source: str = ""
    """Where the architecture is stated."""
    products: tuple[str, ...] = ()
    """Words of which a device's own name holds one, where the architecture alone does not tell which product it is."""
    warp_size: Figure | None = None
    """Threads that run in step; AMD's wavefront."""
    multiprocessor: Literal["SM", "CU", "WGP"] | None = None
    """What the vendor calls the unit that is counted, and that shared memory belongs to."""
    multiprocessors: Figure | None = None
    registers_per_thread: Figure | None = None
    shared_kib: Figure | None = None
    """Shared memory (AMD: LDS) of one multiprocessor."""
    shared_kib_per_block: Figure | None = None
    """The most that one block may have of it."""
    tensor_memory_kib: Figure | None = None
    """Memory of the matrix units of one multiprocessor."""
    l2_mib: Figure | None = None
    last_level_cache_mib: Figure | None = None
    """Behind L2, where there is one more."""
    memory_gb: Figure | None = None
    """As the vendor prints it. Some mean 2^30 bytes: whoever must fit something in reads 10^9."""
    bandwidth_gb_per_s: Figure | None = None
    """Of the device's own memory."""
    link_gb_per_s: Figure | None = None
    """To the other devices, both directions: NVLink, Infinity Fabric."""
    power_watts: Figure | None = None
    peaks: dict[Format, Figure] = {}
    """Dense TFLOP/s of a format, as stated."""
    measured: dict[Measured, Figure] = {}
    """What others measured; never mixed with what is stated."""

    @model_validator(mode="after")
    def _keep_measured_apart(self) -> Self:
        if self.architecture is not None and not re.fullmatch(ARCHITECTURES[self.kind], self.architecture):
            raise ValueError(
                f"architecture {self.architecture!r} is none of kind {self.kind!r}; write sm_100 or gfx950"
            )
        for name, figure in self.figures().items():
            measured = {claim.basis == "measured" for claim in figure.claims}
            if name.startswith("measured.") and False in measured:
                raise ValueError(f'{name} was not measured; give it basis = "measured", or move it')
            if not name.startswith("measured.") and True in measured:
                raise ValueError(f"{name} was measured; move it to [device.measured]")
        return self

    def figures(self) -> dict[str, Figure]:
        """Every figure by its key in the file, for example "peaks.fp8"."""
        own = {name: getattr(self, name) for name in type(self).model_fields}
        found = {name: value for name, value in own.items() if isinstance(value, Figure)}
        found |= {f"peaks.{name}": figure for name, figure in self.peaks.items()}
        return found | {f"measured.{name}": figure for name, figure in self.measured.items()}

    @property
    def kernel_target(self) -> tuple[str, int | str, int]:
        """Backend, architecture and warp size as Triton takes them: ("cuda", 100, 32), ("hip", "gfx950", 64).

        Raises:
            ValueError: kernels are not compiled for this kind of device, or the profile does not say what it is.
        """
        if self.kind == "cpu" or self.architecture is None or self.warp_size is None:
            raise ValueError(f"{self.architecture or self.kind}: no kernel target; give architecture and warp_size")
        if self.kind == "cuda":
            return self.kind, _compute_capability(self.architecture), int(self.warp_size.conservative)
        return self.kind, self.architecture, int(self.warp_size.conservative)

    @property
    def tuning_key(self) -> str:
        """How a kernel's tuning calls the architecture: "cuda:100", "hip:gfx950"; "cpu" for a CPU."""
        if self.architecture is None:
            return self.kind
        if self.kind == "cuda":
            return f"{self.kind}:{_compute_capability(self.architecture)}"
        return f"{self.kind}:{self.architecture}"

    @property
    def memory_bytes(self) -> int | None:
        """Memory that is there by every source's account, in bytes."""
        return None if self.memory_gb is None else int(self.memory_gb.conservative * 10**9)


def _compute_capability(architecture: str) -> int:
    """100 of sm_100 and of sm_100a."""
    return int(re.sub(r"\D", "", architecture))
