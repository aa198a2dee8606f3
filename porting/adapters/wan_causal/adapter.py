"""Builds causal Wan from a generator's checkpoint and Wan's autoencoder beside it."""

from typing import Any

from porting.adapters.blueprint import Blueprint, Part
from porting.adapters.published import read_settings
from porting.adapters.wan.adapter import measure_clip, measure_sizes, name_parts, with_folder_config
from porting.adapters.wan.config import Settings as ClipSettings
from porting.adapters.wan.decoder import FirstDecoder, Joiner, SteadyDecoder, StreamingDecoder
from porting.adapters.wan.parts import (
    UNUSED,
    build_autoencoder,
    build_transformer,
    convert_autoencoder,
    convert_transformer,
)
from porting.adapters.wan.program import FIRST_EXPERT
from porting.adapters.wan_causal.config import Settings
from porting.adapters.wan_causal.modules import Conditioner, Denoiser
from porting.adapters.wan_causal.program import Shapes, build_program
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError


def build(checkpoint: Checkpoint) -> Blueprint:
    """The chunk that the configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: the transformer or the autoencoder is missing.
        ConfigError: a value is impossible, or the parts do not fit together.
    """
    settings = read_settings(Settings, checkpoint)
    names, vae_name = name_parts(checkpoint, None)
    used = checkpoint.select((names[FIRST_EXPERT], vae_name))
    source = with_folder_config(checkpoint, used.part(names[FIRST_EXPERT]))
    transformer, vae = build_transformer(source), build_autoencoder(used.part(vae_name))
    clip = measure_clip(checkpoint, as_clip(settings, vae), transformer.config, vae.config)
    if settings.window > (longest := transformer.config.rope_max_seq_len):
        where = checkpoint.settings_path
        raise ConfigError(
            f"{where}: window {settings.window} is over the {longest} frames that have rotations; lower it"
        )
    sizes = measure_sizes("denoiser", transformer.config, clip)
    width = transformer.config.attention_head_dim
    shapes = Shapes(sizes.heads, width, sizes.layers, clip.prompt_tokens, sizes.tokens, settings.past_chunks)
    stream = StreamingDecoder(vae, clip.latent_shape)
    return Blueprint(
        family="wan_causal",
        config={**{name: dict(part.config) for name, part in used.parts.items()}, "worldport": settings.model_dump()},
        program=build_program(clip, settings, shapes, stream.cache_shapes),
        modules={
            "conditioner": Conditioner(transformer, transformer.condition_embedder.text_embedder),
            "denoiser": Denoiser(transformer, clip.latents_shape),
            "decoder_first": FirstDecoder(stream),
            "decoder": SteadyDecoder(stream),
            "joiner": Joiner(),
        },
        parts={
            names[FIRST_EXPERT]: Part(transformer, source, convert_transformer),
            vae_name: Part(vae, used.part(vae_name), convert_autoencoder, ignored=UNUSED),
        },
        part_of={
            "conditioner": names[FIRST_EXPERT],
            "denoiser": names[FIRST_EXPERT],
            "decoder_first": vae_name,
            "decoder": vae_name,
        },
        sizes=sizes,
    )


def as_clip(settings: Settings, vae: Any) -> ClipSettings:
    """A chunk as a clip of as many latent frames: what a session's first chunk is."""
    time = 2 ** sum(vae.config.temperal_downsample)
    return ClipSettings.model_construct(
        height=settings.height,
        width=settings.width,
        frames=(settings.chunk - 1) * time + 1,
        prompt_tokens=settings.prompt_tokens,
    )
