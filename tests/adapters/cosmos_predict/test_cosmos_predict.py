"""Cosmos Predict: the published transformer and sampler, chunk after chunk; and pipelines that are not one."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.transformers import transformer_cosmos
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

import zoo
from porting.adapters.cosmos_predict.adapter import convert_transformer
from porting.adapters.cosmos_predict.config import Settings
from porting.adapters.cosmos_predict.modules import Decoder, Denoiser, Encoder
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError
from tests.adapters import zoo_ports
from zoo.cosmos_predict import make_autoencoder, make_transformer

ENTRY = "cosmos-predict"
"""That `original`, `model` and `folder` are of."""


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """diffusers' own forward; the one function of torchvision that it calls is nearest-neighbour scaling."""
    nearest = SimpleNamespace(
        functional=SimpleNamespace(resize=lambda x, size, interpolation: F.interpolate(x, size, mode="nearest")),
        InterpolationMode=SimpleNamespace(NEAREST="nearest"),
    )
    monkeypatch.setattr(transformer_cosmos, "transforms", nearest, raising=False)
    model: torch.nn.Module = make_transformer().eval()
    return model


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def given_mask(shape: tuple[int, ...]) -> Tensor:
    mask = torch.zeros(1, 1, *shape[2:])
    mask[:, :, :2] = 1
    return mask


