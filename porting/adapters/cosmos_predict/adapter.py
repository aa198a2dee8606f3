"""Builds Cosmos Predict from a diffusers pipeline: its transformer and its autoencoder, and the chunk's program."""

import math
from typing import Any

from diffusers.loaders.single_file_utils import convert_cosmos_transformer_checkpoint_to_diffusers
from diffusers.models.autoencoders.autoencoder_kl_cosmos import AutoencoderKLCosmos
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from torch import Tensor

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.cosmos_predict.config import Chunk, Settings
from porting.adapters.cosmos_predict.modules import Decoder, Denoiser, Encoder, Opener, Statistics
from porting.adapters.cosmos_predict.program import build_program
from porting.adapters.cosmos_predict.transformer import Transformer
from porting.adapters.family import list_words
from porting.adapters.published import build_diffusers, read_settings
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

ORIGINAL = "x_embedder."
"""What an original checkpoint calls its patch embedding."""
PARTS = ("transformer", "vae")


def build(checkpoint: Checkpoint) -> Blueprint:
    """The pipeline that the parts' configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: the pipeline's folder lacks the transformer or the autoencoder.
        ConfigError: a value is impossible, or the autoencoder is another one.
    """
    settings = read_settings(Settings, checkpoint)
    used = checkpoint.select(PARTS)
    transformer, vae = _build_parts(used)
    chunk = measure_chunk(checkpoint, settings, transformer.config, vae.config)
    network = Transformer(transformer, chunk.latent_shape, chunk.context, settings.fps)
    statistics = Statistics(vae, settings.sigma_data)
    program = build_program(chunk, settings)
    config = transformer.config
    width = config.num_attention_heads * config.attention_head_dim
    return Blueprint(
        family="cosmos_predict",
        config={**{name: part.config for name, part in used.parts.items()}, "worldport": settings.model_dump()},
        program=program,
        modules={
            "encoder": Encoder(vae, statistics),
            "opener": Opener(settings.sigma_max),
            "denoiser": Denoiser(network, settings, chunk),
            "decoder": Decoder(vae, statistics, chunk),
        },
        parts={
            "transformer": Part(transformer, used.part("transformer"), convert_transformer),
            "vae": Part(vae, used.part("vae")),
        },
        part_of={"encoder": "vae", "decoder": "vae", "denoiser": "transformer"},
        sizes=Sizes(
            component="denoiser",
            layers=config.num_layers,
            width=width,
            heads=config.num_attention_heads,
            mlp_width=int(width * config.mlp_ratio),
            tokens=math.prod(chunk.latent_shape[2:]) // math.prod(config.patch_size),
        ),
    )


def _build_parts(used: Checkpoint) -> tuple[Any, Any]:
    found = list_words(used.part("vae"))
    if found and "AutoencoderKLCosmos" not in found:
        raise ConfigError(
            f"{used.part('vae').config_path}: is of a {found[0]}; Cosmos Predict 1, the only one that is ported, has an"
            " AutoencoderKLCosmos"
        )
    return (
        build_diffusers(CosmosTransformer3DModel, used.part("transformer")),
        build_diffusers(AutoencoderKLCosmos, used.part("vae")),
    )


def measure_chunk(checkpoint: Checkpoint, settings: Settings, transformer: Any, vae: Any) -> Chunk:
    """A chunk's sizes in latents.

    Raises:
        ConfigError: pictures or frames do not divide, or transformer and autoencoder do not fit together.
    """
    where, space, time = checkpoint.settings_path, vae.spatial_compression_ratio, vae.temporal_compression_ratio
    cell = space * transformer.patch_size[1]
    for name in ("height", "width"):
        if getattr(settings, name) % cell:
            raise ConfigError(f"{where}: {name} {getattr(settings, name)} is not a multiple of {cell}; change it")
    for name in ("frames", "context_frames"):
        if getattr(settings, name) % time != 1 % time:
            raise ConfigError(f"{where}: {name} {getattr(settings, name)} is not 1 more than a multiple of {time}")
    # Beside the latents the transformer takes a channel that says which frames are given.
    if transformer.in_channels != vae.latent_channels + 1:
        raise ConfigError(
            f"{checkpoint.path}: the transformer takes {transformer.in_channels} channels, a video-to-world one for"
            f" {vae.latent_channels} latent channels takes {vae.latent_channels + 1}; give a Video2World checkpoint"
        )
    frames = (settings.frames - 1) // time + 1
    told = len(vae.latents_mean) // vae.latent_channels if vae.latents_mean is not None else 1
    if 1 < told < frames:
        raise ConfigError(
            f"{where}: frames {settings.frames} are {frames} latent frames; the autoencoder tells the statistics of"
            f" {told}; ask for fewer"
        )
    return Chunk(
        channels=vae.latent_channels,
        frames=frames,
        context=(settings.context_frames - 1) // time + 1,
        height=settings.height // space,
        width=settings.width // space,
        time_scale=time,
        space_scale=space,
        prompt_tokens=settings.prompt_tokens,
        prompt_width=transformer.text_embed_dim,
    )


def convert_transformer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of diffusers as they are; original ones through its own converter."""
    if not any(name.removeprefix("net.").startswith(ORIGINAL) for name in tensors):
        return dict(tensors)
    converted: dict[str, Tensor] = convert_cosmos_transformer_checkpoint_to_diffusers(_Kept(tensors))
    return converted


class _Kept(dict[str, Tensor]):
    """A dict that keeps what is popped: the converter empties its input before it looks which version it is."""

    def pop(self, key: str, *default: Any) -> Tensor:
        """The value of `key`, which stays."""
        return self[key]
