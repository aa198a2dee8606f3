"""Wan: the published transformer, sampler and autoencoder, clip after clip; and pipelines that are not one."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

import zoo
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.wan.config import Settings
from porting.adapters.wan.modules import Denoiser
from porting.adapters.wan.parts import measure_autoencoder
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError
from tests.adapters import zoo_ports
from zoo.wan import make_autoencoder, make_original_autoencoder, make_transformer, original_autoencoder

ENTRY = "wan-2.1"
"""That `original`, `model` and `folder` are of."""


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stream(model: WorldModel, latents: Tensor) -> Tensor:
    """Latents (1, T, C, h, w) through both graphs to (1, 3, pictures * H, W)."""
    with torch.no_grad():
        pictures, *caches = model.modules["decoder_first"](latents[:, 0])
        made = [pictures]
        for t in range(1, latents.shape[1]):
            pictures, *caches = model.modules["decoder"](latents[:, t], *caches)
            made.append(pictures)
    return torch.cat(made, dim=2)


def test_headers_tell_parts_and_state(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert (found.family, found.format) == ("wan", "parts")
    assert {c.name: c.weights for c in found.components} == {
        "denoiser": "transformer", "decoder_first": "vae", "decoder": "vae", "joiner": "",
    }  # fmt: skip
    assert found.parameters == model.parameters
    assert {state.update for state in found.program.states} == {"replace"}
    assert all(state.tensor.shape[2] == 2 for state in found.program.states)
    assert model.program.pictures_per_frame == 5


def test_a_clip_is_sampled_as_the_published_pipeline_does(model: WorldModel) -> None:
    """The loop of WanPipeline with the flow's Euler scheduler, the same noise given to both."""
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    published = make_transformer(4).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(2)
    noise, prompts = draw(1, 1, 3, 4, 4, 4), [draw(2, 1, 6, 24), draw(3, 1, 6, 24)]
    made, latents = noise, noise.transpose(1, 2)
    sigmas = Settings(steps=2).sigmas
    with torch.no_grad():
        for index, time in enumerate(scheduler.timesteps):
            wanted, unwanted = (published(latents, time[None], p, return_dict=False)[0] for p in prompts)
            velocity = unwanted + 2.0 * (wanted - unwanted)
            latents = scheduler.step(velocity, time, latents, return_dict=False)[0]
            level, following = sigmas[index : index + 2]
            made = denoiser(made, torch.tensor([1000 * level]), torch.tensor([following - level]), *prompts)
    assert torch.allclose(made.transpose(1, 2), latents, atol=1e-4 * float(latents.abs().max()))


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_the_noise_levels_are_the_schedulers(steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
    scheduler.set_timesteps(steps)
    assert torch.allclose(scheduler.sigmas, torch.tensor(Settings(steps=steps, shift=5.0).sigmas), atol=1e-6)


@pytest.mark.parametrize("name", ["wan-2.1", "wan-2.2-5b"])
def test_a_streamed_clip_is_the_one_decoded_whole(name: str, tmp_path: Path) -> None:
    """Past the first latent frames, whose pasts differ: seven of them."""
    streaming = load_world_model(zoo.build(name, tmp_path / "m"))
    vae = make_autoencoder(residual=name == "wan-2.2-5b").eval()
    shape = streaming.program.component("decoder").inputs[0].shape
    latents = draw(4, 1, 7, *shape[1:])
    mean, std = (torch.tensor(v).view(1, 1, -1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        video = vae.decode((latents * std + mean).transpose(1, 2)).sample / 2 + 0.5
    assert video.shape[2] == 13
    assert float(video.std()) > 0.02
    assert torch.allclose(stream(streaming, latents), video.flatten(2, 3), atol=1e-5)


def test_a_second_transformer_takes_over_below_the_boundary(tmp_path: Path) -> None:
    """At two steps with a shift of 3 the second level, 0.009, lies below 0.875."""
    path = zoo.build("wan-2.2-a14b", tmp_path / "m")
    found = load_world_model(path)
    calls = [call.component for call in found.program.frame]
    assert calls[:2] == ["denoiser", "low_noise_denoiser"]
    weights = [found.modules[name].state_dict() for name in calls[:2]]
    key = "transformer.transformer.blocks.0.attn1.to_q.weight"
    assert torch.equal(weights[0][key], make_transformer(4).state_dict()[key.split(".", 2)[2]])
    assert torch.equal(weights[1][key], make_transformer(4, seed=13).state_dict()[key.split(".", 2)[2]])
    zoo_ports.change_config(path, {"boundary_ratio": 1.5}, "model_index.json")
    with pytest.raises(ConfigError, match=r"boundary_ratio 1\.5 is not between 0 and 1"):
        inspect_checkpoint(path)
    zoo_ports.change_config(path, {"boundary_ratio": 0.875, "transformer_2": None}, "model_index.json")
    with pytest.raises(CheckpointError, match=r"has no part transformer_2"):
        inspect_checkpoint(path)


def test_original_names_go_through_the_published_converters(tmp_path: Path) -> None:
    found = load_world_model(zoo.build("wan-2.1-original", tmp_path / "m"))
    assert found.family == "wan"
    published = make_transformer(16).state_dict()
    own = found.modules["denoiser"].state_dict()
    for name, tensor in published.items():
        assert torch.equal(own[f"transformer.transformer.{name}"], tensor), name
    assert len(found.program.states) == 19
    (tmp_path / "m/config.json").unlink()
    # Without a config heads are taken to be 128 wide, and the whole is 48.
    with pytest.raises(ConfigError, match=r"config\.json: dim or num_heads is no size"):
        inspect_checkpoint(f"wan@{tmp_path / 'm'}")
    (tmp_path / "m/Wan2.1_VAE.pth").rename(tmp_path / "vae.pth")
    with pytest.raises(CheckpointError, match=r"has 0 parts that are a Wan transformer"):
        inspect_checkpoint(f"wan@{tmp_path / 'm'}")
    (tmp_path / "m/diffusion_pytorch_model.safetensors").rename(tmp_path / "m/first.safetensors")
    shutil.copy(tmp_path / "m/first.safetensors", tmp_path / "m/second.safetensors")
    with pytest.raises(CheckpointError, match=r"has 2 parts that are a Wan transformer"):
        inspect_checkpoint(f"wan@{tmp_path / 'm'}")


def test_both_layouts_hold_the_same_tensors(tmp_path: Path) -> None:
    """The original repository's folder, and a diffusers pipeline of the same model."""
    original = load_world_model(zoo.build("wan-2.1-original", tmp_path / "original"))
    folder = zoo.build("wan-2.1", tmp_path / "pipeline")
    make_transformer(16).save_pretrained(folder / "transformer")
    make_original_autoencoder().save_pretrained(folder / "vae")
    published = load_world_model(folder)
    assert original.program == published.program
    for name, module in published.modules.items():
        own, state = original.modules[name].state_dict(), module.state_dict()
        assert own.keys() == state.keys()
        for key, tensor in state.items():
            assert torch.equal(own[key], tensor), (name, key)


def test_what_else_the_original_folder_holds_is_not_part_of_a_port(tmp_path: Path) -> None:
    folder = zoo.build("wan-2.1-original", tmp_path / "m")
    digest = load_world_model(folder).digest
    torch.save({"token_embedding.weight": torch.ones(4, 2)}, folder / "models_t5_umt5-xxl-enc-bf16.pth")
    assert load_world_model(folder).digest == digest
    torch.save(original_autoencoder(make_original_autoencoder().state_dict()), folder / "second.pth")
    with pytest.raises(
        CheckpointError, match=r"has 2 parts that are a Wan autoencoder, of its parts: diffusion_pytorch"
    ):
        inspect_checkpoint(folder)


def test_a_tensor_stored_as_another_layers_is_named(tmp_path: Path) -> None:
    path = zoo.build("wan-2.1-original", tmp_path / "m") / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["blocks.2.self_attn.q.weight"] = tensors.pop("blocks.1.self_attn.q.weight")
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"blocks\.1\.attn1\.to_q\.weight"):
        inspect_checkpoint(tmp_path / "m")


def test_the_sizes_of_an_original_autoencoder_are_read_off_its_tensors() -> None:
    """Of the published one too: the numbers of wan/modules/vae.py, which are diffusers' defaults."""
    for vae in (AutoencoderKLWan(base_dim=4), make_original_autoencoder()):
        shapes = {name: tuple(t.shape) for name, t in original_autoencoder(vae.state_dict()).items()}
        sizes = measure_autoencoder(shapes)
        assert sizes == {key: vae.config[key] for key in ("base_dim", "z_dim", "dim_mult", "temperal_downsample")}


def test_the_exported_decoder_streams_clip_after_clip(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("decoder",), tmp_path, 4)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("transformer", {"num_layers": 3}, "lacks blocks.2."),
        ("transformer", {"in_channels": 8}, "conditioned on pictures"),
        ("transformer", {"in_channels": 5, "out_channels": 5}, "makes 5 channels, the autoencoder's latents have 4"),
        ("transformer", {"ffn_dim": 64}, "asks for (64, 48)"),
        ("transformer", {"num_layers": "many"}, "WanTransformer3DModel refuses it"),
        ("vae", {"_class_name": "AutoencoderKLCosmos"}, "is of a AutoencoderKLCosmos"),
        ("vae", {"latents_mean": [0.0]}, "tells 1 means"),
        ("vae", {"base_dim": 12}, "has shape"),
        ("", {"height": 18}, "height 18 is not a multiple of 8"),
        ("", {"frames": 4}, "frames 4 is not 1 more than a multiple of 2"),
        ("", {"guidance": 2}, "guidance: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    zoo_ports.check_config_refused(folder, part, changes, words)


@pytest.mark.parametrize("name", ["wan2.1-t2v-1.3b", "wan2.2-t2v-a14b", "wan2.2-t2v-5b"])
def test_published_sizes_are_inspected_without_weights(name: str) -> None:
    sizes = {"wan2.1-t2v-1.3b": 1.42e9, "wan2.2-t2v-a14b": 28.6e9, "wan2.2-t2v-5b": 5e9}
    found = inspect_checkpoint(f"config:{name}")
    assert found.family == "wan"
    assert found.parameters == pytest.approx(sizes[name], rel=0.12)


@pytest.mark.slow
def test_it_is_ported_whole(original: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(original, tmp_path / "port")
    zoo_ports.check_proved(target, output)
