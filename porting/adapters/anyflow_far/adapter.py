"""Builds AnyFlow FAR from a diffusers pipeline: the transformer, Wan's autoencoder, and chunks without end."""

from typing import Any

from diffusers.models.transformers.transformer_anyflow_far import AnyFlowFARTransformer3DModel
from torch import nn

from porting.adapters.anyflow_far.config import Settings, World
from porting.adapters.anyflow_far.modules import Denoiser, Opener, Recorder
from porting.adapters.anyflow_far.program import build_program
from porting.adapters.anyflow_far.transformer import Transformer
from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.published import build_diffusers, read_settings
from porting.adapters.wan.config import Clip
from porting.adapters.wan.decoder import FirstDecoder, Joiner, SteadyDecoder, StreamingDecoder
from porting.adapters.wan.encoder import Encoder
from porting.adapters.wan.parts import build_autoencoder, convert_autoencoder
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

PARTS = ("transformer", "vae")


def build(checkpoint: Checkpoint) -> Blueprint:
    """The session that both parts' configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: the transformer or the autoencoder is missing.
        ConfigError: a value is impossible, or the parts do not fit together.
    """
    settings = read_settings(Settings, checkpoint)
    used = checkpoint.select(PARTS)
    transformer = build_transformer(used.part("transformer"))
    vae = build_autoencoder(used.part("vae"), with_encoder=True)
    world = measure_world(checkpoint, settings, transformer.config, vae.config)
    network, stream = Transformer(transformer, world), StreamingDecoder(vae, world.clip.latent_shape)
    modules: dict[str, nn.Module] = {
        "encoder": Opener(Encoder(vae), world.frames),
        "denoiser": Denoiser(network),
        "decoder_first": FirstDecoder(stream),
        "decoder": SteadyDecoder(stream),
        "joiner": Joiner(),
        "recorder": Recorder(network),
    }
    config = transformer.config
    return Blueprint(
        family="anyflow_far",
        config={**{name: dict(part.config) for name, part in used.parts.items()}, "worldport": settings.model_dump()},
        program=build_program(world, settings, stream.cache_shapes),
        modules=modules,
        parts={
            "transformer": Part(transformer, used.part("transformer")),
            "vae": Part(vae, used.part("vae"), convert_autoencoder),
        },
        part_of={
            **dict.fromkeys(("denoiser", "recorder"), "transformer"),
            **dict.fromkeys(("encoder", "decoder_first", "decoder"), "vae"),
        },
        sizes=Sizes(
            component="denoiser",
            layers=config.num_layers,
            width=config.num_attention_heads * config.attention_head_dim,
            heads=config.num_attention_heads,
            mlp_width=config.ffn_dim,
            tokens=world.chunk_tokens,
        ),
    )


def build_transformer(part: Checkpoint) -> Any:
    """An `AnyFlowFARTransformer3DModel` without weights.

    Raises:
        ConfigError: a value is impossible, or it takes more than a prompt.
    """
    transformer: Any = build_diffusers(AnyFlowFARTransformer3DModel, part)
    config, where = transformer.config, part.config_path
    if config.image_dim is not None or config.in_channels != config.out_channels:
        raise ConfigError(
            f"{where}: image_dim {config.image_dim}, in_channels {config.in_channels}, out_channels"
            f" {config.out_channels}: it is conditioned on more than a prompt and its past; give another checkpoint"
        )
    if config.deltatime_type not in ("r", "t-r"):
        raise ConfigError(f'{where}: deltatime_type {config.deltatime_type!r} is neither "r" nor "t-r"; correct it')
    if config.full_chunk_limit < 2:
        raise ConfigError(f"{where}: full_chunk_limit {config.full_chunk_limit}: must be 2 or more; correct it")
    if config.patch_size[0] != 1 or config.compressed_patch_size[0] != 1:
        raise ConfigError(f"{where}: patch_size and compressed_patch_size must begin with 1; correct it")
    if any(far % near for far, near in zip(config.compressed_patch_size, config.patch_size, strict=True)):
        raise ConfigError(
            f"{where}: compressed_patch_size {list(config.compressed_patch_size)} is no multiple of patch_size"
            f" {list(config.patch_size)}; correct it"
        )
    return transformer


def measure_world(checkpoint: Checkpoint, settings: Settings, transformer: Any, vae: Any) -> World:
    """A session's sizes in latents.

    Raises:
        ConfigError: pictures do not divide, chunks are impossible, or transformer and autoencoder do not fit together.
    """
    space = 2 ** (len(vae.dim_mult) - 1) * (vae.patch_size or 1)
    patch, far_patch = tuple(transformer.patch_size[1:]), tuple(transformer.compressed_patch_size[1:])
    for name, side in zip(("height", "width"), far_patch, strict=True):
        if getattr(settings, name) % (space * side):
            raise ConfigError(
                f"{checkpoint.settings_path}: {name} {getattr(settings, name)} is not a multiple of {space * side};"
                " change it"
            )
    if transformer.in_channels != vae.z_dim:
        raise ConfigError(
            f"{checkpoint.path}: the transformer takes {transformer.in_channels} channels, the autoencoder's latents"
            f" have {vae.z_dim}; give parts that belong together"
        )
    partition = list(transformer.chunk_partition)
    if not partition or any(not isinstance(size, int) or size < 1 for size in partition):
        raise ConfigError(f"{checkpoint.path}: chunk_partition {partition} is no list of chunks' sizes; correct it")
    return World(
        clip=Clip(
            channels=vae.z_dim,
            frames=max(partition),
            height=settings.height // space,
            width=settings.width // space,
            time_scale=2 ** sum(vae.temperal_downsample),
            space_scale=space,
            prompt_tokens=settings.prompt_tokens,
            prompt_width=transformer.text_dim,
        ),
        recent=transformer.full_chunk_limit - 1,
        context=settings.context_chunks or max(1, len(partition) - transformer.full_chunk_limit),
        patch=patch,
        far_patch=far_patch,
        layers=transformer.num_layers,
        heads=transformer.num_attention_heads,
        head_width=transformer.attention_head_dim,
    )
