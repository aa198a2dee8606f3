"""Where the time of one call goes, operator by operator, as the runtimes' own profilers tell; in a child process.

A profiler slows what it looks at and one of them writes on stdout, so nothing here is timed for a port's own figures.
It knows no peaks: what an operator computes is counted where its shapes are told, and held against them elsewhere.
"""

import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from porting.errors import PortingError
from porting.program import ComponentSpec
from porting.record import ArtifactRecord
from porting.runners.base import Buffer, aligned_zeros, numpy_dtype

PROFILERS = {"onnxruntime": "onnxruntime_profile", "openvino": "openvino_profile", "inductor": "inductor_profile"}
"""Backend -> the module that profiles its artifacts."""
MOST_CALLS, LEAST_CALLS = 15, 4
WARMUP_CALLS = 3
SECONDS = 0.5
"""For all calls of one artifact with one profiler: on a busy machine a call can take a hundred times as long."""
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class OperatorRun:
    """One operator in one call."""

    name: str
    kind: str
    ms: float
    matrix_flops: int | None = None
    """None where the profiler does not tell what it computes; 0 where it is no product."""
    moved_bytes: int | None = None


@dataclass(frozen=True)
class Profiled:
    """What one artifact's calls were spent on."""

    source: str = ""
    call_ms: float | None = None
    """A median call without the profiler."""
    calls: int = 0
    operators: tuple[OperatorRun, ...] = ()
    """Of the median call: every operator's own median."""
    reason: str = ""
    """Why there is nothing, or what the profiler does not see."""


@dataclass(frozen=True)
class ProfileRequest:
    """One artifact to profile."""

    artifact: ArtifactRecord
    spec: ComponentSpec
    inputs: Mapping[str, Buffer]
    """Of one recorded call."""


def profile_artifacts(requests: Sequence[ProfileRequest], artifact_dir: Path, threads: int) -> list[Profiled]:
    """Profile each; one that cannot be profiled has a reason, and so have all when the child ends.

    Args:
        requests: what to profile.
        artifact_dir: the folder that the records' paths are relative to.
        threads: as many as the runners are given.
    """
    with tempfile.TemporaryDirectory() as place:
        told = []
        for index, request in enumerate(requests):
            inputs = Path(place) / f"{index}.npz"
            with inputs.open("wb") as file:
                np.savez(file, allow_pickle=False, **{name: _storable(a) for name, a in request.inputs.items()})
            told.append(
                {
                    "artifact": request.artifact.model_dump(mode="json"),
                    "spec": request.spec.model_dump(mode="json"),
                    "inputs": str(inputs),
                }
            )
        asked = Path(place) / "asked.json"
        asked.write_text(json.dumps({"folder": str(artifact_dir), "threads": threads, "requests": told}))
        answer = Path(place) / "answer.json"
        command = [sys.executable, "-m", "porting.runners.profile_worker", str(asked), str(answer)]
        try:
            subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=True, cwd=place)
            found = json.loads(answer.read_text())
            return [_decode(one) for one in found]
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as cause:
            return [Profiled(reason=f"the profiling process gave no answer ({cause})") for _ in requests]


def profile_here(artifact_dir: Path, request: ProfileRequest, threads: int) -> Profiled:
    """Profile one artifact in this process."""
    backend = request.artifact.backend
    if backend not in PROFILERS:
        return Profiled(reason=f"{backend} has no profiler here")
    if request.artifact.path is None:
        return Profiled(reason="it did not compile")
    spec = request.spec
    inputs = {t.name: aligned_zeros(t.shape, numpy_dtype(t.dtype)) for t in spec.inputs}
    outputs = {t.name: aligned_zeros(t.shape, numpy_dtype(t.dtype)) for t in spec.outputs}
    for name, buffer in inputs.items():
        given = request.inputs[name]
        np.copyto(buffer, given.view(buffer.dtype) if given.dtype.kind == "V" else given)
    module = importlib.import_module(f"porting.runners.{PROFILERS[backend]}")
    try:
        found: Profiled = module.profile(
            artifact_dir / request.artifact.path, spec, threads, request.artifact.precision, (inputs, outputs)
        )
    except (PortingError, RuntimeError, OSError, ValueError) as cause:
        return Profiled(reason=f"it could not be profiled ({cause})")
    return found if found.operators else Profiled(reason=f"{found.source or backend} told of no operator")


def time_calls(call: Callable[[], None]) -> tuple[float, int]:
    """Milliseconds of a median call without any profiler, and how many calls there is time for with one."""
    for _ in range(WARMUP_CALLS):
        call()
    taken: list[float] = []
    while len(taken) < LEAST_CALLS or (sum(taken) < SECONDS * 1e3 and len(taken) < MOST_CALLS):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken), len(taken)


def take_medians(calls: Sequence[Sequence[OperatorRun]]) -> tuple[OperatorRun, ...]:
    """Every operator with the median over the calls of all its runs in one, the longest first."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(calls))
    flops: dict[str, list[int | None]] = defaultdict(list)
    moved: dict[str, list[int | None]] = defaultdict(list)
    kinds: dict[str, str] = {}
    for index, operators in enumerate(calls):
        for run in operators:
            sums[run.name][index] += run.ms
            kinds[run.name] = run.kind
            if index == 0:
                flops[run.name].append(run.matrix_flops)
                moved[run.name].append(run.moved_bytes)
    made = [
        OperatorRun(name, kinds[name], statistics.median(times), _add(flops[name]), _add(moved[name]))
        for name, times in sums.items()
    ]
    return tuple(sorted(made, key=lambda run: -run.ms))


def _add(amounts: Sequence[int | None]) -> int | None:
    """The sum; None where one is not known."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if amounts and len(known) == len(amounts) else None


def encode(found: Profiled) -> dict[str, object]:
    """As JSON takes it."""
    return asdict(found)


def _decode(given: dict[str, object]) -> Profiled:
    operators = given.pop("operators")
    if not isinstance(operators, list):
        raise TypeError(f"operators are {operators!r}")
    return Profiled(**given, operators=tuple(OperatorRun(**run) for run in operators))  # type: ignore[arg-type]


def _storable(array: Buffer) -> Buffer:
    """What a file of numpy's keeps: types that numpy has no name for go as raw bytes."""
    known = array.dtype.kind in "fiub" and array.dtype.isbuiltin == 1
    return array if known else array.view(f"V{array.dtype.itemsize}")
