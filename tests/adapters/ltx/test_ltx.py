"""LTX-Video: the published transformer, sampler and autoencoder; both file layouts; and pipelines that are not one."""

from pathlib import Path

import pytest
import torch
from diffusers.models.normalization import RMSNorm
from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from porting.adapters.ltx.config import Settings
from porting.adapters.ltx.modules import Denoiser
from porting.adapters.ltx.norms import PlainNorm
from porting.adapters.ltx.transformer import Transformer
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError
from tests.adapters import zoo_ports
from zoo.ltx import CHANNELS, build_original, make_autoencoder, make_transformer

SCALES = (2 / 25, 4.0, 4.0)
"""Seconds and pixels of the tiny clip's latents."""
SHAPE = (1, 3, CHANNELS, 4, 4)


ENTRY = "ltx-video"
"""That `original`, `model` and `folder` are of."""


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def schedule(steps: int, tokens: int) -> FlowMatchEulerDiscreteScheduler:
    """The published scheduler, its levels set as LTXPipeline sets them."""
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1)
    levels = torch.linspace(1.0, 1 / steps, steps, dtype=torch.float64).tolist()
    scheduler.set_timesteps(steps, sigmas=levels, mu=calculate_shift(tokens, 1024, 4096, 0.95, 2.05))
    return scheduler


def run_published(network: torch.nn.Module, latents: Tensor, time: Tensor, prompts: Tensor, masks: Tensor) -> Tensor:
    """Latents (B, T, C, h, w) through diffusers' own forward."""
    tokens = latents.permute(0, 1, 3, 4, 2).flatten(1, 3)
    answer = network(
        tokens, prompts, time.expand(len(tokens)), masks, num_frames=3, height=4, width=4,
        rope_interpolation_scale=SCALES, return_dict=False,
    )[0]  # fmt: skip
    made: Tensor = answer.unflatten(1, (3, 4, 4)).permute(0, 1, 4, 2, 3)
    return made


