"""Frame 20,000 costs what frame 100 did, and frame 1,000,000 is as exact as frame 1,000."""

import math
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from porting.adapters.gwm.config import MINI, GwmConfig
from porting.adapters.gwm.world_model import random_world_model
from porting.adapters.world_model import WorldModel
from porting.compilers import CompileRequest, compile_component
from porting.errors import UsageError
from porting.export import export_component
from porting.program import Program
from porting.record import ArtifactRecord, Soak
from porting.rollout import Rollout
from porting.runners import open_runner
from porting.runners.base import Buffer, Runner
from porting.runners.eager import TorchRunner
from porting.tensor_spec import Precision
from porting.throughput import measure_soak
from porting.trace.data import Trace, TracedSession
from tests.throughput.fakes import Bench, FakeRunner, QuietWatch

MILLION, THOUSAND = 1_000_000, 1_000
SOAK_FRAMES = 20_000


@pytest.fixture(scope="module")
def tiny_model() -> WorldModel:
    table = MINI.model_dump()
    table |= {"frame_height": 16, "frame_width": 16, "context_frames": 2, "action_width": 2}
    table["autoencoder"] |= {"widths": (8, 12), "patch": 2, "temporal_kernel": 3}
    table["denoiser"] |= {"width": 32, "heads": 2, "depth": 2, "mlp_width": 24, "stem_width": 8, "window": 5, "sink": 1}
    return random_world_model(GwmConfig.model_validate(table), seed=5, samples=1, frames=16)


@pytest.fixture(scope="module")
def session(tiny_model: WorldModel) -> TracedSession:
    sample = tiny_model.samples[0]
    noise = tiny_model.program.input("noise").tensor
    frames = {
        "action": sample.frame_inputs["action"],
        "noise": np.random.default_rng(3).standard_normal((16, *noise.shape)).astype(np.float32),
    }
    empty = np.zeros((0, 0))
    return TracedSession(dict(sample.session_inputs), dict(frames), {}, 2, (), empty, empty)


def frames_from(model: WorldModel, session: TracedSession, precision: Precision, clock: int) -> list[Buffer]:
    """Six frames after the first six, the clock set in between."""
    runners = {c.name: TorchRunner(model.modules[c.name], c, precision) for c in model.program.components}
    rollout = Rollout(model.program, runners)
    rollout.open(session.session_inputs)
    frames = [{name: array[index] for name, array in session.frame_inputs.items()} for index in range(6)]
    for frame in frames:
        rollout.step(frame)
    rollout.seek(clock)
    return [rollout.step(frame).astype(np.float64) for frame in frames]


def worst_difference(found: list[Buffer], gold: list[Buffer]) -> float:
    return max(float(np.linalg.norm(f - g) / np.linalg.norm(g)) for f, g in zip(found, gold, strict=True))


def test_frame_a_million_is_as_exact_as_frame_a_thousand(tiny_model: WorldModel, session: TracedSession) -> None:
    thousand, million = (frames_from(tiny_model, session, "fp64", clock) for clock in (THOUSAND, MILLION))
    error = worst_difference(frames_from(tiny_model, session, "fp32", THOUSAND), thousand)
    assert error < 1e-6
    assert worst_difference(frames_from(tiny_model, session, "fp32", MILLION), million) <= 1.5 * error
    # The four moving slots of the window are at the same turn: nothing else of a clock may show.
    assert (MILLION - THOUSAND) % 4 == 0
    assert worst_difference(million, thousand) < 1e-12
    # And it does show where the turn is another: a clock that was off by one frame would be noticed here.
    assert worst_difference(frames_from(tiny_model, session, "fp64", MILLION + 1), million) > 10 * error


