"""SANA-WM's refiner: the published pipeline's own blocks past its window, what is carried, and mutants."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.sana_wm.refiner import SanaWMLTX2Refiner
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.sana_wm_refiner.modules import Denoiser, Recorder
from porting.adapters.sana_wm_refiner.rotation import Rotations
from porting.adapters.world_model import WorldModel
from porting.errors import StateContractError
from porting.export import export_component
from porting.rollout import Rollout
from porting.runners.eager import TorchRunner
from tests.adapters import zoo_ports
from zoo.sana_wm_refiner import CHANNELS, SETTINGS, make_transformer

BLOCKS, BLOCK, ROWS, COLUMNS = 6, 2, 3, 2
SLOTS = 2
"""A history of 3 latent frames in blocks of 2: of the older one, the later frame is seen."""


ENTRY = "sana-wm-refiner"
"""That `original`, `model` and `folder` are of."""


class Published(SanaWMLTX2Refiner):  # type: ignore[misc]
    """The published pipeline, given a prompt's embedding instead of its words."""

    def _encode_prompt(self, prompt: Any, *, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return prompt, torch.ones(prompt.shape[:2])


def run_published(model: WorldModel, transformer: Any, window: int) -> list[Tensor]:
    """Each block's latents (1, B, C, h, w), refined with noise of seed 7."""
    made = Published(transformer.eval(), None, None, None, FlowMatchEulerDiscreteScheduler(shift=1.0))
    made.set_progress_bar_config(disable=True)
    sample = model.samples[0]
    coarse = [torch.from_numpy(array) for array in sample.frame_inputs["coarse"][:BLOCKS]]
    latents = torch.cat([torch.from_numpy(sample.session_inputs["first_latents"]), *coarse], dim=1).transpose(1, 2)
    prompt: Any = torch.from_numpy(sample.session_inputs["prompt"])
    refined = made(
        latents, prompt, fps=16.0, block_size=BLOCK, kv_max_frames=window, sigmas=tuple(SETTINGS["sigmas"]),  # type: ignore[arg-type]
        generator=torch.Generator().manual_seed(7), output_type="latent",
    )  # fmt: skip
    return list(refined[:, :, 1:].transpose(1, 2).split(BLOCK, dim=1))


def run_own(model: WorldModel) -> list[Tensor]:
    """The same by the frame program: pictures (1, 3, rows, columns)."""
    program, sample = model.program, model.samples[0]
    runners = {spec.name: TorchRunner(model.modules[spec.name], spec, compute="fp32") for spec in program.components}
    rollout, generator = Rollout(program, runners), torch.Generator().manual_seed(7)
    rollout.open(sample.session_inputs)
    made = []
    for index in range(BLOCKS):
        noise = torch.randn(1, CHANNELS, BLOCK, ROWS, COLUMNS, generator=generator).transpose(1, 2)
        given = {"coarse": sample.frame_inputs["coarse"][index], "noise": np.ascontiguousarray(noise.numpy())}
        made.append(torch.from_numpy(rollout.step(given).copy()))
    return made


def compare(model: WorldModel, transformer: Any, window: int = 4) -> float:
    """Largest difference from the published blocks, as both are shown."""
    view = model.modules["view"]
    with torch.no_grad():
        expected = [view(block) for block in run_published(model, transformer, window)]
    return max(float((m - e).abs().max()) for m, e in zip(run_own(model), expected, strict=True))


def test_a_session_is_the_published_one_past_the_window(model: WorldModel) -> None:
    assert compare(model, make_transformer()) < 1e-4


@pytest.mark.parametrize(
    ("rope_type", "gated", "window"), [("interleaved", False, 4), ("split", True, 5), ("interleaved", True, 9)]
)
def test_so_it_is_with_other_rotations_gates_and_windows(
    rope_type: str, gated: bool, window: int, folder: Path
) -> None:
    """A window of 5 holds blocks whole, one of 9 more than one."""
    transformer = make_transformer(rope_type, gated=gated)
    transformer.save_pretrained(folder / "transformer")
    zoo_ports.change_config(folder, {"window": window}, "worldport.json")
    assert compare(load_world_model(folder), transformer, window) < 1e-4


def change_base(model: WorldModel) -> None:
    for name in ("denoiser", "recorder"):
        component = model.modules[name]
        assert isinstance(component, Denoiser | Recorder)
        network = component.transformer
        network.rotations.rope.theta = 50.0
        network.rotations = Rotations(network.stream, network.rotations.rope, 16.0)


def leave_sink(model: WorldModel) -> None:
    """The sink stays where it was instead of moving along."""
    for name in ("denoiser", "recorder"):
        component = model.modules[name]
        assert isinstance(component, Denoiser | Recorder)
        for part in ("cos", "sin"):
            table = component.transformer.rotations.get_buffer(f"sink_{part}")
            table[1:] = table[:1].clone()


def swap_layers(model: WorldModel) -> None:
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    first, second = denoiser.transformer.transformer.transformer_blocks
    first.attn1, second.attn1 = second.attn1, first.attn1


@pytest.mark.parametrize("spoil", [change_base, leave_sink, swap_layers])
def test_a_refiner_that_is_another_one_is_noticed(spoil: Callable[[WorldModel], None], original: Path) -> None:
    model = load_world_model(original)
    spoil(model)
    assert compare(model, make_transformer()) > 2e-3


class Forgetful(Recorder):
    """Records a block as if no others had come before it."""

    def forward(self, latents: Tensor, prompt: Tensor, *past: Tensor) -> tuple[Tensor, Tensor]:
        """See `Recorder.forward`."""
        return super().forward(latents, prompt, *past[:3], torch.zeros_like(past[3]), past[4])


def test_a_history_that_is_dropped_is_named(model: WorldModel, tmp_path: Path) -> None:
    recorder = model.modules["recorder"]
    assert isinstance(recorder, Recorder)
    spoilt = replace(model, modules={**model.modules, "recorder": Forgetful(recorder.transformer).eval()})
    with pytest.raises(StateContractError, match=r"recorder: .*history_keys"):
        export_component(spoilt, "recorder", tmp_path, zoo_ports.OPSET)


def test_headers_tell_state_and_leave_sound_out(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert (found.family, found.format) == ("sana_wm_refiner", "parts")
    assert found.parameters == model.parameters
    names = set(dict(model.modules["denoiser"].named_parameters()))
    assert not any("audio" in name for name in names)
    assert {s.tensor.name: (s.update, s.tensor.shape) for s in found.program.states} == {
        "sink_keys": ("replace", (1, 2, 2, 6, 16)),
        "sink_values": ("replace", (1, 2, 2, 6, 16)),
        "history_keys": ("ring", (1, SLOTS, 2, 2, 12, 16)),
        "history_values": ("ring", (1, SLOTS, 2, 2, 12, 16)),
    }
    assert model.program.pictures_per_frame == BLOCK


def test_the_transformer_may_stand_alone(original: Path, model: WorldModel, tmp_path: Path) -> None:
    alone = shutil.copytree(original / "transformer", tmp_path / "t")
    shutil.copy(original / "worldport.json", alone)
    assert inspect_checkpoint(alone).parameters == model.parameters


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("transformer", {"num_layers": 3}, "lacks transformer_blocks.2."),
        ("transformer", {"caption_channels": 16}, "asks for (32, 16)"),
        ("transformer", {"cross_attn_mod": True}, "is of LTX-2.3"),
        ("transformer", {"patch_size": 2}, "patch_size 2, patch_size_t 1: must be 1"),
        ("transformer", {"cross_attention_dim": 16}, "the width 32"),
        ("transformer", {"out_channels": 5}, "in_channels 6 and out_channels 5 differ"),
        ("transformer", {"num_layers": "many"}, "SanaWMLTX2RefinerTransformer3DModel refuses it"),
        ("", {"height": 80}, "height 80 is not a multiple of 32"),
        ("", {"window": 1}, "window 1 leaves no history beside a sink of 1"),
        ("", {"sigmas": [0.5, 0.7, 0.0]}, "do not fall to 0"),
        ("", {"blocks": 2}, "blocks: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    zoo_ports.check_config_refused(folder, part, changes, words)


def test_weights_that_are_not_finite_are_named(folder: Path) -> None:
    zoo_ports.check_spoilt(folder, folder / "transformer/diffusion_pytorch_model.safetensors", "proj_in.bias")


def test_the_published_size_is_inspected_without_weights() -> None:
    found = inspect_checkpoint("config:sana-wm-refiner")
    assert found.family == "sana_wm_refiner"
    assert found.parameters == pytest.approx(13e9, rel=0.1)
    assert {ring.window for ring in found.program.rings} == {4}


def test_the_exported_denoiser_and_recorder_run_past_eviction(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("recorder",), tmp_path, 2 * SLOTS + 2)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


@pytest.mark.slow
def test_it_is_ported_whole(original: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(original, tmp_path / "port")
    zoo_ports.check_proved(target, output)
