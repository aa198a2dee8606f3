"""LTX-Video 0.9 as its diffusers pipeline is laid out, and under the original repository's names in one file."""

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx import AutoencoderKLLTXVideo
from diffusers.models.transformers.transformer_ltx import LTXVideoTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from zoo import Entry
from zoo.weights import randomise, write_json, write_pipeline

CHANNELS = 6
"""Of a latent."""
SETTINGS = {
    "height": 16, "width": 16, "frames": 5, "steps": 2, "guidance_scale": 2.0, "prompt_tokens": 6,
}  # fmt: skip
PROMPT_WIDTH = 24


def make_transformer(heads: int = 2, head_width: int = 16) -> LTXVideoTransformer3DModel:
    """A transformer whose answers have the size of its input; its width leaves pairs that are not turned."""
    model = LTXVideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=heads,
        attention_head_dim=head_width,
        cross_attention_dim=heads * head_width,
        num_layers=2,
        caption_channels=PROMPT_WIDTH,
    )
    randomise(model, seed=21)
    return model


def make_autoencoder(levels: int = 2) -> AutoencoderKLLTXVideo:
    """An autoencoder that makes four times the height and twice the frames of its latents, pictures around grey.

    Args:
        levels: all but the deepest grow; the published one has 4.
    """
    widths, grows = (8, *[12] * (levels - 1)), (*[True] * (levels - 1), False)
    layers = (*[1] * levels, 1)
    model = AutoencoderKLLTXVideo(
        latent_channels=CHANNELS,
        block_out_channels=widths,
        down_block_types=("LTXVideoDownBlock3D",) * levels,
        decoder_block_out_channels=widths,
        layers_per_block=layers,
        decoder_layers_per_block=layers,
        spatio_temporal_scaling=grows,
        decoder_spatio_temporal_scaling=grows,
        decoder_inject_noise=(False,) * (levels + 1),
        downsample_type=("conv",) * levels,
        upsample_residual=(False,) * levels,
        upsample_factor=(1,) * levels,
        patch_size=2,
    )
    randomise(model, seed=22)
    with torch.no_grad():
        model.latents_mean.copy_(0.1 * torch.arange(CHANNELS).remainder(3))
        model.latents_std.copy_(0.8 + 0.1 * torch.arange(CHANNELS).remainder(3))
        # What is clamped proves nothing.
        model.decoder.conv_out.conv.weight.mul_(0.3)
    return model


def build_pipeline(out: Path) -> None:
    """Transformer and autoencoder; the text encoder, which a session runs once, is not part of a port."""
    parts = {"transformer": make_transformer(), "vae": make_autoencoder()}
    write_pipeline(out, "LTXPipeline", parts, SETTINGS)


def build_original(out: Path) -> None:
    """Both in one file, as Lightricks publishes them, without a config: heads are 64 wide and there are four levels."""
    out.mkdir(parents=True, exist_ok=True)
    transformer, vae = make_transformer(1, 64).state_dict(), make_autoencoder(4).state_dict()
    save_file({**original_transformer(transformer), **original_autoencoder(vae)}, out / "ltx-video-2b-v0.9.safetensors")
    write_json(out / "worldport.json", {**SETTINGS, "height": 64, "width": 64, "frames": 9})


def original_transformer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A transformer's tensors under the names of Lightricks/LTX-Video, ltx_video/models/transformers."""
    rules = (("time_embed", "adaln_single"), ("norm_q", "q_norm"), ("norm_k", "k_norm"))
    renamed = {}
    for name, tensor in state.items():
        new = "patchify_proj" + name.removeprefix("proj_in") if name.startswith("proj_in") else name
        for ours, theirs in rules:
            new = new.replace(ours, theirs)
        renamed[f"model.diffusion_model.{new}"] = tensor.detach().clone()
    return renamed


def original_autoencoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """An autoencoder's tensors under the names of Lightricks/LTX-Video, ltx_video/models/autoencoders."""
    places = {
        "decoder.mid_block": "decoder.up_blocks.0",
        "decoder.up_blocks.0": "decoder.up_blocks.1",
        "encoder.mid_block": "encoder.down_blocks.9",
    }
    for level in (1, 2, 3):
        # Where a level keeps its width, the layer that would change it is missing, and the numbers are kept.
        first = {1: 2, 2: 5, 3: 8}[level]
        places[f"decoder.up_blocks.{level}.conv_in"] = f"decoder.up_blocks.{first - 1}"
        places[f"decoder.up_blocks.{level}.upsamplers.0"] = f"decoder.up_blocks.{first}"
        places[f"decoder.up_blocks.{level}"] = f"decoder.up_blocks.{first + 1}"
    for level, first in ((0, 0), (1, 3), (2, 6), (3, 8)):
        places[f"encoder.down_blocks.{level}.downsamplers.0"] = f"encoder.down_blocks.{first + 1}"
        places[f"encoder.down_blocks.{level}.conv_out"] = f"encoder.down_blocks.{first + 2}"
        places[f"encoder.down_blocks.{level}"] = f"encoder.down_blocks.{first}"
    statistics = {"latents_mean": "mean-of-means", "latents_std": "std-of-means"}
    renamed = {}
    for name, tensor in state.items():
        new = f"per_channel_statistics.{statistics[name]}" if name in statistics else name
        place = max((p for p in places if name.startswith(f"{p}.")), key=len, default=None)
        if place is not None:
            new = places[place] + name.removeprefix(place)
        new = new.replace("resnets", "res_blocks").replace("conv_shortcut.conv", "conv_shortcut")
        renamed[f"vae.{new.replace('norm3', 'norm3.norm')}"] = tensor.detach().clone()
    return renamed


ENTRIES = (Entry("ltx-video", "ltx", "diffusers pipeline, a folder a component", build_pipeline),)
