"""Builds Matrix-Game 2 from its distilled checkpoint and Wan's autoencoder beside it."""

from dataclasses import replace
from typing import Any

from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from porting.adapters.blueprint import Blueprint, Part
from porting.adapters.empty import empty_parameters
from porting.adapters.matrix_game.actions import Opener, Windows
from porting.adapters.matrix_game.config import Settings, read_actions
from porting.adapters.matrix_game.modules import Denoiser, ImageEmbedder, Network, convert_network
from porting.adapters.matrix_game.program import ActionShapes, build_program
from porting.adapters.names import strip_wrappers
from porting.adapters.published import build_diffusers, read_settings
from porting.adapters.wan.adapter import measure_clip, measure_sizes, name_parts, with_folder_config
from porting.adapters.wan.decoder import FirstDecoder, Joiner, SteadyDecoder, StreamingDecoder
from porting.adapters.wan.parts import UNUSED, build_autoencoder, convert_autoencoder, translate_config
from porting.adapters.wan.program import FIRST_EXPERT
from porting.adapters.wan_causal.adapter import as_clip
from porting.adapters.wan_causal.modules import Conditioner
from porting.adapters.wan_causal.program import Shapes
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

IMAGE_WIDTH, IMAGE_MARK = 1280, "img_emb.proj.0.weight"
"""Of CLIP's features in the published model, and the tensor that tells another."""


def build(checkpoint: Checkpoint) -> Blueprint:
    """The chunk that the configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: the transformer or the autoencoder is missing.
        ConfigError: a value is impossible, or the parts do not fit together.
    """
    names, vae_name = name_parts(checkpoint, None)
    name = names[FIRST_EXPERT]
    used = checkpoint.select((name, vae_name))
    source = with_folder_config(checkpoint, used.part(name))
    settings, actions = _read_settings(checkpoint, source), read_actions(source)
    transformer, vae = _build_transformer(source), build_autoencoder(used.part(vae_name))
    with empty_parameters():
        network = Network(transformer, actions)
    clip = measure_clip(checkpoint, as_clip(settings, vae), transformer.config, vae.config)
    clip = clip.model_copy(update={"prompt_width": transformer.config.image_dim})
    if actions.vae_time_compression_ratio != clip.time_scale:
        raise ConfigError(
            f"{source.config_path}: vae_time_compression_ratio {actions.vae_time_compression_ratio}: the autoencoder's"
            f" latent frames stand for {clip.time_scale} pictures; give parts that belong together"
        )
    sizes = measure_sizes("denoiser", transformer.config, clip)
    width, slots = transformer.config.attention_head_dim, settings.past_chunks
    shapes = Shapes(sizes.heads, width, sizes.layers, clip.prompt_tokens, sizes.tokens, slots, seen="image")
    action_shapes = ActionShapes(actions, clip, slots, sizes.tokens // clip.frames)
    stream = StreamingDecoder(vae, clip.latent_shape)
    told = transformer.config.in_channels - transformer.config.out_channels
    embedder = ImageEmbedder(transformer.condition_embedder.image_embedder)
    return Blueprint(
        family="matrix_game",
        config={
            name: dict(source.config),
            vae_name: dict(used.part(vae_name).config),
            "worldport": settings.model_dump(),
        },
        program=build_program(clip, settings, told, shapes, action_shapes, stream.cache_shapes),
        modules={
            "conditioner": Conditioner(transformer, embedder),
            "opener": Opener(actions),
            "windows": Windows(actions, clip.frames),
            "denoiser": Denoiser(network, actions, clip.latents_shape, slots),
            "decoder_first": FirstDecoder(stream),
            "decoder": SteadyDecoder(stream),
            "joiner": Joiner(),
        },
        parts={
            name: Part(network, source, convert_network),
            vae_name: Part(vae, used.part(vae_name), convert_autoencoder, ignored=UNUSED),
        },
        part_of={"conditioner": name, "denoiser": name, "decoder_first": vae_name, "decoder": vae_name},
        sizes=sizes,
    )


def _read_settings(checkpoint: Checkpoint, source: Checkpoint) -> Settings:
    """worldport.json over what config.json says of window and sink.

    Raises:
        ConfigError: a value is impossible.
    """
    told = {"window": source.config.get("local_attn_size"), "sink": source.config.get("sink_size")}
    known = {key: value for key, value in told.items() if value is not None}
    return read_settings(Settings, replace(checkpoint, settings={**known, **checkpoint.settings}))


def _build_transformer(source: Checkpoint) -> Any:
    """diffusers' Wan with the picture's embedding and without a prompt's.

    Raises:
        ConfigError: a value is impossible.
    """
    headers = strip_wrappers(source.tensors)
    image_width = headers[IMAGE_MARK].shape[0] if IMAGE_MARK in headers else IMAGE_WIDTH
    config = {**translate_config(source), "image_dim": image_width}
    transformer: Any = build_diffusers(WanTransformer3DModel, replace(source, config=config))
    if transformer.config.in_channels <= transformer.config.out_channels:
        raise ConfigError(
            f"{source.config_path}: in_dim {transformer.config.in_channels} has no room for the opening picture beside"
            f" out_dim {transformer.config.out_channels}; correct it"
        )
    return transformer
