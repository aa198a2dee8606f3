"""SANA-WM's first stage: the published sampler over a camera's path, rays and scans, mutants that must not pass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.sana_wm.cam_utils import prepare_camera
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors.torch import save_file
from torch import Tensor

from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.sana_wm.config import Settings
from porting.adapters.sana_wm.modules import Denoiser
from porting.adapters.sana_wm.rays import Rotations
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError
from porting.rollout import Rollout
from porting.runners.eager import TorchRunner
from tests.adapters import zoo_ports
from zoo.sana_wm import CHANNELS, RAY_CHANNELS, SETTINGS, make_transformer

CLIP = (1, 2, CHANNELS, 3, 2)
"""What is made of a clip of three latent frames."""


ENTRY = "sana-wm"
"""That `original`, `model` and `folder` are of."""


@pytest.fixture(autouse=True)
def _whole_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published class rounds its softmax's inputs to bfloat16; here it does not, so that it can be held to more."""
    monkeypatch.setattr(Tensor, "bfloat16", lambda self: self)


def run_published(model: WorldModel, noise: Tensor, clip: int) -> Tensor:
    """The loop of SanaWMPipeline: the first frame pinned, the negative prompt's run first. (1, T - 1, C, h, w)."""
    sample = model.samples[0]
    session = {name: torch.from_numpy(array) for name, array in sample.session_inputs.items()}
    path = {name: torch.from_numpy(array[clip]) for name, array in sample.frame_inputs.items()}
    transformer = make_transformer().eval()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.set_timesteps(SETTINGS["steps"])
    latents = torch.cat([session["first_latent"], noise], dim=1).transpose(1, 2)
    pinned = torch.zeros_like(latents)
    pinned[:, :, :1] = 1
    words = torch.cat([session["negative_prompt"], session["prompt"]])[:, None]
    given: dict[str, Any] = {
        "mask": torch.cat([session["negative_prompt_mask"], session["prompt_mask"]]),
        "camera_conditions": path["camera"].expand(2, -1, -1),
        "chunk_plucker": path["ray_map"].transpose(1, 2).expand(2, -1, -1, -1, -1),
    }
    for time in scheduler.timesteps:
        timestep = torch.min(time.expand(latents.shape).float(), (1 - pinned) * 1000)
        told = timestep[:, :1, :, 0, 0].expand(2, -1, -1)
        with torch.no_grad():
            made = transformer(torch.cat([latents] * 2), told, words, return_dict=False, **given)[0]
        unwanted, wanted = made.chunk(2)
        velocity = unwanted + 2.0 * (wanted - unwanted)
        flat = [part.reshape(1, CHANNELS, -1).transpose(1, 2) for part in (-velocity, latents)]
        stepped = scheduler.step(
            flat[0], time, flat[1], per_token_timesteps=timestep.reshape(1, CHANNELS, -1)[:, 0], return_dict=False
        )[0]
        stepped = stepped.transpose(1, 2).reshape(latents.shape)
        latents = torch.where(time / 1000 - 1e-6 < 1 - pinned, stepped, latents)
    return latents[:, :, 1:].transpose(1, 2)


def compare(model: WorldModel) -> float:
    """Largest difference of two clips from the published ones, as both are shown."""
    program, sample = model.program, model.samples[0]
    runners = {spec.name: TorchRunner(model.modules[spec.name], spec, compute="fp32") for spec in program.components}
    rollout, generator, worst = Rollout(program, runners), torch.Generator().manual_seed(3), 0.0
    rollout.open(sample.session_inputs)
    for clip in range(2):
        noise = torch.randn(CLIP, generator=generator)
        given = {name: array[clip] for name, array in sample.frame_inputs.items()}
        made = torch.from_numpy(rollout.step({**given, "noise": noise.numpy()}).copy())
        with torch.no_grad():
            expected = model.modules["view"](run_published(model, noise, clip))
        worst = max(worst, float((made - expected).abs().max()))
    return worst


def test_a_clip_is_the_published_one(model: WorldModel) -> None:
    """A block of delta rules and one of softmax, over pictures and over rays."""
    assert compare(model) < 1e-4


def change_base(model: WorldModel) -> None:
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    network = denoiser.transformer
    network.rotations = Rotations(network.clip, 24, base=100.0)


def swap_projections(model: WorldModel) -> None:
    """A key of the camera's branch mapped to the other layer."""
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    first, second = denoiser.transformer.transformer.blocks
    first.attn.q_proj_cam, second.attn.q_proj_cam = second.attn.q_proj_cam, first.attn.q_proj_cam


def forget_guidance(model: WorldModel) -> None:
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    denoiser.guidance_scale = 1.0


