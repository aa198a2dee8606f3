"""What the rollout engine itself costs per frame, as a share of frame time: python benchmarks/rollout_overhead.py.

A GWM world model of the bundled size (random weights: the host's cost does not depend on them) is exported, compiled
for one backend and rolled out. Overhead is frame time less the components' own calls, frame by frame; the same program
over runners that do nothing gives the engine's cost alone, without clocks around the calls. Prints one JSON object.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from porting.adapters.gwm.config import MINI
from porting.adapters.gwm.world_model import random_world_model
from porting.adapters.world_model import WorldModel
from porting.compilers import CompileRequest, compile_component
from porting.errors import CompileError
from porting.export import export_component
from porting.host import describe_host, spin_briefly
from porting.program import Program
from porting.rollout import COPY, Rollout
from porting.runners import open_runner
from porting.runners.base import BoundCall, Buffer, Runner


class IdleRunner:
    """Makes nothing, at once."""

    backend = "idle"

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        return lambda: None

    def close(self) -> None:
        return None


def open_backend(model: WorldModel, backend: str, folder: Path, threads: int, opset: int) -> dict[str, Runner]:
    """Export and compile every component.

    Raises:
        CompileError: one does not compile.
    """
    runners = {}
    for spec in model.program.components:
        export_component(model, spec.name, folder, opset)
        request = CompileRequest(
            component=spec,
            components_dir=folder,
            backend=backend,
            precision="fp32",
            opset=opset,
            out_dir=folder,
            threads=threads,
        )
        artifact = compile_component(request)
        if artifact.error is not None:
            raise CompileError(artifact.error)
        runners[spec.name] = open_runner(backend, folder, artifact, spec, threads)
    return runners


def draw_inputs(program: Program, scope: str) -> dict[str, Buffer]:
    """Standard normal inputs of one scope."""
    random = np.random.default_rng(0)
    tensors = [i.tensor for i in program.inputs if i.scope == scope]
    return {tensor.name: random.standard_normal(tensor.shape).astype(tensor.dtype) for tensor in tensors}


def time_frames(
    program: Program, runners: Mapping[str, Runner], frames: int, clocked: bool
) -> list[tuple[float, float]]:
    """(frame, its calls) in seconds, for every frame after the ring is full."""
    rollout = Rollout(program, runners)
    rollout.open(draw_inputs(program, "session"))
    inputs = draw_inputs(program, "frame")
    for _ in range(program.warmup_frames):
        rollout.step(inputs)
    seconds = []
    for _ in range(frames):
        rollout.spans = [] if clocked else None
        start = time.perf_counter()
        rollout.step(inputs)
        frame = time.perf_counter() - start
        seconds.append((frame, sum(finish - start for what, start, finish in rollout.spans or () if what != COPY)))
    return seconds


def main() -> None:
    """Measure and print."""
    spin_briefly()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--opset", type=int, default=20)
    options = parser.parse_args()
    model = random_world_model(MINI)
    with tempfile.TemporaryDirectory() as folder:
        runners = open_backend(model, options.backend, Path(folder), options.threads, options.opset)
        clocked = time_frames(model.program, runners, options.frames, clocked=True)
    idle = time_frames(model.program, dict.fromkeys(runners, IdleRunner()), options.frames, clocked=False)
    frame = statistics.median(frame for frame, _ in clocked)
    overhead = statistics.median(frame - calls for frame, calls in clocked)
    engine = statistics.median(frame for frame, _ in idle)
    result = {
        "benchmark": "rollout_overhead",
        "command": " ".join(["python", *sys.argv]),
        "backend": options.backend,
        "frames": options.frames,
        "frame_ms": round(frame * 1e3, 4),
        "overhead_us": round(overhead * 1e6, 2),
        "overhead_share": round(overhead / frame, 5),
        "engine_alone_us": round(engine * 1e6, 2),
        "engine_alone_share": round(engine / frame, 5),
        "limit_share": 0.03,
        "host": describe_host(options.threads).model_dump(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
