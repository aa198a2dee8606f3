"""LTX-Video's parts: diffusers' classes from a pipeline, or from the original repository's one file without a config.

Source of the original names: Lightricks/LTX-Video, ltx-video-2b-v0.9.safetensors.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffusers.loaders.single_file_utils import (
    convert_ltx_transformer_checkpoint_to_diffusers,
    convert_ltx_vae_checkpoint_to_diffusers,
)
from diffusers.models.autoencoders.autoencoder_kl_ltx import AutoencoderKLLTXVideo
from diffusers.models.transformers.transformer_ltx import LTXVideoTransformer3DModel
from torch import Tensor

from porting.adapters.family import list_words
from porting.adapters.names import strip_wrappers
from porting.adapters.published import build_diffusers
from porting.checkpoint import Checkpoint
from porting.errors import CheckpointError, ConfigError

Shapes = Mapping[str, tuple[int, ...]]

ORIGINAL, ORIGINAL_VAE = "model.diffusion_model.", "vae."
"""How the names of both halves of an original file begin."""
UNUSED = ("encoder.*",)
"""The autoencoder's other half: nothing of it runs when a clip is made from text."""
HEAD_WIDTH = 64
"""Of every published LTX-Video; an original file does not tell."""
MEAN_AND_STD = ("latents_mean", "latents_std")


def build_transformer(part: Checkpoint) -> Any:
    """An `LTXVideoTransformer3DModel` without weights.

    Raises:
        ConfigError: a value is impossible, or latents are cut into patches.
    """
    transformer: Any = build_diffusers(LTXVideoTransformer3DModel, part)
    config = transformer.config
    if (config.patch_size, config.patch_size_t) != (1, 1):
        raise ConfigError(
            f"{part.config_path}: patch_size {config.patch_size}, patch_size_t {config.patch_size_t}: every published"
            " LTX-Video takes each latent as a token, 1 and 1; correct it"
        )
    if config.in_channels != config.out_channels:
        raise ConfigError(
            f"{part.config_path}: in_channels {config.in_channels} are not out_channels {config.out_channels};"
            " correct it"
        )
    return transformer


def build_autoencoder(part: Checkpoint) -> Any:
    """An `AutoencoderKLLTXVideo` without weights and without its encoder.

    Raises:
        ConfigError: a value is impossible, it is another autoencoder, or that of a later version.
    """
    said = list_words(part)
    if said and "AutoencoderKLLTXVideo" not in said:
        raise ConfigError(f"{part.config_path}: is of a {said[0]}; LTX-Video has an AutoencoderKLLTXVideo, give that")
    vae: Any = build_diffusers(AutoencoderKLLTXVideo, part)
    if vae.config.timestep_conditioning or any(vae.config.decoder_inject_noise):
        raise ConfigError(
            f"{part.config_path}: timestep_conditioning or decoder_inject_noise is set: a decoder of 0.9.1 or later"
            " adds noise of its own; 0.9.0 alone is ported, give such a checkpoint"
        )
    del vae.encoder
    return vae


def find_parts(checkpoint: Checkpoint) -> tuple[Checkpoint, Checkpoint]:
    """Transformer and autoencoder: a pipeline's by their names, an original file's by what its tensors measure.

    Raises:
        CheckpointError: one is not there.
    """
    if not any(name.startswith(ORIGINAL) for name in checkpoint.tensors):
        used = checkpoint.select(("transformer", "vae"))
        return used.part("transformer"), used.part("vae")
    shapes = {name: header.shape for name, header in checkpoint.tensors.items()}
    try:
        transformer, vae = measure_transformer(shapes), measure_autoencoder(shapes)
    except (KeyError, IndexError, ZeroDivisionError) as cause:
        raise CheckpointError(
            f"{checkpoint.path}: lacks {cause}, which tells its sizes; save transformer and autoencoder, every tensor"
        ) from cause
    return _take(checkpoint, ORIGINAL, transformer), _take(checkpoint, ORIGINAL_VAE, vae)


def convert_transformer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of diffusers as they are; those of the original file, by its own converter."""
    if not any(name.startswith(ORIGINAL) for name in tensors):
        return strip_wrappers(tensors)
    converted: dict[str, Tensor] = convert_ltx_transformer_checkpoint_to_diffusers(dict(tensors))
    return converted


def convert_autoencoder(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of diffusers as they are; those of the original file, by its own converter."""
    if not any(name.startswith(ORIGINAL_VAE) for name in tensors):
        return strip_wrappers(tensors)
    converted: dict[str, Tensor] = convert_ltx_vae_checkpoint_to_diffusers(dict(tensors))
    return converted


def measure_transformer(shapes: Shapes) -> dict[str, Any]:
    """The config of an original file's transformer, read off its shapes."""
    own = {name.removeprefix(ORIGINAL): shape for name, shape in shapes.items()}
    width, channels = own["patchify_proj.weight"]
    return {
        "in_channels": channels,
        "out_channels": own["proj_out.weight"][0],
        "num_attention_heads": width // HEAD_WIDTH,
        "attention_head_dim": HEAD_WIDTH,
        "cross_attention_dim": own["transformer_blocks.0.attn2.to_k.weight"][1],
        "caption_channels": own["caption_projection.linear_1.weight"][1],
        "num_layers": _count(own, r"transformer_blocks\.(\d+)\."),
    }


def measure_autoencoder(shapes: Shapes) -> dict[str, Any]:
    """The config of an original file's autoencoder, read off its decoder's shapes; the encoder is its mirror."""
    own: Shapes = convert_ltx_vae_checkpoint_to_diffusers({name: _Shape(shape) for name, shape in shapes.items()})
    own = {name: value.shape for name, value in own.items()}  # type: ignore[attr-defined]
    levels = _count(own, r"decoder\.up_blocks\.(\d+)\.")
    # The decoder begins at the deepest level; a config counts from the pictures.
    deepest_last = range(levels - 1, -1, -1)
    widths = [own[f"decoder.up_blocks.{level}.resnets.0.conv1.conv.weight"][0] for level in deepest_last]
    layers = [_count(own, rf"decoder\.up_blocks\.{level}\.resnets\.(\d+)\.") for level in deepest_last]
    layers.append(_count(own, r"decoder\.mid_block\.resnets\.(\d+)\."))
    grows = [f"decoder.up_blocks.{level}.upsamplers.0.conv.conv.weight" in own for level in deepest_last]
    return {
        "latent_channels": own["decoder.conv_in.conv.weight"][1],
        "patch_size": math.isqrt(own["decoder.conv_out.conv.weight"][0] // 3),
        **dict.fromkeys(("block_out_channels", "decoder_block_out_channels"), widths),
        **dict.fromkeys(("layers_per_block", "decoder_layers_per_block"), layers),
        **dict.fromkeys(("spatio_temporal_scaling", "decoder_spatio_temporal_scaling"), grows),
        "timestep_conditioning": any("time_embedder" in name for name in own),
    }


def _take(whole: Checkpoint, start: str, config: dict[str, Any]) -> Checkpoint:
    """One half of an original file as a part of its own."""
    return replace(
        whole, config=config, tensors={n: header for n, header in whole.tensors.items() if n.startswith(start)}
    )


class _Shape:
    """What the published converter asks of a tensor."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


def _count(names: Shapes, pattern: str) -> int:
    """How many numbers stand in a pattern's group, over all names."""
    return len({match.group(1) for name in names if (match := re.match(pattern, name))})
