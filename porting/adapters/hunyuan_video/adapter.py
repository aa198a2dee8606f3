"""Builds HunyuanVideo from a diffusers pipeline: transformer, decoders of pieces, and the clip."""

from typing import Any

from torch import nn

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.clip_flow import check_divides
from porting.adapters.conditioning import draw_padded_prompts
from porting.adapters.hunyuan_video.config import Settings, list_pieces
from porting.adapters.hunyuan_video.modules import Decoder, Denoiser, Joiner
from porting.adapters.hunyuan_video.parts import UNUSED, build_autoencoder, build_transformer, convert_transformer
from porting.adapters.hunyuan_video.program import build_program, list_lengths, name_decoder
from porting.adapters.hunyuan_video.transformer import Transformer
from porting.adapters.published import read_settings
from porting.adapters.wan.config import Clip
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

PARTS = ("transformer", "vae")


def build(checkpoint: Checkpoint) -> Blueprint:
    """The clip that the parts' configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: the pipeline's folder lacks the transformer or the autoencoder.
        ConfigError: a value is impossible, or the parts do not fit together.
    """
    settings = read_settings(Settings, checkpoint)
    used = checkpoint.select(PARTS)
    transformer, vae = build_transformer(used.part("transformer")), build_autoencoder(used.part("vae"))
    config = transformer.config
    clip = measure_clip(checkpoint, settings, config, vae.config)
    pieces = list_pieces(clip.frames, settings, clip.time_scale)
    decoders = [name_decoder(frames) for frames in list_lengths(pieces)]
    overlap = settings.piece_frames - settings.piece_stride
    network = Transformer(transformer, clip.latents_shape, settings.guidance_scale)
    modules: dict[str, nn.Module] = {
        "denoiser": Denoiser(network),
        **dict.fromkeys(decoders, Decoder(vae)),
        "joiner": Joiner(pieces, clip.time_scale, settings.piece_stride, overlap),
    }
    width = config.num_attention_heads * config.attention_head_dim
    return Blueprint(
        family="hunyuan_video",
        config={**{name: dict(part.config) for name, part in used.parts.items()}, "worldport": settings.model_dump()},
        program=build_program(clip, settings, config.pooled_projection_dim, pieces),
        modules=modules,
        parts={
            "transformer": Part(transformer, used.part("transformer"), convert_transformer),
            "vae": Part(vae, used.part("vae"), ignored=UNUSED),
        },
        part_of={"denoiser": "transformer", **dict.fromkeys(decoders, "vae")},
        sizes=Sizes(
            component="denoiser",
            layers=config.num_layers + config.num_single_layers,
            width=width,
            heads=config.num_attention_heads,
            mlp_width=int(width * config.mlp_ratio),
            tokens=clip.frames * clip.height * clip.width // (config.patch_size_t * config.patch_size**2)
            + clip.prompt_tokens,
        ),
        draw_samples=draw_padded_prompts,
    )


def measure_clip(checkpoint: Checkpoint, settings: Settings, transformer: Any, vae: Any) -> Clip:
    """A clip's sizes in latents.

    Raises:
        ConfigError: pictures, frames or pieces do not divide, or transformer and autoencoder do not fit together.
    """
    space, time, where = vae.spatial_compression_ratio, vae.temporal_compression_ratio, checkpoint.settings_path
    cell = space * transformer.patch_size
    check_divides(where, settings, {"height": cell, "width": cell, "piece_frames": time, "piece_stride": time}, time)
    if transformer.in_channels != vae.latent_channels:
        raise ConfigError(
            f"{checkpoint.path}: the transformer takes {transformer.in_channels} channels, the autoencoder's latents"
            f" have {vae.latent_channels}; give parts that belong together"
        )
    frames = (settings.frames - 1) // time + 1
    if frames % transformer.patch_size_t:
        raise ConfigError(
            f"{where}: frames {settings.frames} are {frames} latent frames, the transformer takes"
            f" {transformer.patch_size_t} at once; change it"
        )
    return Clip(
        channels=vae.latent_channels,
        frames=frames,
        height=settings.height // space,
        width=settings.width // space,
        time_scale=time,
        space_scale=space,
        prompt_tokens=settings.prompt_tokens,
        prompt_width=transformer.text_embed_dim,
    )
