"""Builds LTX-Video from a diffusers pipeline or from the original repository's one file: transformer, decoder, clip."""

from typing import Any

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.clip_flow import check_divides
from porting.adapters.conditioning import draw_padded_prompts
from porting.adapters.ltx.config import Settings
from porting.adapters.ltx.modules import Decoder, Denoiser
from porting.adapters.ltx.parts import (
    UNUSED,
    build_autoencoder,
    build_transformer,
    convert_autoencoder,
    convert_transformer,
    find_parts,
)
from porting.adapters.ltx.program import build_program
from porting.adapters.ltx.transformer import Transformer
from porting.adapters.published import read_settings
from porting.adapters.wan.config import Clip
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError


def build(checkpoint: Checkpoint) -> Blueprint:
    """The clip that the parts' configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: transformer or autoencoder is missing.
        ConfigError: a value is impossible, or the parts do not fit together.
    """
    settings = read_settings(Settings, checkpoint)
    sources = dict(zip(("transformer", "vae"), find_parts(checkpoint), strict=True))
    transformer, vae = build_transformer(sources["transformer"]), build_autoencoder(sources["vae"])
    config = transformer.config
    clip = measure_clip(checkpoint, settings, config, vae)
    scales = (clip.time_scale / settings.frame_rate, float(clip.space_scale), float(clip.space_scale))
    width = config.num_attention_heads * config.attention_head_dim
    return Blueprint(
        family="ltx",
        config={**{name: dict(part.config) for name, part in sources.items()}, "worldport": settings.model_dump()},
        program=build_program(clip, settings),
        modules={
            "denoiser": Denoiser(Transformer(transformer, clip.latents_shape, scales), settings.guidance_scale),
            "decoder": Decoder(vae),
        },
        parts={
            "transformer": Part(transformer, sources["transformer"], convert_transformer),
            "vae": Part(vae, sources["vae"], convert_autoencoder, ignored=UNUSED),
        },
        part_of={"denoiser": "transformer", "decoder": "vae"},
        sizes=Sizes(
            component="denoiser",
            layers=config.num_layers,
            width=width,
            heads=config.num_attention_heads,
            mlp_width=4 * width,
            tokens=clip.frames * clip.height * clip.width,
        ),
        draw_samples=draw_padded_prompts,
    )


def measure_clip(checkpoint: Checkpoint, settings: Settings, transformer: Any, vae: Any) -> Clip:
    """A clip's sizes in latents.

    Raises:
        ConfigError: pictures or frames do not divide, or transformer and autoencoder do not fit together.
    """
    space, time = vae.spatial_compression_ratio, vae.temporal_compression_ratio
    check_divides(checkpoint.settings_path, settings, {"height": space, "width": space}, time)
    if transformer.in_channels != vae.config.latent_channels:
        raise ConfigError(
            f"{checkpoint.path}: the transformer takes {transformer.in_channels} channels, the autoencoder's latents"
            f" have {vae.config.latent_channels}; give parts that belong together"
        )
    return Clip(
        channels=transformer.in_channels,
        frames=(settings.frames - 1) // time + 1,
        height=settings.height // space,
        width=settings.width // space,
        time_scale=time,
        space_scale=space,
        prompt_tokens=settings.prompt_tokens,
        prompt_width=transformer.caption_channels,
    )
