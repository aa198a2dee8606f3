"""Wan's parts, found by what their configs and tensors say: diffusers' classes, also from the original layout.

Source of the original names: Wan-Video/Wan2.1, wan/modules/model.py and vae.py.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor

from porting.adapters.family import list_words
from porting.adapters.names import bare_name, strip_wrappers
from porting.adapters.published import build_diffusers
from porting.checkpoint import Checkpoint
from porting.errors import CheckpointError, ConfigError

KINDS = {
    "transformer": ("patch_embedding.weight", "blocks.0.ffn"),
    "autoencoder": ("post_quant_conv.weight", "decoder.mid_block"),
    "original autoencoder": ("conv2.weight", "decoder.middle"),
}
"""A tensor, and how others begin, by which a part of a folder of files is told."""
ORIGINAL_TRANSFORMER = "blocks.0.self_attn.q.weight"
ORIGINAL_VAE = "decoder.conv1.weight"
TEXT_MARK = "text_embedding.0.weight"
LEVEL_START, LEVEL_LAYERS = re.compile(r"decoder\.upsamples\.\d+\.residual\.2\.weight"), 4
"""An original decoder counts its layers through: a level's begin at multiples of four."""
UNUSED = ("encoder.*", "quant_conv.*")
"""The autoencoder's other half: nothing of it runs when a clip is made from text."""
HEAD_WIDTH = 128
"""Of every published Wan, whose own config tells the number of heads only."""


def find_part(checkpoint: Checkpoint, *kinds: str) -> str:
    """The name of the part that is of one of these kinds.

    Raises:
        CheckpointError: there is none, or more than one.
    """
    found = [name for name, part in checkpoint.parts.items() if any(_is(part, kind) for kind in kinds)]
    if len(found) != 1:
        there = ", ".join(checkpoint.parts) or "none"
        raise CheckpointError(
            f"{checkpoint.path}: has {len(found)} parts that are a Wan {kinds[0]}, of its parts: {there};"
            " give a folder with one transformer and one autoencoder"
        )
    return found[0]


def build_transformer(part: Checkpoint) -> Any:
    """A `WanTransformer3DModel` without weights.

    Raises:
        ConfigError: a value is impossible, or it takes more than a prompt.
    """
    if is_original(part):
        part = replace(part, config=translate_config(part))
    transformer: Any = build_diffusers(WanTransformer3DModel, part)
    config = transformer.config
    if config.in_channels != config.out_channels or config.image_dim or config.added_kv_proj_dim:
        raise ConfigError(
            f"{part.config_path}: in_channels {config.in_channels}, out_channels {config.out_channels}: it is"
            " conditioned on pictures; text to video alone is ported, give such a checkpoint"
        )
    if config.patch_size[0] != 1:
        raise ConfigError(f"{part.config_path}: patch_size {list(config.patch_size)}: the first must be 1; correct it")
    return transformer


def build_autoencoder(part: Checkpoint, *, with_encoder: bool = False) -> Any:
    """An `AutoencoderKLWan` without weights and, unless it is asked for, without its encoder.

    Raises:
        ConfigError: a value is impossible, or it is another autoencoder.
    """
    said = list_words(part)
    if said and "AutoencoderKLWan" not in said:
        raise ConfigError(f"{part.config_path}: is of a {said[0]}; Wan has an AutoencoderKLWan, give that")
    if not said and ORIGINAL_VAE in (headers := strip_wrappers(part.tensors)):
        part = replace(part, config=measure_autoencoder({name: header.shape for name, header in headers.items()}))
    vae: Any = build_diffusers(AutoencoderKLWan, part)
    if {len(vae.config.latents_mean), len(vae.config.latents_std)} != {vae.config.z_dim}:
        raise ConfigError(
            f"{part.config_path}: tells {len(vae.config.latents_mean)} means and {len(vae.config.latents_std)}"
            f" deviations of {vae.config.z_dim} latent channels; correct it"
        )
    if not with_encoder:
        del vae.encoder, vae.quant_conv
    return vae


def convert_transformer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of diffusers as they are; original ones through its own converter."""
    own = strip_wrappers(tensors)
    if ORIGINAL_TRANSFORMER not in own:
        return own
    converted: dict[str, Tensor] = convert_wan_transformer_to_diffusers(dict(own))
    return converted


def convert_autoencoder(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of diffusers as they are; those of Wan 2.1 through its own converter."""
    own = strip_wrappers(tensors)
    if ORIGINAL_VAE not in own:
        return own
    converted: dict[str, Tensor] = convert_wan_vae_to_diffusers(own)
    return converted


def is_original(part: Checkpoint) -> bool:
    """Whether a transformer's names or config are those of the original repository."""
    return ORIGINAL_TRANSFORMER in strip_wrappers(part.tensors) or "num_heads" in part.config


def translate_config(part: Checkpoint) -> dict[str, Any]:
    """An original config as diffusers' class takes it; what it does not tell is read off the tensors' shapes.

    Raises:
        ConfigError: neither config nor tensors tell a size.
    """
    headers = {name: header.shape for name, header in strip_wrappers(part.tensors).items()}
    told = dict(part.config)
    if headers:
        width = headers["patch_embedding.weight"][0]
        layers = {int(name.split(".")[1]) for name in headers if name.startswith("blocks.")}
        told = {
            "dim": width, "num_heads": width // HEAD_WIDTH, "num_layers": len(layers),
            "in_dim": headers["patch_embedding.weight"][1], "ffn_dim": headers["blocks.0.ffn.0.weight"][0],
            "freq_dim": headers["time_embedding.0.weight"][1],
            **({"text_dim": headers[TEXT_MARK][1]} if TEXT_MARK in headers else {}),
            **told,
        }  # fmt: skip
    try:
        heads, channels = told["num_heads"], told["in_dim"]
        return {
            "num_attention_heads": heads,
            "attention_head_dim": told["dim"] // heads,
            "in_channels": channels,
            "out_channels": told.get("out_dim", channels),
            "text_dim": told.get("text_dim", 4096),
            "eps": told.get("eps", 1e-6),
            **{key: told[key] for key in ("ffn_dim", "freq_dim", "num_layers")},
        }
    except KeyError as cause:
        raise ConfigError(f"{part.config_path}: lacks {cause}; add it") from cause
    except (TypeError, ZeroDivisionError) as cause:
        raise ConfigError(f"{part.config_path}: dim or num_heads is no size ({cause}); correct it") from cause


def measure_autoencoder(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The sizes of an original autoencoder, which comes without a config, read off its decoder's shapes.

    Its levels stand deepest first, each of three residual layers and, but for the last one, an upsampling layer; a
    level that also grows in time has a convolution over it.
    """
    base = shapes["decoder.head.0.gamma"][0]
    firsts = sorted(int(name.split(".")[2]) for name in shapes if LEVEL_START.fullmatch(name))
    starts = [first for first in firsts if first % LEVEL_LAYERS == 0]
    widths = [shapes[f"decoder.upsamples.{start}.residual.2.weight"][0] for start in starts]
    grows = [f"decoder.upsamples.{start + LEVEL_LAYERS - 1}.time_conv.weight" in shapes for start in starts[:-1]]
    return {
        "base_dim": base,
        "z_dim": shapes["conv2.weight"][0],
        "dim_mult": [width // base for width in reversed(widths)],
        "temperal_downsample": grows[::-1],
    }


def _is(part: Checkpoint, kind: str) -> bool:
    name, start = KINDS[kind]
    names = {bare_name(stored) for stored in part.tensors}
    return name in names and any(stored.startswith(start) for stored in names)