def test_a_rollout_that_gets_slower_and_larger_is_seen(bench: Bench) -> None:
    def tire(call: int) -> None:
        bench.clock.advance(0.010 + call * 1e-6)
        bench.resident[0] += 512

    soak = measure_soak(bench.program, lambda: {"world": FakeRunner(tire)}, bench.trace, 5000, bench.instruments)
    assert soak.slowdown == pytest.approx(1.5, rel=0.05)
    assert soak.memory_slope_bytes_per_frame == pytest.approx(512, rel=0.01)
    assert soak.memory_growth_bytes == 512 * 4899


def test_a_steady_rollout_is_flat_on_a_machine_that_slows_down(bench: Bench) -> None:
    def load() -> Mapping[str, Runner]:
        return {"world": FakeRunner(lambda call: bench.clock.advance(0.010 * (1 + bench.clock.now() / 100)))}

    soak = measure_soak(bench.program, load, bench.trace, 1200, bench.instruments)
    assert soak.slowdown == pytest.approx(1.0, abs=0.02)
    assert soak.memory_slope_bytes_per_frame == 0.0


def test_frames_that_are_not_written_are_no_soak(bench: Bench) -> None:
    def load() -> Mapping[str, Runner]:
        return {"world": bench.runner(10.0, writes=lambda call: call != 700)}

    assert math.isnan(measure_soak(bench.program, load, bench.trace, 1200, bench.instruments).slowdown)


def test_what_disturbs_a_soak_is_told(bench: Bench) -> None:
    def load() -> Mapping[str, Runner]:
        return {"world": FakeRunner(lambda call: bench.clock.jump(30.0) if call == 50 else bench.clock.advance(0.010))}

    bench.watch = QuietWatch(("other processes took 80%",))
    told = measure_soak(bench.program, load, bench.trace, 1000, bench.instruments).disturbances
    assert told[0] == "other processes took 80%"
    assert "the clock jumped: the soak took" in told[1]
    bench.watch = QuietWatch()
    assert measure_soak(bench.program, bench.driver(10.0), bench.trace, 1000, bench.instruments).disturbances == ()


def test_a_short_soak_is_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="soak: 10 frames of 1 sessions"):
        measure_soak(bench.program, bench.driver(10.0), bench.trace, 10, bench.instruments)


@pytest.mark.slow
def test_frame_twenty_thousand_costs_what_frame_a_hundred_did(
    tiny_model: WorldModel, session: TracedSession, tmp_path: Path
) -> None:
    # Random weights add a little to the latent every frame, for ever; this little keeps 20,000 frames in range.
    for parameter in tiny_model.modules["denoiser"].get_submodule("head_out").parameters():
        parameter.data.mul_(1e-3)
    components, artifacts = tmp_path / "components", tmp_path / "artifacts"
    made = {}
    for spec in tiny_model.program.components:
        export_component(tiny_model, spec.name, components, opset=20)
        made[spec.name] = compile_component(
            CompileRequest(
                component=spec,
                components_dir=components,
                backend="onnxruntime",
                precision="fp32",
                opset=20,
                out_dir=artifacts,
                threads=1,
            )
        )

    # In a process of its own: this one's allocator has what hundreds of tests left
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        soak = apart.submit(endure, tiny_model.program, session, artifacts, made).result()
    # A cost that grew with the session would be 200 times higher; a tenth is what turns on a busy machine differ by.
    assert soak.slowdown <= 1.1, soak
    # The smallest array, kept every frame, is 112 bytes a frame; a page that comes late tilts the line by a few.
    assert abs(soak.memory_slope_bytes_per_frame) < 64.0, soak
    # One picture of 16x16 RGB8 kept every frame would be 15 MB; what a runtime takes once, late, is far less.
    assert soak.memory_growth_bytes < 1 << 20, soak


def endure(program: Program, session: TracedSession, artifacts: Path, made: Mapping[str, ArtifactRecord]) -> Soak:
    """Twenty thousand frames of what was compiled, on one thread."""

    def load() -> Mapping[str, Runner]:
        return {
            spec.name: open_runner("onnxruntime", artifacts, made[spec.name], spec, threads=1)
            for spec in program.components
        }

    return measure_soak(program, load, Trace((session,), ()), SOAK_FRAMES)
