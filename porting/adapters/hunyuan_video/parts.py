"""HunyuanVideo's parts: diffusers' classes; the transformer's tensors may have the original repository's names.

Source of the original names: Tencent/HunyuanVideo, hyvideo/modules/models.py.
"""

from typing import Any

from diffusers.loaders.single_file_utils import convert_hunyuan_video_transformer_to_diffusers
from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import AutoencoderKLHunyuanVideo
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoTransformer3DModel
from torch import Tensor

from porting.adapters.family import list_words
from porting.adapters.names import strip_wrappers
from porting.adapters.published import build_diffusers
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

ORIGINAL = "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias"
UNUSED = ("encoder.*", "quant_conv.*")
"""The autoencoder's other half: nothing of it runs when a clip is made from text."""


def build_transformer(part: Checkpoint) -> Any:
    """A `HunyuanVideoTransformer3DModel` without weights.

    Raises:
        ConfigError: a value is impossible, or it is conditioned on a picture.
    """
    transformer: Any = build_diffusers(HunyuanVideoTransformer3DModel, part)
    config = transformer.config
    if config.image_condition_type is not None or config.in_channels != config.out_channels:
        raise ConfigError(
            f"{part.config_path}: image_condition_type {config.image_condition_type}, in_channels {config.in_channels},"
            f" out_channels {config.out_channels}: it is conditioned on a picture; text to video alone is ported, give"
            " such a checkpoint"
        )
    if sum(config.rope_axes_dim) != config.attention_head_dim:
        raise ConfigError(
            f"{part.config_path}: rope_axes_dim {list(config.rope_axes_dim)} do not add up to attention_head_dim"
            f" {config.attention_head_dim}; correct it"
        )
    return transformer


def build_autoencoder(part: Checkpoint) -> Any:
    """An `AutoencoderKLHunyuanVideo` without weights and without its encoder.

    Raises:
        ConfigError: a value is impossible, or it is another autoencoder.
    """
    said = list_words(part)
    if said and "AutoencoderKLHunyuanVideo" not in said:
        raise ConfigError(
            f"{part.config_path}: is of a {said[0]}; HunyuanVideo has an AutoencoderKLHunyuanVideo, give that"
        )
    vae: Any = build_diffusers(AutoencoderKLHunyuanVideo, part)
    del vae.encoder, vae.quant_conv
    return vae


def convert_transformer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of diffusers as they are; original ones through its own converter, which knows the published width only."""
    own = strip_wrappers(tensors)
    if ORIGINAL not in own:
        return own
    converted: dict[str, Tensor] = convert_hunyuan_video_transformer_to_diffusers(dict(own))
    return converted
