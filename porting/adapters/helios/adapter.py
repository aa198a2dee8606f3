"""Builds Helios from a diffusers pipeline: its transformer, Wan's autoencoder, and the chunk's program."""

from typing import Any

from diffusers.models.transformers.transformer_helios import HeliosTransformer3DModel

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.helios.config import Settings
from porting.adapters.helios.modules import Denoiser, Recorder
from porting.adapters.helios.program import build_program
from porting.adapters.helios.transformer import LONG, Transformer
from porting.adapters.published import build_diffusers, read_settings
from porting.adapters.wan.adapter import measure_clip
from porting.adapters.wan.config import Clip
from porting.adapters.wan.decoder import FirstDecoder, Joiner, SteadyDecoder, StreamingDecoder
from porting.adapters.wan.parts import UNUSED, build_autoencoder, convert_autoencoder
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

PARTS = ("transformer", "vae")
PYRAMID = "HeliosPyramidPipeline"


def build(checkpoint: Checkpoint) -> Blueprint:
    """The chunks that the parts' configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: the pipeline's folder lacks the transformer or the autoencoder.
        ConfigError: a value is impossible, the parts do not fit together, or chunks are made from coarse to fine.
    """
    if checkpoint.config.get("_class_name") == PYRAMID:
        raise ConfigError(
            f"{checkpoint.config_path}: is of a {PYRAMID}, which makes each chunk at several sizes; only"
            " HeliosPipeline is ported: give a checkpoint of that"
        )
    settings = read_settings(Settings, checkpoint)
    used = checkpoint.select(PARTS)
    transformer = build_transformer(used.part("transformer"))
    vae = build_autoencoder(used.part("vae"))
    clip = measure_chunk(checkpoint, settings, transformer.config, vae.config)
    stream = StreamingDecoder(vae, clip.latent_shape)
    network = Transformer(transformer, clip.latents_shape, settings.history)
    config = transformer.config
    return Blueprint(
        family="helios",
        config={
            **{name: dict(part.config) for name, part in used.parts.items()},
            "worldport": settings.model_dump(mode="json"),
        },
        program=build_program(clip, settings, stream.cache_shapes, network.tokens),
        modules={
            "denoiser": Denoiser(network, settings.guidance_scale),
            "decoder_first": FirstDecoder(stream),
            "decoder": SteadyDecoder(stream),
            "joiner": Joiner(),
            "recorder": Recorder(),
        },
        parts={
            "transformer": Part(transformer, used.part("transformer")),
            "vae": Part(vae, used.part("vae"), convert_autoencoder, ignored=UNUSED),
        },
        part_of={"denoiser": "transformer", "decoder_first": "vae", "decoder": "vae"},
        sizes=Sizes(
            component="denoiser",
            layers=config.num_layers,
            width=config.num_attention_heads * config.attention_head_dim,
            heads=config.num_attention_heads,
            mlp_width=config.ffn_dim,
            tokens=network.past + network.tokens,
        ),
    )


def build_transformer(part: Checkpoint) -> Any:
    """A `HeliosTransformer3DModel` without weights.

    Raises:
        ConfigError: a value is impossible, or it has no history at three scales.
    """
    transformer: Any = build_diffusers(HeliosTransformer3DModel, part)
    config = transformer.config
    if not config.has_multi_term_memory_patch or config.added_kv_proj_dim:
        raise ConfigError(
            f"{part.config_path}: has_multi_term_memory_patch {config.has_multi_term_memory_patch}, added_kv_proj_dim"
            f" {config.added_kv_proj_dim}: a chunk is made beside a history at three scales and a prompt alone;"
            " give such a checkpoint"
        )
    if config.in_channels != config.out_channels or config.patch_size[0] != 1:
        raise ConfigError(
            f"{part.config_path}: in_channels {config.in_channels}, out_channels {config.out_channels}, patch_size"
            f" {list(config.patch_size)}: channels must be equal and the first of the patch 1; correct it"
        )
    if sum(config.rope_dim) != config.attention_head_dim:
        raise ConfigError(
            f"{part.config_path}: rope_dim {list(config.rope_dim)} does not make attention_head_dim"
            f" {config.attention_head_dim}; correct it"
        )
    return transformer


def measure_chunk(checkpoint: Checkpoint, settings: Settings, transformer: Any, vae: Any) -> Clip:
    """A chunk's sizes in latents.

    Raises:
        ConfigError: pictures or frames do not divide, the farther history's patches not either, or transformer and
            autoencoder do not fit together.
    """
    clip = measure_clip(checkpoint, settings, transformer, vae)
    for name, size, patch in zip(
        ("height", "width"), (clip.height, clip.width), transformer.patch_size[1:], strict=True
    ):
        if size % (LONG * patch):
            raise ConfigError(
                f"{checkpoint.settings_path}: {name} {getattr(settings, name)} is not a multiple of"
                f" {LONG * patch * clip.space_scale}, what a token of the farther history covers; change it"
            )
    return clip
