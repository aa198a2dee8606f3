"""Every way of being wrong leaves evidence that fails, and the honest port leaves none."""

import copy
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from porting.errors import ComparisonError
from porting.parity import measure_component, measure_parity
from porting.program import Program, StateSpec
from porting.record import ParityEvidence
from porting.rollout.binding import Binding
from porting.runners.base import BoundCall, Buffer, Runner
from porting.runners.eager import TorchRunner
from porting.trace.data import Trace
from tests.parity.tiny import BUDGET, FRAMES, MeddlingRunner, honest_runners, trace, world_model


def measure(
    out: Path, changed: Mapping[str, Runner], program: Program | None = None, against: Trace | None = None
) -> ParityEvidence:
    """Evidence of the honest port with some runners replaced."""
    runners = {**honest_runners(), **changed}
    backends = dict.fromkeys(runners, "eager")
    return measure_parity(
        program or world_model().program, runners, against or trace(), BUDGET, "fp32", out, backends, "targets/cpu"
    )


def failing_levels(evidence: ParityEvidence) -> set[str]:
    """Levels that a judge must refuse; one without evidence is among them."""
    limit = BUDGET.error_budget_ratio
    levels = set()
    if not evidence.outputs or not all(o.measured and o.ratio <= limit for o in evidence.outputs):
        levels.add("component")
    ratios = [ratio for level in evidence.teacher_forced for ratio in level.ratio]
    if not ratios or not all(ratio <= limit for ratio in ratios):
        levels.add("teacher-forced")
    free = evidence.free_running
    if free is None or free.first_failing_frame is not None:
        levels.add("free-running")
    return levels


ALL = {"component", "teacher-forced", "free-running"}


def test_the_honest_port_passes_with_ratios_of_one(tmp_path: Path) -> None:
    evidence = measure(tmp_path, {})
    assert failing_levels(evidence) == set()
    outputs = {(c.name, t.name) for c in world_model().program.components for t in c.outputs}
    assert {(o.component, o.output) for o in evidence.outputs if o.inputs == "trace"} == outputs
    assert max(o.ratio for o in evidence.outputs) <= 1.0 + 1e-6
    assert {len(level.ratio) for level in evidence.teacher_forced} == {BUDGET.teacher_forced_frames}
    assert evidence.free_running is not None
    assert len(evidence.free_running.psnr_db) == FRAMES
    assert evidence.free_running.sessions == 2
    assert min(evidence.free_running.psnr_db) > 100
    assert evidence.dropped == ()


def test_a_port_that_is_more_exact_than_pytorch_passes(tmp_path: Path) -> None:
    model = world_model()
    exact = {c.name: TorchRunner(model.modules[c.name], c, compute="fp64") for c in model.program.components}
    assert failing_levels(measure(tmp_path, exact)) == set()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_port_that_computes_in_less_than_it_says_fails(tmp_path: Path, precision: str) -> None:
    spec = world_model().program.component("decoder")
    coarse = TorchRunner(world_model().modules["decoder"], spec, compute=precision)  # type: ignore[arg-type]
    assert failing_levels(measure(tmp_path, {"decoder": coarse})) == ALL


# The middle of a tensor's weights by size, not the largest. The action's first layer is found by hard inputs alone: the
# recorded calls of this trace hardly act.
WEIGHTS = [
    ("denoiser", "position"),
    ("denoiser", "action_embedding.0.weight"),
    ("denoiser", "modulation.weight"),
    ("denoiser", "blocks.0.attention.norm_query.weight"),
    ("denoiser", "blocks.1.mlp.down.weight"),
    ("decoder", "decoder.blocks.1.causal.conv.weight"),
    ("decoder_first", "decoder.up.0.weight"),
    ("encoder", "middle.spatial.weight"),
]


