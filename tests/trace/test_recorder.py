"""What the recorder keeps is gold, and gold can be picked up at any frame."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from porting.adapters.world_model import WorldModel
from porting.errors import TraceError
from porting.rollout import Rollout
from porting.runners.eager import TorchRunner
from porting.trace.data import Trace
from porting.trace.playback import apply_writes, split_frames
from porting.trace.recorder import record_trace
from tests.parity.tiny import FRAMES, trace, world_model


def gold_rollout() -> Rollout:
    model = world_model()
    runners = {c.name: TorchRunner(model.modules[c.name], c, compute="fp64") for c in model.program.components}
    return Rollout(model.program, runners)


def test_the_trace_is_that_of_a_plain_float64_rollout() -> None:
    rollout = gold_rollout()
    for session in trace().sessions:
        rollout.open(session.session_inputs)
        assert rollout.clock == session.primed_frames == 2
        for name, array in session.primed_states.items():
            assert np.array_equal(rollout.read_state(name), array)
        for inputs, frame in zip(split_frames(session.frame_inputs, len(session.frames)), session.frames, strict=True):
            made = rollout.step(inputs)
            gold = frame.outputs["frame"]
            assert gold.dtype == np.float64
            assert np.array_equal(made, gold.astype(np.float32))
            # Unrounded: float32 does not hold it.
            assert not np.array_equal(gold, gold.astype(np.float32))


def test_states_built_from_writes_are_golds_own() -> None:
    program, rollout = world_model().program, gold_rollout()
    session = trace().sessions[1]
    rollout.open(session.session_inputs)
    states = {name: array.copy() for name, array in session.primed_states.items()}
    for index, (inputs, frame) in enumerate(
        zip(split_frames(session.frame_inputs, len(session.frames)), session.frames, strict=True)
    ):
        rollout.step(inputs)
        apply_writes(program, states, frame, session.primed_frames + index)
        for name, array in states.items():
            assert np.array_equal(rollout.read_state(name), array), f"{name} after frame {index}"


def test_noise_is_standard_normal_seeded_and_a_longer_trace_begins_with_a_shorter_one() -> None:
    short = record_trace(world_model(), 1, 2, "fp32", seed=0, component_samples=1, envelope_members=1)
    other = record_trace(world_model(), 1, 2, "fp32", seed=1, component_samples=1, envelope_members=1)
    noise = trace().sessions[0].frame_inputs["noise"]
    assert np.array_equal(short.sessions[0].frame_inputs["noise"], noise[:2])
    assert not np.array_equal(other.sessions[0].frame_inputs["noise"], noise[:2])
    assert not np.array_equal(trace().sessions[1].frame_inputs["noise"], noise)
    assert abs(float(noise.mean())) < 0.1
    assert abs(float(noise.std()) - 1) < 0.1


def same(one: Trace, two: Trace) -> bool:
    pairs = zip(one.sessions, two.sessions, strict=True)
    frames = [(a, b) for s, t in pairs for a, b in zip(s.frames, t.frames, strict=True)]
    return all(np.array_equal(a.outputs["frame"], b.outputs["frame"]) for a, b in frames)


def test_the_same_seed_gives_the_same_trace() -> None:
    runs = [record_trace(world_model(), 1, 2, "fp32", 3, component_samples=1, envelope_members=1) for _ in range(2)]
    assert same(*runs)
    assert np.array_equal(runs[0].sessions[0].envelope_psnr_db, runs[1].sessions[0].envelope_psnr_db)


def test_the_yardstick_is_pytorchs_own_rounding() -> None:
    for session in trace().sessions:
        for frame in session.frames:
            assert 1e-9 < frame.error_eager["frame"] < 1e-5
            assert frame.error_eager.keys() == frame.outputs.keys() | frame.state_writes.keys()
        assert session.envelope_psnr_db.shape == (2, FRAMES)
        assert 100 < session.envelope_psnr_db.min() < session.envelope_psnr_db.max() < 200
    copied = [c for c in trace().calls if c.component == "denoiser"]
    assert all(c.error_eager["next_history"] == 0 for c in copied)
    assert all(0 < c.error_eager["next_latent"] < 1e-5 for c in copied)


def broken_model(component: str, value: float) -> WorldModel:
    modules = {**world_model().modules, component: copy.deepcopy(world_model().modules[component])}
    with torch.no_grad():
        next(iter(modules[component].parameters())).fill_(value)
    return dataclasses.replace(world_model(), modules=modules)


@pytest.mark.parametrize("component", ["encoder", "denoiser", "decoder_first", "decoder"])
def test_a_reference_that_is_not_finite_is_refused_by_name(component: str) -> None:
    with pytest.raises(TraceError, match=r"session 0, priming: \w+ is not finite"):
        record_trace(broken_model(component, float("nan")), 1, 2, "fp32", 0)


class FailsOnPureNoise(torch.nn.Module):
    """Is infinite where a frame begins, at noise level 1, which priming never sees."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, latent: torch.Tensor, history: torch.Tensor, level: torch.Tensor, *rest: torch.Tensor) -> object:
        return self.inner(latent / (level != 1.0), history, level, *rest)


def test_the_frame_where_gold_ends_is_named() -> None:
    modules = {**world_model().modules, "denoiser": FailsOnPureNoise(world_model().modules["denoiser"])}
    with pytest.raises(TraceError, match=r"session 0, frame 0 of gold: latent_1 is not finite"):
        record_trace(dataclasses.replace(world_model(), modules=modules), 1, 2, "fp32", 0)


def test_what_pytorch_itself_cannot_compute_at_a_precision_is_refused() -> None:
    with pytest.raises(TraceError, match=r"PyTorch at fp16.*not finite"):
        record_trace(broken_model("decoder", 1e6), 1, 2, "fp16", 0)


class FailsOnZeros(torch.nn.Module):
    """Divides by the size of its input."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.inner(frames) + 0 / frames.abs().sum()
        return made


def test_a_hard_input_that_gold_does_not_survive_is_dropped_by_name_and_reason() -> None:
    modules = {**world_model().modules, "encoder": FailsOnZeros(world_model().modules["encoder"])}
    model = dataclasses.replace(world_model(), modules=modules)
    recorded = record_trace(model, 1, 1, "fp32", 0, envelope_members=1)
    assert recorded.dropped == ("encoder: zeros: not finite: latents of gold",)
    kinds = {c.inputs_kind for c in recorded.calls if c.component == "encoder"}
    assert kinds == {"trace", "constant rows", "large values"}


@pytest.mark.parametrize(
    ("sessions", "frames", "words"),
    [(0, 4, "0 sessions"), (3, 4, "brings 2"), (1, 0, "0 frames"), (1, FRAMES + 1, "record fewer frames")],
)
def test_nothing_asked_or_too_much_is_refused(sessions: int, frames: int, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        record_trace(world_model(), sessions, frames, "fp32", 0)


def test_no_members_and_no_samples_are_refused() -> None:
    with pytest.raises(TraceError, match="ask for 1 or more"):
        record_trace(world_model(), 1, 1, "fp32", 0, envelope_members=0)
    with pytest.raises(TraceError, match="ask for 1 or more"):
        record_trace(world_model(), 1, 1, "fp32", 0, component_samples=0)
