"""Builds Cosmos Predict 2 and 2.5 from a diffusers pipeline or from the original repository's files.

The given pictures become the mean of what the encoder tells, as NVIDIA's repositories and Predict 2.5's pipeline take
it; Predict 2's pipeline draws around it.
"""

import math
from typing import Any

from torch import nn

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.cosmos_predict.transformer import Transformer
from porting.adapters.cosmos_predict2.config import PREDICT_2, PREDICT_2_5, Chunk, Settings
from porting.adapters.cosmos_predict2.modules import EulerStep, Joiner, MultistepStep, Predictor
from porting.adapters.cosmos_predict2.parts import build_transformer, convert_transformer, name_parts
from porting.adapters.cosmos_predict2.program import build_program
from porting.adapters.cosmos_predict2.sampler import plan_euler, plan_multistep
from porting.adapters.published import validate
from porting.adapters.wan.adapter import with_folder_config
from porting.adapters.wan.decoder import FirstDecoder, SteadyDecoder, StreamingDecoder
from porting.adapters.wan.encoder import Encoder
from porting.adapters.wan.parts import build_autoencoder, convert_autoencoder
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError


def build(checkpoint: Checkpoint) -> Blueprint:
    """The chunk that the parts' configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: the transformer or the autoencoder is missing.
        ConfigError: a value is impossible, or the parts do not fit together.
    """
    name, vae_name = name_parts(checkpoint)
    used = checkpoint.select((name, vae_name))
    source = with_folder_config(checkpoint, used.part(name))
    transformer, vae = build_transformer(source), build_autoencoder(used.part(vae_name), with_encoder=True)
    config = transformer.config
    multistep = bool(config.use_crossattn_projection)
    published = PREDICT_2_5 if multistep else PREDICT_2
    settings = validate(Settings, {**published, **checkpoint.settings}, str(checkpoint.settings_path))
    chunk = measure_chunk(checkpoint, settings, config, vae.config)
    # As the transformer takes them: channels before frames.
    latents = (1, chunk.channels, chunk.frames, chunk.height, chunk.width)
    predictor = Predictor(Transformer(transformer, latents, chunk.context, settings.fps), settings, chunk)
    stream = StreamingDecoder(vae, chunk.latent_shape)
    steps = (plan_multistep if multistep else plan_euler)(settings.steps, settings.sigma_min, settings.sigma_max)
    denoiser: nn.Module = MultistepStep(predictor) if multistep else EulerStep(predictor)
    return Blueprint(
        family="cosmos_predict2",
        config={**{key: dict(part.config) for key, part in used.parts.items()}, "worldport": settings.model_dump()},
        program=build_program(chunk, settings, steps, stream.cache_shapes, multistep=multistep),
        modules={
            "encoder": Encoder(vae),
            "denoiser": denoiser,
            "decoder_first": FirstDecoder(stream),
            "decoder": SteadyDecoder(stream),
            "joiner": Joiner(chunk),
        },
        parts={
            name: Part(transformer, source, convert_transformer),
            vae_name: Part(vae, used.part(vae_name), convert_autoencoder),
        },
        part_of={"encoder": vae_name, "denoiser": name, "decoder_first": vae_name, "decoder": vae_name},
        sizes=Sizes(
            component="denoiser",
            layers=config.num_layers,
            width=config.num_attention_heads * config.attention_head_dim,
            heads=config.num_attention_heads,
            mlp_width=int(config.num_attention_heads * config.attention_head_dim * config.mlp_ratio),
            tokens=math.prod(latents[2:]) // math.prod(config.patch_size),
        ),
    )


def measure_chunk(checkpoint: Checkpoint, settings: Settings, transformer: Any, vae: Any) -> Chunk:
    """A chunk's sizes in latents.

    Raises:
        ConfigError: pictures or frames do not divide, or transformer and autoencoder do not fit together.
    """
    space = 2 ** (len(vae.dim_mult) - 1) * (vae.patch_size or 1)
    time = 2 ** sum(vae.temperal_downsample)
    where = checkpoint.settings_path
    for name, patch in zip(("height", "width"), transformer.patch_size[1:], strict=True):
        if getattr(settings, name) % (space * patch):
            raise ConfigError(
                f"{where}: {name} {getattr(settings, name)} is not a multiple of {space * patch}; change it"
            )  # fmt: skip
    for name in ("frames", "context_frames"):
        if getattr(settings, name) % time != 1 % time:
            raise ConfigError(
                f"{where}: {name} {getattr(settings, name)} is not 1 more than a multiple of {time}; change it"
            )
    # Beside the latents the transformer takes a channel that says which frames are given.
    if transformer.in_channels != vae.z_dim + 1:
        raise ConfigError(
            f"{checkpoint.path}: the transformer takes {transformer.in_channels} channels, a video-to-world one for"
            f" {vae.z_dim} latent channels takes {vae.z_dim + 1}; give a Video2World checkpoint"
        )
    return Chunk(
        channels=vae.z_dim,
        frames=(settings.frames - 1) // time + 1,
        context=(settings.context_frames - 1) // time + 1,
        height=settings.height // space,
        width=settings.width // space,
        time_scale=time,
        space_scale=space,
        prompt_tokens=settings.prompt_tokens,
        prompt_width=(
            transformer.crossattn_proj_in_channels
            if transformer.use_crossattn_projection
            else transformer.text_embed_dim
        ),
    )
