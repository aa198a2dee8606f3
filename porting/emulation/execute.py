"""Executes one captured launch under every schedule and says what came of it."""

import hashlib
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from porting.emulation.capture import Captured, capture
from porting.emulation.kept import find_kept, keep
from porting.emulation.request import EmulationRequest, emulator_digest
from porting.emulators import Counts, Fault, FaultKind, Launch, Schedule
from porting.kernel_compiler.offline import SEED, make_inputs
from porting.kernel_library import Kernel
from porting.kernel_library.judging import as_bits, judge_outputs
from porting.record import EmulatedKernel, EmulatedLaunch

LAUNCHES = "launches"
SCHEDULES: Mapping[str, Schedule] = {
    "lazy": Schedule(lazy=True),
    "eager": Schedule(lazy=False, check=False),
    "lazy, last warp first": Schedule(lazy=True, reverse=True),
}
"""What correct code computes the same bits in. Races are looked for wherever an effect may come late."""
EMULATORS = {"cuda": "porting.emulators.ptx", "hip": "porting.emulators.amdgcn"}


def emulate(kernel: Kernel, request: EmulationRequest) -> EmulatedKernel:
    """Compile and execute every example of a request. What Triton raises passes through.

    Raises:
        EmulationError: a launch that no emulator takes.
    """
    launches = []
    for sizes in request.examples:
        inputs = make_inputs(kernel, request.variant, sizes)
        captured = capture(kernel, inputs, request.architecture, request.tuning)
        key = _launch_key(kernel, captured, request, sizes)
        launch = find_kept(request.cache_dir / LAUNCHES, key, EmulatedLaunch)
        if launch is None:
            launch = execute(kernel, captured, sizes)
            keep(request.cache_dir / LAUNCHES, key, launch)
        launches.append(launch)
    return request.unfinished().model_copy(update={"launches": tuple(launches)})


def _launch_key(kernel: Kernel, captured: Captured, request: EmulationRequest, sizes: tuple[int, ...]) -> str:
    """Digest of what the execution of one launch depends on: chips of one vendor that get the same text share it."""
    vendor = captured.launch.architecture.partition(":")[0]
    parts = (vendor, captured.text_sha256, kernel.digest, request.variant, sizes, captured.launch.grid, SEED)
    return hashlib.sha256(repr((*parts, emulator_digest(), np.__version__)).encode()).hexdigest()


def execute(kernel: Kernel, captured: Captured, sizes: tuple[int, ...]) -> EmulatedLaunch:
    """Run one launch under every schedule until one finds a fault, and judge what was written.

    Raises:
        Fault: an instruction that the emulator does not know.
    """
    launch = captured.launch
    found = EmulatedLaunch(
        sizes=sizes,
        grid=launch.grid,
        warps=launch.warps,
        text_sha256=captured.text_sha256,
        executed_as=launch.architecture,
    )
    before = [value.clone() if isinstance(value, Tensor) else value for value in captured.inputs]
    start = time.perf_counter()
    runs = _run_all(launch)
    ended = {"schedules": tuple(runs.counts), "fault": runs.fault, "seconds": time.perf_counter() - start}
    if runs.fault is not None:
        return found.model_copy(update=ended)
    # The last schedule's bytes lie in the tensors; when all are the same, they are everyone's.
    judged = judge_outputs(kernel, before, captured.outputs)
    complaints = [
        f"input {index} is changed by the launch"
        for index, (value, kept) in enumerate(zip(captured.inputs, before, strict=True))
        if isinstance(value, Tensor) and not torch.equal(as_bits(value), as_bits(kept))
    ]
    complaints += [f"output {index}: {words}" for index, output in enumerate(judged) for words in output.complaints]
    return found.model_copy(
        update={
            **ended,
            "ratio": max((output.ratio for output in judged), default=None),
            "complaints": tuple(complaints),
            "same_bits": runs.same_bits,
            **_describe(next(iter(runs.counts.values()))),
        }
    )


@dataclass
class _Runs:
    """What the schedules came to, in their order."""

    counts: dict[str, Counts] = field(default_factory=dict)
    """Of those that were executed to their end."""
    same_bits: bool = True
    fault: str | None = None


def _run_all(launch: Launch) -> _Runs:
    """Execute a launch under each schedule, from the same memory, until one finds a fault."""
    run, runs = load_emulator(launch.architecture), _Runs()
    memory = [buffer.content.copy() for buffer in launch.buffers]
    first: list[npt.NDArray[np.uint8]] = []
    for name, schedule in SCHEDULES.items():
        for buffer, content in zip(launch.buffers, memory, strict=True):
            buffer.content[:] = content
        try:
            runs.counts[name] = run(launch, schedule)
        except Fault as fault:
            if fault.kind is FaultKind.UNKNOWN:
                # The emulator's gap, not the kernel's mistake.
                raise
            runs.fault = f"{name}: {fault}"
            break
        first = first or [buffer.content.copy() for buffer in launch.buffers]
        runs.same_bits &= all(np.array_equal(a, b.content) for a, b in zip(first, launch.buffers, strict=True))
    return runs


def load_emulator(architecture: str) -> Callable[[Launch, Schedule], Counts]:
    """Only that of the vendor: each takes a moment to import."""
    module = importlib.import_module(EMULATORS[architecture.partition(":")[0]])
    return cast("Callable[[Launch, Schedule], Counts]", module.run)


def _describe(counts: Counts) -> dict[str, object]:
    return {
        "instructions": dict(sorted(counts.instructions.items())),
        "bytes_read": dict(counts.bytes_read),
        "bytes_written": dict(counts.bytes_written),
        "bank_conflicts": counts.bank_conflicts,
    }
