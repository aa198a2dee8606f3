"""Compiles one launch of a kernel without a device: the launch says what is specialised, nothing describes it twice.

A driver that only names a target stands in for the device's, and launching becomes warming up: Triton compiles exactly
what a real launch with these tensors would use, and returns. Runs in a process of its own, which LLVM may end.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime.jit import JITFunction

from porting.errors import CompileError
from porting.kernel_compiler.evidence import FORMATS, CompiledCode
from porting.kernel_compiler.request import KernelRequest
from porting.kernel_library import Kernel

LANES_64 = "gfx9"
"""Beginning of the processors whose wavefronts have 64 lanes; the others that Triton compiles for have 32."""
SEED = 0
TEXTS = {"cuda": "ptx", "hip": "amdgcn"}
BINARIES = {"cuda": "cubin", "hip": "hsaco"}
"""Triton's names of what it compiled to, and our files' suffixes."""


class NamedTarget(DriverBase):  # type: ignore[misc]
    """A driver that knows what to compile for, and nothing else."""

    def __init__(self, target: GPUTarget) -> None:
        super().__init__()
        self.target = target

    @classmethod
    def is_active(cls) -> bool:
        """Whether Triton may choose it by itself."""
        return False

    def get_current_target(self) -> GPUTarget:
        """What is compiled for."""
        return self.target

    def get_current_device(self) -> int:
        """The only one."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """The only one."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """Where the example's tensors lie."""
        return torch.device("cpu")

    def map_python_to_cpp_type(self, ty: str) -> str:
        """Asked for by launchers only."""
        raise NotImplementedError(f"{ty}: nothing is launched here")

    def get_benchmarker(self) -> Any:
        """Asked for by autotuners only."""
        raise NotImplementedError("nothing is timed here")


@dataclass(frozen=True)
class Launch:
    """One launch that was compiled instead."""

    compiled: Any
    """Triton's CompiledKernel."""
    grid: tuple[int, ...]


@contextlib.contextmanager
def recorded_launches() -> Iterator[list[Launch]]:
    """Every launch inside compiles, runs nothing, and is added to the list."""
    launches: list[Launch] = []
    run = JITFunction.run

    def warm_up(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        compiled = run(self, *arguments, grid=grid, warmup=True, **options)
        if callable(grid):
            grid = grid({**dict(zip(self.arg_names, arguments, strict=False)), **options})
        launches.append(Launch(compiled, tuple(int(side) for side in grid)))
        return compiled

    JITFunction.run = warm_up
    try:
        yield launches
    finally:
        JITFunction.run = run


def make_target(architecture: str) -> GPUTarget:
    """Triton's name of an architecture such as "cuda:107" or "hip:gfx950"."""
    backend, _, chip = architecture.partition(":")
    if backend == "cuda":
        return GPUTarget(backend, int(chip), 32)
    return GPUTarget(backend, chip, 64 if chip.startswith(LANES_64) else 32)


def make_inputs(kernel: Kernel, variant: str, sizes: tuple[int, ...]) -> tuple[Any, ...]:
    """The file's own example on the CPU, always from the same seed."""
    torch.manual_seed(SEED)
    return kernel.inputs(sizes, variant if variant in FORMATS else getattr(torch, variant))


def compile_launch(
    kernel: Kernel, inputs: tuple[Any, ...], request: KernelRequest
) -> tuple[CompiledCode, dict[str, Any]]:
    """Compile what `launch` launches for these inputs.

    Returns:
        The code, and its metadata: all that launching or emulating it needs, ready for JSON.

    Raises:
        CompileError: it launches nothing, or more than one kernel. What Triton raises passes through.
    """
    target = make_target(request.architecture)
    triton.runtime.driver.set_active(NamedTarget(target))
    log = io.StringIO()
    with recorded_launches() as launches, contextlib.redirect_stdout(log):
        kernel.launch(*inputs, **request.tuning)
    distinct = {launch.compiled.hash: launch for launch in launches}
    if len(distinct) != 1:
        raise CompileError(f"{request.where}: launch compiles {len(distinct)} kernels; let it launch one")
    (launch,) = distinct.values()
    compiled, facts = launch.compiled, launch.compiled.metadata
    code = CompiledCode(
        architecture=request.architecture,
        variant=request.variant,
        binary=compiled.asm[BINARIES[target.backend]],
        text=compiled.asm[TEXTS[target.backend]],
        symbol=facts.name,
        warps=facts.num_warps,
        shared_bytes=facts.shared,
        tensor_memory_columns=getattr(facts, "tmem_size", None) or 0,
        log=log.getvalue(),
    )
    return code, describe_launch(request, launch)


def describe_launch(request: KernelRequest, launch: Launch) -> dict[str, Any]:
    """What a caller must know beside the binary. Holds no path and no time, so that it is the same everywhere.

    Run-time arguments are passed in this order, without the constants; behind them stand two pointers, of global and
    of profile scratch memory, which are null when their sizes are 0.
    """
    compiled, facts = launch.compiled, launch.compiled.metadata
    source = compiled.src
    constants = {path[0]: value for path, value in source.constants.items() if len(path) == 1}
    arguments = []
    for index, (name, kind) in enumerate(source.signature.items()):
        aligned = dict(source.attrs.get((index,), [])).get("tt.divisibility")
        argument = {"name": name, "type": kind, "divisible_by": aligned}
        arguments.append({**argument, "value": _plain(constants[index])} if kind == "constexpr" else argument)
    return {
        "schema": 1,
        "kernel": request.kernel,
        "variant": request.variant,
        "architecture": request.architecture,
        "source_digest": request.source_digest,
        "sizes": request.sizes,
        "tuning": request.tuning,
        "symbol": facts.name,
        "grid": launch.grid,
        "warps": facts.num_warps,
        "warp_size": facts.target.warp_size,
        "stages": facts.num_stages,
        "programs_a_cluster": facts.num_ctas,
        "shared_bytes": facts.shared,
        "tensor_memory_columns": getattr(facts, "tmem_size", None) or 0,
        "global_scratch_bytes": facts.global_scratch_size or 0,
        "global_scratch_alignment": facts.global_scratch_align or 1,
        "profile_scratch_bytes": facts.profile_scratch_size or 0,
        "arguments": arguments,
        "fused_multiply_add": facts.enable_fp_fusion,
        "triton": facts.triton_version,
    }


def _plain(value: Any) -> Any:
    """A constant as JSON can hold it; others by their text."""
    return value if isinstance(value, bool | int | float | str | None) else str(value)
