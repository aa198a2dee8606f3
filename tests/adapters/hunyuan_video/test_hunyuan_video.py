"""HunyuanVideo: the published transformer, sampler and autoencoder with its pieces; and pipelines that are not one."""

from pathlib import Path

import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from porting.adapters.hunyuan_video.config import Piece, Settings, list_pieces
from porting.adapters.hunyuan_video.modules import Decoder, Joiner
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError
from tests.adapters import zoo_ports
from zoo.hunyuan_video import build_original, make_autoencoder, make_transformer

SHAPE = (1, 3, 4, 4, 4)


ENTRY = "hunyuan-video"
"""That `original`, `model` and `folder` are of."""


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def schedule(steps: int) -> FlowMatchEulerDiscreteScheduler:
    """The published scheduler, its levels set as HunyuanVideoPipeline sets them."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
    scheduler.set_timesteps(steps, sigmas=torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1].tolist())
    return scheduler


def test_headers_tell_parts_and_inputs(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert (found.family, found.format) == ("hunyuan_video", "parts")
    assert {c.name: c.weights for c in found.components} == {
        "denoiser": "transformer", "decoder_3": "vae", "decoder_2": "vae", "joiner": "",
    }  # fmt: skip
    assert found.parameters == model.parameters
    assert found.program.states == ()
    assert [(i.tensor.name, i.kind) for i in found.program.inputs] == [
        ("prompt", "conditioning"), ("prompt_mask", "conditioning"), ("pooled_prompt", "conditioning"),
        ("noise", "noise"),
    ]  # fmt: skip
    assert model.program.pictures_per_frame == 9


@pytest.mark.parametrize("length", [1, 4, 6])
def test_a_clip_is_sampled_as_the_published_pipeline_does(model: WorldModel, length: int) -> None:
    """The loop of HunyuanVideoPipeline with its scheduler, the same noise and a prompt of some tokens given to both."""
    denoiser = model.modules["denoiser"]
    published, scheduler = make_transformer().eval(), schedule(2)
    made, prompt, pooled = draw(1, *SHAPE), draw(2, 1, 6, 20), draw(3, 1, 12)
    latents, mask = made.transpose(1, 2), (torch.arange(6) < length).float()[None]
    sigmas = Settings(steps=2).sigmas
    with torch.no_grad():
        for index, time in enumerate(scheduler.timesteps):
            velocity = published(
                latents, time[None], prompt, mask, pooled, torch.tensor([6000.0]), return_dict=False
            )[0]  # fmt: skip
            latents = scheduler.step(velocity, time, latents, return_dict=False)[0]
            levels = torch.tensor([1000 * sigmas[index]]), torch.tensor([sigmas[index + 1] - sigmas[index]])
            made = denoiser(made, *levels, prompt, mask, pooled)
    assert torch.allclose(made.transpose(1, 2), latents, atol=1e-4 * float(latents.abs().max()))


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_the_noise_levels_are_the_schedulers(steps: int) -> None:
    assert torch.allclose(schedule(steps).sigmas, torch.tensor(Settings(steps=steps).sigmas), atol=1e-6)


def test_what_a_missing_token_holds_is_not_seen(model: WorldModel) -> None:
    denoiser, mask = model.modules["denoiser"], torch.tensor([[1.0, 1, 1, 0, 0, 0]])
    latents, prompt, pooled = draw(4, *SHAPE), draw(5, 1, 6, 20), draw(6, 1, 12)
    other = torch.cat([prompt[:, :3], draw(7, 1, 3, 20)], dim=1)
    levels = torch.tensor([500.0]), torch.tensor([-0.5])
    with torch.no_grad():
        made, again = (denoiser(latents, *levels, p, mask, pooled) for p in (prompt, other))
        seen = denoiser(latents, *levels, other, torch.ones(1, 6), pooled)
    assert torch.allclose(made, again, atol=1e-5)
    assert not torch.allclose(made, seen, atol=1e-2)


@pytest.mark.parametrize("frames", [2, 3, 4, 5])
def test_pieces_are_decoded_and_blended_as_the_published_autoencoder_does(frames: int) -> None:
    """Of a clip of one piece, and of clips whose last piece adds pictures or none."""
    vae, settings = make_autoencoder().eval(), Settings(piece_frames=8, piece_stride=4)
    vae.tile_sample_min_num_frames, vae.tile_sample_stride_num_frames = 8, 4
    latents, pieces = draw(8, 1, 4, frames, 4, 4), list_pieces(frames, settings, 4)
    decoder, joiner = Decoder(vae), Joiner(pieces, 4, 4, 4)
    with torch.no_grad():
        video = vae.decode(latents / vae.config.scaling_factor).sample
        made = [decoder(*latents[:, :, p.first : p.first + p.frames].unbind(2)) for p in pieces]
        frame = joiner(*made)
    assert video.shape[2] == 4 * (frames - 1) + 1
    assert torch.allclose(frame, (video / 2 + 0.5).clamp(0, 1).flatten(2, 3), atol=1e-5)


def test_the_pieces_of_a_published_clip() -> None:
    pieces = list_pieces(33, Settings(), 4)
    assert pieces[:2] == [Piece(0, 5), Piece(3, 5)]
    assert pieces[-1] == Piece(30, 3)
    assert list_pieces(4, Settings(), 4) == [Piece(0, 4)]


def test_original_names_go_through_the_published_converter(tmp_path: Path) -> None:
    build_original(tmp_path / "m")
    own = load_world_model(tmp_path / "m").modules["denoiser"].state_dict()
    for name, tensor in make_transformer(single_layers=0).state_dict().items():
        assert torch.equal(own[f"transformer.transformer.{name}"], tensor), name
    path = tmp_path / "m/transformer/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["module.double_blocks.2.img_attn_qkv.weight"] = tensors.pop("module.double_blocks.1.img_attn_qkv.weight")
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"transformer_blocks\.1\.attn\.to_q\.weight"):
        inspect_checkpoint(tmp_path / "m")


def test_the_exported_decoder_makes_clip_after_clip(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("decoder_2",), tmp_path, 3)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("transformer", {"num_layers": 3}, "lacks transformer_blocks.2."),
        ("transformer", {"image_condition_type": "token_replace"}, "conditioned on a picture"),
        ("transformer", {"rope_axes_dim": [4, 4, 4]}, "do not add up to attention_head_dim 16"),
        ("transformer", {"in_channels": 5, "out_channels": 5}, "takes 5 channels, the autoencoder's latents have 4"),
        ("transformer", {"mlp_ratio": 3.0}, "asks for"),
        ("transformer", {"num_layers": "many"}, "HunyuanVideoTransformer3DModel refuses it"),
        ("vae", {"_class_name": "AutoencoderKLWan"}, "is of a AutoencoderKLWan"),
        ("vae", {"block_out_channels": [8, 8, 8]}, "has decoder."),
        ("", {"height": 20}, "height 20 is not a multiple of 8"),
        ("", {"frames": 8}, "frames 8 is not 1 more than a multiple of 4"),
        ("", {"piece_stride": 6}, "piece_stride 6 is not a multiple of 4"),
        ("", {"piece_stride": 12}, "leaves gaps between pieces of 8"),
        ("", {"guidance": 2}, "guidance: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    zoo_ports.check_config_refused(folder, part, changes, words)


def test_weights_that_are_not_finite_are_named(folder: Path) -> None:
    zoo_ports.check_spoilt(folder, folder / "vae/diffusion_pytorch_model.safetensors", "post_quant_conv.bias")


def test_the_published_size_is_inspected_without_weights() -> None:
    found = inspect_checkpoint("config:hunyuan-video-13b")
    assert found.family == "hunyuan_video"
    assert {c.name for c in found.components} == {"denoiser", "decoder_5", "decoder_3", "joiner"}
    assert found.components[0].parameters == pytest.approx(12.8e9, rel=0.02)


@pytest.mark.slow
def test_it_is_ported_whole(original: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(original, tmp_path / "port")
    zoo_ports.check_proved(target, output)