def test_headers_tell_parts_and_inputs(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert (found.family, found.format) == ("ltx", "parts")
    assert {c.name: c.weights for c in found.components} == {"denoiser": "transformer", "decoder": "vae"}
    assert found.parameters == model.parameters
    assert found.program.states == ()
    assert [(i.tensor.name, i.kind) for i in found.program.inputs] == [
        ("prompt", "conditioning"), ("prompt_mask", "conditioning"), ("negative_prompt", "conditioning"),
        ("negative_prompt_mask", "conditioning"), ("noise", "noise"),
    ]  # fmt: skip
    masks = [sample.session_inputs["prompt_mask"] for sample in model.samples]
    assert all(set(mask.flatten().tolist()) <= {0.0, 1.0} and mask[0, 0] == 1 for mask in masks)
    assert model.program.pictures_per_frame == 5


def test_a_clip_is_sampled_as_the_published_pipeline_does(model: WorldModel) -> None:
    """The loop of LTXPipeline with its scheduler, the same noise and padded prompts given to both."""
    denoiser = model.modules["denoiser"]
    published, scheduler = make_transformer().eval(), schedule(2, 48)
    latents, prompts = draw(1, *SHAPE), draw(2, 2, 6, 24)
    masks = torch.tensor([[1.0, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]])
    made, sigmas = latents, Settings(steps=2).list_sigmas(48)
    with torch.no_grad():
        for index, time in enumerate(scheduler.timesteps):
            wanted, unwanted = run_published(published, latents.expand(2, -1, -1, -1, -1), time, prompts, masks).chunk(
                2
            )
            velocity = unwanted + 2.0 * (wanted - unwanted)
            latents = scheduler.step(velocity, time, latents, return_dict=False)[0]
            levels = torch.tensor([1000 * sigmas[index]]), torch.tensor([sigmas[index + 1] - sigmas[index]])
            made = denoiser(made, *levels, prompts[:1], masks[:1], prompts[1:], masks[1:])
    assert torch.allclose(made, latents, atol=1e-4 * float(latents.abs().max()))


@pytest.mark.parametrize(("steps", "tokens"), [(2, 48), (8, 1024), (50, 7392)])
def test_the_noise_levels_are_the_schedulers(steps: int, tokens: int) -> None:
    wanted = schedule(steps, tokens).sigmas
    assert torch.allclose(wanted, torch.tensor(Settings(steps=steps).list_sigmas(tokens)), atol=1e-6)


def test_a_rotation_of_another_base_is_another_model(model: WorldModel) -> None:
    """What the constants are computed from is noticed, though no tensor of a checkpoint holds it."""
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    published, changed = make_transformer().eval(), make_transformer().eval()
    changed.rope.theta = 9000.0
    latents, time, prompts, masks = draw(3, *SHAPE), torch.tensor([700.0]), draw(4, 1, 6, 24), torch.ones(1, 6)
    with torch.no_grad():
        wanted = run_published(published, latents, time, prompts, masks)
        made = denoiser.transformer(latents, time, prompts, masks)
        other = Transformer(changed, SHAPE, SCALES)(latents, time, prompts, masks)
    limit = 1e-5 * float(wanted.abs().max())
    assert torch.allclose(made, wanted, atol=limit)
    assert float((other - wanted).abs().max()) > 100 * limit


def test_pictures_are_the_published_autoencoders(model: WorldModel) -> None:
    vae, latents = make_autoencoder().eval(), draw(5, *SHAPE)
    mean, std = (values.view(1, 1, -1, 1, 1) for values in (vae.latents_mean, vae.latents_std))
    with torch.no_grad():
        video = vae.decode((latents * std + mean).transpose(1, 2)).sample
        frame = model.modules["decoder"](latents)
    assert video.shape == (1, 3, 5, 16, 16)
    assert torch.allclose(frame, (video / 2 + 0.5).clamp(0, 1).flatten(2, 3), atol=1e-5)


def test_no_norm_computes_in_single_precision(model: WorldModel) -> None:
    """The published ones do, whatever they are given: then a float64 reference would be none."""
    x = draw(6, 1, 5, 12).double()
    wanted = x / (x.square().mean(-1, keepdim=True) + 1e-8).sqrt()
    assert float((PlainNorm(1e-8)(x) - wanted).abs().max()) < 1e-14
    for name, published in (("denoiser", make_transformer()), ("decoder", make_autoencoder().decoder)):
        assert any(type(part) is RMSNorm for part in published.modules()), name
        assert not any(type(part) is RMSNorm for part in model.modules[name].modules()), name


def test_the_original_file_goes_through_the_published_converters(tmp_path: Path) -> None:
    build_original(tmp_path / "m")
    found = load_world_model(tmp_path / "m")
    assert found.family == "ltx"
    for component, wrapped, published in (
        ("denoiser", "transformer.transformer", make_transformer(1, 64)), ("decoder", "vae", make_autoencoder(4)),
    ):  # fmt: skip
        own = found.modules[component].state_dict()
        for name, tensor in published.state_dict().items():
            if not name.startswith("encoder."):
                assert torch.equal(own[f"{wrapped}.{name}"], tensor), name


def test_a_tensor_stored_as_another_layers_is_named(tmp_path: Path) -> None:
    build_original(tmp_path / "m")
    path = tmp_path / "m/ltx-video-2b-v0.9.safetensors"
    tensors = load_file(path)
    start = "model.diffusion_model.transformer_blocks"
    tensors[f"{start}.2.attn1.to_q.weight"] = tensors.pop(f"{start}.1.attn1.to_q.weight")
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"transformer_blocks\.1\.attn1\.to_q\.weight"):
        inspect_checkpoint(tmp_path / "m")
    save_file({k: v for k, v in tensors.items() if k.startswith("model.")}, path)
    with pytest.raises(CheckpointError, match=r"lacks .*vae\.encoder\.conv_out.*save transformer and autoencoder"):
        inspect_checkpoint(tmp_path / "m")


def test_the_exported_decoder_makes_clip_after_clip(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("decoder",), tmp_path, 3)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("transformer", {"num_layers": 3}, "lacks transformer_blocks.2."),
        ("transformer", {"patch_size": 2}, "takes each latent as a token"),
        ("transformer", {"in_channels": 5, "out_channels": 5}, "takes 5 channels, the autoencoder's latents have 6"),
        ("transformer", {"caption_channels": 32}, "asks for (32, 32)"),
        ("transformer", {"num_layers": "many"}, "LTXVideoTransformer3DModel refuses it"),
        ("vae", {"_class_name": "AutoencoderKLWan"}, "is of a AutoencoderKLWan"),
        ("vae", {"timestep_conditioning": True}, "0.9.0 alone is ported"),
        ("vae", {"decoder_block_out_channels": [8, 8]}, "has"),
        ("", {"height": 18}, "height 18 is not a multiple of 4"),
        ("", {"frames": 4}, "frames 4 is not 1 more than a multiple of 2"),
        ("", {"guidance": 2}, "guidance: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    zoo_ports.check_config_refused(folder, part, changes, words)


def test_weights_that_are_not_finite_are_named(folder: Path) -> None:
    zoo_ports.check_spoilt(folder, folder / "vae/diffusion_pytorch_model.safetensors", "latents_std")


def test_the_published_size_is_inspected_without_weights() -> None:
    found = inspect_checkpoint("config:ltx-video-2b-0.9")
    assert found.family == "ltx"
    sizes = {component.name: component.parameters for component in found.components}
    assert sizes["denoiser"] == pytest.approx(1.92e9, rel=0.02)


@pytest.mark.slow
def test_it_is_ported_whole(original: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(original, tmp_path / "port")
    zoo_ports.check_proved(target, output)