def test_headers_tell_parts_and_state(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert (found.family, found.format) == ("cosmos_predict", "parts")
    assert found.parameters == model.parameters
    assert {c.name: c.weights for c in found.components} == {
        "encoder": "vae", "opener": "", "denoiser": "transformer", "decoder": "vae",
    }  # fmt: skip
    (state,) = found.program.states
    assert state.tensor.name == "context"
    assert model.program.pictures_per_frame == 8


def test_the_transformer_is_the_published_one(model: WorldModel, published: torch.nn.Module) -> None:
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    context = model.program.state("context").tensor.shape
    latents = draw(1, 1, 4, 4, *context[3:])
    level, prompt = torch.tensor([0.3]), draw(2, 1, 6, 24)
    with torch.no_grad():
        made = denoiser.transformer(latents, level, prompt)
        wanted = published(
            latents,
            level,
            prompt,
            fps=30,
            condition_mask=given_mask(tuple(latents.shape)),
            padding_mask=torch.zeros(1, 1, 32, 32),
            return_dict=False,
        )[0]
    assert torch.allclose(made, wanted, atol=3e-5)


def test_a_chunk_is_sampled_as_the_published_pipeline_does(model: WorldModel, published: torch.nn.Module) -> None:
    """The loop of CosmosVideoToWorldPipeline with its scheduler, the same noise given to both."""
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    settings = denoiser.settings
    shape = (1, 4, 4, *model.program.state("context").tensor.shape[3:])
    context, prompts = draw(3, *shape), [draw(4, 1, 6, 24), draw(5, 1, 6, 24)]
    noise, augmentation = draw(6, *shape), [draw(7 + step, *shape) for step in range(settings.steps)]
    scheduler = EDMEulerScheduler(
        sigma_min=settings.sigma_min, sigma_max=settings.sigma_max, sigma_data=settings.sigma_data,
        rho=settings.rho, final_sigmas_type="zero",
    )  # fmt: skip
    scheduler.set_timesteps(settings.steps)
    assert torch.allclose(scheduler.sigmas, torch.tensor(settings.sigmas), rtol=1e-5)
    mask, latents, made = given_mask(shape), noise * settings.sigma_max, noise * settings.sigma_max
    with torch.no_grad():
        for step, time in enumerate(scheduler.timesteps):
            sigma = scheduler.sigmas[step]
            ratio = scheduler._get_conditioning_c_in(settings.augment_sigma) / scheduler._get_conditioning_c_in(sigma)
            conditioned = (context + augmentation[step] * settings.augment_sigma) * ratio
            seen = scheduler.scale_model_input(mask * conditioned + (1 - mask) * latents, time)
            clean = []
            for prompt in prompts:
                answer = published(
                    seen, time[None], prompt, fps=30, condition_mask=mask,
                    padding_mask=torch.zeros(1, 1, 32, 32), return_dict=False,
                )[0]  # fmt: skip
                clean.append(mask * context + (1 - mask) * scheduler.precondition_outputs(latents, answer, sigma))
            guided = clean[0] + settings.guidance_scale * (clean[0] - clean[1])
            latents = scheduler.step(guided, time, latents, return_dict=False, pred_original_sample=guided)[0]
            levels = (torch.tensor([value]) for value in settings.sigmas[step : step + 2])
            made = denoiser(made, context[:, :, :2], augmentation[step][:, :, :2], *levels, *prompts)
    assert torch.allclose(made, latents, atol=2e-4 * float(latents.abs().max()))


def test_pictures_go_through_the_published_autoencoder(model: WorldModel) -> None:
    encoder, decoder = model.modules["encoder"], model.modules["decoder"]
    assert isinstance(encoder, Encoder)
    assert isinstance(decoder, Decoder)
    vae = make_autoencoder().eval()
    clip = torch.rand(1, 5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, std = (
        torch.tensor(values).view(1, 4, -1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    with torch.no_grad():
        raw = vae.encode(clip.transpose(1, 2) * 2 - 1).latent_dist.mode()
        context = encoder(clip)
        assert torch.allclose(context, (raw - mean[:, :, :2]) * 0.5 / std[:, :, :2], atol=1e-5)
        latents = draw(2, 1, 4, 4, *context.shape[3:])
        video = (vae.decode(latents * std / 0.5 + mean).sample / 2 + 0.5).clamp(0, 1)
        frame, tail = decoder(latents)
    assert video.shape[2] == 13
    assert torch.allclose(frame, video[:, :, 5:].flatten(2, 3), atol=1e-5)
    assert torch.allclose(tail, video[:, :, -5:].transpose(1, 2), atol=1e-5)


def test_the_exported_denoiser_makes_chunk_after_chunk(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("denoiser",), tmp_path, 4)
    zoo_ports.check_alive(frames)
    assert error < 1e-3


def test_original_names_go_through_the_published_converter(original: Path) -> None:
    """Names of Cosmos 1.0; they differ from those of 2.0, which the converter takes everything for otherwise."""
    stored = load_file(original / "transformer/diffusion_pytorch_model.safetensors")
    names = {
        "patch_embed.proj.weight": "x_embedder.proj.1.weight",
        "time_embed.t_embedder.linear_1.weight": "t_embedder.1.linear_1.weight",
        "time_embed.norm.weight": "affline_norm.weight",
        "learnable_pos_embed.pos_emb_h": "extra_pos_embedder.pos_emb_h",
        "transformer_blocks.1.attn1.to_q.weight": "blocks.block1.blocks.0.block.attn.to_q.0.weight",
        "transformer_blocks.1.attn1.norm_q.weight": "blocks.block1.blocks.0.block.attn.to_q.1.weight",
        "transformer_blocks.1.norm2.linear_2.weight": "blocks.block1.blocks.1.adaLN_modulation.2.weight",
        "transformer_blocks.1.ff.net.2.weight": "blocks.block1.blocks.2.block.layer2.weight",
        "proj_out.weight": "final_layer.linear.weight",
    }
    renamed = {f"net.{new}": stored[name] for name, new in names.items()} | {"net.pos_embedder.seq": torch.ones(1)}
    converted = convert_transformer(renamed)
    assert {name: tensor is stored[name] for name, tensor in converted.items()} == dict.fromkeys(names, True)
    assert len(renamed) == len(names) + 1


def test_the_noise_levels_are_those_of_karras() -> None:
    sigmas = Settings(steps=5, sigma_max=80, sigma_min=0.002).sigmas
    assert len(sigmas) == 6
    assert math.isclose(sigmas[0], 80)
    assert math.isclose(sigmas[4], 0.002)
    assert sigmas[5] == 0
    assert list(sigmas) == sorted(sigmas, reverse=True)


def test_a_missing_part_and_a_part_of_another_kind(folder: Path) -> None:
    zoo_ports.change_config(folder / "vae", {"_class_name": "AutoencoderKLWan"})
    with pytest.raises(ConfigError, match=r"vae/config\.json: is of a AutoencoderKLWan"):
        inspect_checkpoint(folder)
    (folder / "vae").rename(folder.parent / "vae")
    with pytest.raises(CheckpointError, match=r"vae: is missing, though model_index\.json names it"):
        inspect_checkpoint(folder)
    zoo_ports.change_config(folder, {"vae": None}, "model_index.json")
    with pytest.raises(CheckpointError, match=r"has no part vae; its parts: transformer"):
        inspect_checkpoint(folder)


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("transformer", {"num_attention_heads": 3}, "has shape (48, 24), "),
        ("transformer", {"in_channels": 4}, "a video-to-world one for 4 latent channels takes 5"),
        ("transformer", {"num_layers": 3}, "lacks transformer_blocks.2."),
        ("transformer", {"attention_head_dim": "wide"}, "CosmosTransformer3DModel refuses it"),
        ("vae", {"latent_channels": 5}, "latent channels"),
        ("", {"height": 33}, "height 33 is not a multiple of 8"),
        ("", {"frames": 12}, "frames 12 is not 1 more than a multiple of 4"),
        ("", {"frames": 33}, "the autoencoder tells the statistics of 4"),
        ("", {"context_frames": 13}, "leave nothing to make"),
        ("", {"guidance": 2}, "guidance: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    zoo_ports.check_config_refused(folder, part, changes, words)


def test_what_is_not_used_is_not_hashed(folder: Path) -> None:
    digest = load_world_model(folder).digest
    shutil.copytree(folder / "vae", folder / "text_encoder")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index))
    before = load_world_model(folder).digest
    zoo_ports.spoil(folder / "text_encoder/diffusion_pytorch_model.safetensors", "quant_conv.bias")
    assert load_world_model(folder).digest == before
    zoo_ports.change_config(folder, {"fps": 24}, "worldport.json")
    assert load_world_model(folder).digest not in {digest, before}
    zoo_ports.check_spoilt(folder, folder / "vae/diffusion_pytorch_model.safetensors", "quant_conv.bias")


@pytest.mark.slow
def test_it_is_ported_whole(tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(zoo.build("cosmos-predict", tmp_path / "m"), tmp_path / "port")
    zoo_ports.check_proved(target, output)