@pytest.mark.parametrize(("component", "weight"), WEIGHTS)
def test_one_weight_changed_by_one_percent(component: str, weight: str) -> None:
    module = copy.deepcopy(world_model().modules[component])
    parameter = dict(module.named_parameters())[weight]
    with torch.no_grad():
        middle = parameter.abs().flatten().argsort()[parameter.numel() // 2]
        parameter.view(-1)[middle] *= 1.01
    program = world_model().program
    runner = TorchRunner(module, program.component(component), compute="fp32")
    entries = measure_component(program, component, runner, "eager", trace(), "fp32")
    assert max(entry.ratio for entry in entries) > 2 * BUDGET.error_budget_ratio


def test_the_ring_off_by_one_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Binding._slots

    def shifted(self: Binding, state: StateSpec) -> tuple[Buffer, ...]:
        views = honest(self, state)
        return (*views[1:], views[0])

    monkeypatch.setattr(Binding, "_slots", shifted)
    # The components are right: only frames can tell.
    assert failing_levels(measure(tmp_path, {})) == {"teacher-forced", "free-running"}


def test_the_sink_dropped_by_the_host(tmp_path: Path) -> None:
    program = world_model().program
    (ring,) = program.rings
    without = program.model_copy(update={"rings": (ring.model_copy(update={"sink": 0}),)})
    evidence = measure(tmp_path, {}, program=without)
    assert {"teacher-forced", "free-running"} <= failing_levels(evidence)
    assert evidence.free_running is not None
    # Priming made two frames of a window of four; the fifth is the first to evict the sink, the sixth frame sees that.
    assert evidence.free_running.first_failing_frame == 3


def test_the_sink_dropped_by_the_component(tmp_path: Path) -> None:
    def forget_sink(inputs: Mapping[str, Buffer]) -> None:
        inputs["age"][0] = 0

    changed = MeddlingRunner(honest_runners()["denoiser"], before=forget_sink)
    assert failing_levels(measure(tmp_path, {"denoiser": changed})) == ALL


def test_the_conv_cache_zeroed_each_frame(tmp_path: Path) -> None:
    def zero_caches(inputs: Mapping[str, Buffer]) -> None:
        for name, array in inputs.items():
            if name.startswith("cache_"):
                array.fill(0)

    changed = MeddlingRunner(honest_runners()["decoder"], before=zero_caches)
    assert failing_levels(measure(tmp_path, {"decoder": changed})) == ALL


def test_the_action_ignored(tmp_path: Path) -> None:
    changed = MeddlingRunner(honest_runners()["denoiser"], before=lambda inputs: inputs["action"].fill(0))
    assert failing_levels(measure(tmp_path, {"denoiser": changed})) == ALL


def test_two_outputs_swapped(tmp_path: Path) -> None:
    def swap(arrays: Mapping[str, Buffer]) -> None:
        key = arrays["new_key_0"].copy()
        np.copyto(arrays["new_key_0"], arrays["new_value_0"])
        np.copyto(arrays["new_value_0"], key)

    evidence = measure(tmp_path, {"denoiser": MeddlingRunner(honest_runners()["denoiser"], after=swap)})
    assert failing_levels(evidence) == ALL
    wrong = {o.output for o in evidence.outputs if o.ratio > 2 and o.inputs == "trace"}
    assert wrong == {"new_key_0", "new_value_0"}


def test_nan_in_one_frame_is_that_frame(tmp_path: Path) -> None:
    last = trace().sessions[1].frames[5].outputs["frame"].astype(np.float32)

    def poison(arrays: Mapping[str, Buffer]) -> None:
        if np.allclose(arrays["frame"], last, atol=1e-5):
            arrays["frame"][0, 1, 2, 3] = np.nan

    evidence = measure(tmp_path, {"decoder": MeddlingRunner(honest_runners()["decoder"], after=poison)})
    assert {"teacher-forced", "free-running"} <= failing_levels(evidence)
    assert evidence.free_running is not None
    assert evidence.free_running.first_failing_frame == 5
    assert math.isnan(evidence.free_running.psnr_db[5])
    assert math.isfinite(evidence.free_running.psnr_db[4])
    (frames,) = [level for level in evidence.teacher_forced if level.output == "frame"]
    assert [index for index, ratio in enumerate(frames.ratio) if not math.isfinite(ratio)] == [5]


def test_nan_in_one_call_is_not_finite(tmp_path: Path) -> None:
    def poison(arrays: Mapping[str, Buffer]) -> None:
        arrays["next_latent"][0, 0, 0, 0] = np.nan

    changed = MeddlingRunner(honest_runners()["denoiser"], after=poison)
    program = world_model().program
    entries = measure_component(program, "denoiser", changed, "eager", trace(), "fp32")
    assert all(not entry.measured and not entry.finite for entry in entries if entry.output == "next_latent")
    assert all(entry.measured for entry in entries if entry.output != "next_latent")


class ReturnsItsInput:
    """Copies whatever input has an output's shape, else leaves the buffer as it is."""

    backend = "echo"

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        def call() -> None:
            for output in outputs.values():
                for array in inputs.values():
                    if array.shape == output.shape:
                        np.copyto(output, array)

        return call

    def close(self) -> None:
        pass


@pytest.mark.parametrize("component", ["denoiser", "decoder"])
def test_a_backend_that_returns_its_input(tmp_path: Path, component: str) -> None:
    assert failing_levels(measure(tmp_path, {component: ReturnsItsInput()})) == ALL


def test_an_output_that_is_never_written_is_not_measured() -> None:
    program = world_model().program
    entries = measure_component(program, "decoder_first", ReturnsItsInput(), "echo", trace(), "fp32")
    assert not any(entry.measured for entry in entries if entry.output == "frame")


def test_a_port_that_is_right_only_from_golds_own_state_drifts(tmp_path: Path) -> None:
    known = {array.tobytes() for call in trace().calls for array in [call.inputs.get("history")] if array is not None}
    for session in trace().sessions:
        known |= {f.state_writes["history"].tobytes() for f in session.frames}
        known.add(session.primed_states["history"].tobytes())
    known.add(np.zeros_like(trace().sessions[0].primed_states["history"]).tobytes())

    def drift(arrays: Mapping[str, Buffer]) -> None:
        if arrays["in:history"].tobytes() not in known:
            arrays["next_latent"] += np.float32(1e-2)

    class Drifting(MeddlingRunner):
        """Priming is left alone: the frames after it are what drifts."""

    runner = Drifting(honest_runners()["denoiser"], after=drift)
    evidence = measure(tmp_path, {"denoiser": runner})
    assert failing_levels(evidence) == {"free-running"}
    assert evidence.free_running is not None
    assert evidence.free_running.first_failing_frame is not None


def test_no_sessions_and_no_calls_pass_nothing(tmp_path: Path) -> None:
    nothing = dataclasses.replace(trace(), sessions=(), calls=())
    evidence = measure(tmp_path, {}, against=nothing)
    assert failing_levels(evidence) == ALL
    assert evidence.free_running is None
    assert all(o.samples == 0 and not o.measured for o in evidence.outputs)


def test_sessions_without_frames_pass_nothing(tmp_path: Path) -> None:
    empty = tuple(dataclasses.replace(session, frames=()) for session in trace().sessions)
    evidence = measure(tmp_path, {}, against=dataclasses.replace(trace(), sessions=empty))
    assert failing_levels(evidence) == {"teacher-forced", "free-running"}


def test_a_session_without_an_envelope_is_not_measured(tmp_path: Path) -> None:
    bare = tuple(dataclasses.replace(s, envelope_psnr_db=np.zeros((0, FRAMES))) for s in trace().sessions)
    evidence = measure(tmp_path, {}, against=dataclasses.replace(trace(), sessions=bare))
    assert evidence.free_running is None


def test_another_precision_than_the_traces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match=r"recorded at bf16.*computes in fp32"):
        measure(tmp_path, {}, against=dataclasses.replace(trace(), precision="bf16"))