@pytest.mark.parametrize("spoil", [change_base, swap_projections, forget_guidance])
def test_a_world_that_is_another_one_is_noticed(spoil: Callable[[WorldModel], None], original: Path) -> None:
    model = load_world_model(original)
    spoil(model)
    assert compare(model) > 2e-3


def test_a_published_camera_is_taken_as_it_is(model: WorldModel) -> None:
    """`prepare_camera` makes both inputs of a path of poses, under other axes."""
    poses = np.tile(np.eye(4, dtype=np.float32), (17, 1, 1))
    poses[:, 2, 3] = np.linspace(0, 1, 17)
    lens = np.tile(np.array([64.0, 64.0, 32.0, 48.0], np.float32), (17, 1))
    made = prepare_camera(poses, lens, target_size=(96, 64), vae_stride=(8, 32, 32))
    assert made["raymap"].shape == model.program.input("camera").tensor.shape[1:]
    frames, _, *sides = model.program.input("ray_map").tensor.shape[1:]
    assert made["chunk_plucker"].shape == (48, frames, *sides)
    drawn = model.samples[0].frame_inputs["camera"][0, 0]
    assert np.allclose(drawn[0, :16], made["raymap"][0, :16].numpy())


def test_headers_tell_inputs_and_leave_out_what_is_not_read(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert (found.family, found.format) == ("sana_wm", "parts")
    assert found.parameters == model.parameters
    assert found.program.states == ()
    assert {given.tensor.name: (given.kind, given.tensor.shape) for given in model.program.inputs} == {
        "first_latent": ("conditioning", (1, 1, CHANNELS, 3, 2)),
        "prompt": ("conditioning", (1, 5, 24)),
        "prompt_mask": ("conditioning", (1, 5)),
        "negative_prompt": ("conditioning", (1, 5, 24)),
        "negative_prompt_mask": ("conditioning", (1, 5)),
        "camera": ("action", (1, 3, 20)),
        "ray_map": ("conditioning", (1, 3, RAY_CHANNELS, 3, 2)),
        "noise": ("noise", CLIP),
    }
    names = {name for name, _ in model.modules["denoiser"].named_parameters()}
    assert not any("raymap_embedder" in name or "blocks.1.attn.beta_proj" in name for name in names)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_noise_levels_are_told_in_whole_thousandths(steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(steps)
    assert Settings(steps=steps, shift=3.0).timesteps == tuple(scheduler.timesteps.long().float().tolist())


def test_a_camera_of_another_width_is_refused(folder: Path) -> None:
    shapes = {
        "first_latent": (1, 1, CHANNELS, 3, 2), "prompt": (1, 5, 24), "prompt_mask": (1, 5),
        "negative_prompt": (1, 5, 24), "negative_prompt_mask": (1, 5),
        "camera": (9, 1, 3, 16), "ray_map": (9, 1, 3, RAY_CHANNELS, 3, 2),
    }  # fmt: skip
    save_file({name: torch.zeros(2, *shape) for name, shape in shapes.items()}, folder / "sample.safetensors")
    with pytest.raises(CheckpointError, match=r"camera: is \(2, 9, 1, 3, 16\) float32, the model takes .*3, 20\)"):
        load_world_model(folder)


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("transformer", {"num_layers": 3}, "lacks blocks.2."),
        ("transformer", {"mlp_ratio": 3.0}, "has shape"),
        ("transformer", {"use_chunk_plucker_post_attn": False}, "use_chunk_plucker_post_attn False: only True"),
        ("transformer", {"linear_head_dim": 12}, "linear_head_dim 12 must be a multiple of 8"),
        ("transformer", {"pos_embed_type": "sincos"}, "SanaWMTransformer3DModel refuses it"),
        ("", {"height": 80}, "height 80 is not a multiple of 32"),
        ("", {"frames": 16}, "frames 16 is not 1 more than a multiple of 8"),
        ("", {"guidance": 2}, "guidance: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    zoo_ports.check_config_refused(folder, part, changes, words)


def test_weights_that_are_not_finite_are_named(folder: Path) -> None:
    zoo_ports.check_spoilt(folder, folder / "transformer/diffusion_pytorch_model.safetensors", "blocks.0.attn.dt_bias")


def test_the_published_size_is_inspected_without_weights() -> None:
    found = inspect_checkpoint("config:sana-wm-bidirectional")
    assert found.family == "sana_wm"
    assert found.parameters == pytest.approx(2.6e9, rel=0.15)


def test_the_exported_view_shows_clips(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("view",), tmp_path, 3)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


@pytest.mark.slow
def test_it_is_ported_whole(original: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(original, tmp_path / "port")
    zoo_ports.check_proved(target, output)