def test_missing_and_extra_outputs_are_refused_before_values(tmp_path: Path) -> None:
    first, *rest = trace().calls
    extra = dataclasses.replace(first, outputs={**first.outputs, "more": np.zeros(1)})
    less = dataclasses.replace(first, outputs={})
    for broken in (extra, less):
        with pytest.raises(ComparisonError, match=first.component):
            measure(tmp_path, {}, against=dataclasses.replace(trace(), calls=(broken, *rest)))


def test_a_frame_with_other_values_is_refused(tmp_path: Path) -> None:
    session = trace().sessions[0]
    frames = tuple(
        dataclasses.replace(f, outputs={n: a for n, a in f.outputs.items() if n != "frame"}) for f in session.frames
    )
    broken = dataclasses.replace(trace(), sessions=(dataclasses.replace(session, frames=frames),))
    with pytest.raises(ComparisonError, match="frame 0"):
        measure(tmp_path, {}, against=broken)


def test_a_missing_runner_is_refused(tmp_path: Path) -> None:
    runners = honest_runners()
    backends = dict.fromkeys(runners, "eager")
    del runners["decoder"]
    with pytest.raises(ComparisonError, match="decoder"):
        measure_parity(world_model().program, runners, trace(), BUDGET, "fp32", tmp_path, backends)
