"""Builds SANA-WM's refiner from its transformer, alone or in the published pipeline."""

from typing import Any

from diffusers.models.transformers.transformer_sana_wm_refiner import SanaWMLTX2RefinerTransformer3DModel
from torch import nn

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.published import build_diffusers, read_settings
from porting.adapters.sana_wm_refiner.config import Settings, Stream
from porting.adapters.sana_wm_refiner.modules import Denoiser, Mixer, Recorder, Sink, View
from porting.adapters.sana_wm_refiner.program import build_program
from porting.adapters.sana_wm_refiner.transformer import UNUSED, Transformer
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

PART = "transformer"
MLP_RATIO = 4
"""Of the published feed-forward."""


def build(checkpoint: Checkpoint) -> Blueprint:
    """The session that the transformer's config and worldport.json describe, without weights.

    Raises:
        CheckpointError: a pipeline lacks the transformer.
        ConfigError: a value is impossible.
    """
    settings = read_settings(Settings, checkpoint)
    source = checkpoint.select((PART,)).part(PART) if checkpoint.parts else checkpoint
    transformer = build_transformer(source)
    stream = measure_stream(checkpoint, settings, transformer)
    network, view = Transformer(transformer, stream, settings.fps), View(stream)
    modules: dict[str, nn.Module] = {
        "sink": Sink(network),
        "mixer": Mixer(settings.sigmas[0]),
        "denoiser": Denoiser(network),
        "view": view,
        "recorder": Recorder(network),
    }
    width = stream.heads * stream.head_width
    return Blueprint(
        family="sana_wm_refiner",
        config={PART: dict(source.config), "worldport": settings.model_dump(mode="json")},
        program=build_program(stream, settings, view.frame_shape),
        modules=modules,
        parts={PART: Part(transformer, source, ignored=UNUSED)},
        part_of=dict.fromkeys(("sink", "denoiser", "recorder"), PART),
        sizes=Sizes(
            component="denoiser",
            layers=stream.layers,
            width=width,
            heads=stream.heads,
            mlp_width=MLP_RATIO * width,
            tokens=stream.block * stream.frame_tokens,
        ),
    )


def build_transformer(part: Checkpoint) -> Any:
    """A `SanaWMLTX2RefinerTransformer3DModel` without weights.

    Raises:
        ConfigError: a value is impossible, or one that the published refiner itself does not run.
    """
    transformer: Any = build_diffusers(SanaWMLTX2RefinerTransformer3DModel, part)
    config, where = transformer.config, part.config_path
    if config.cross_attn_mod or config.audio_cross_attn_mod or not config.use_prompt_embeddings:
        raise ConfigError(
            f"{where}: cross_attn_mod {config.cross_attn_mod}, use_prompt_embeddings {config.use_prompt_embeddings}:"
            " is of LTX-2.3, which the published refiner does not run; give one of LTX-2"
        )
    if config.patch_size != 1 or config.patch_size_t != 1:
        raise ConfigError(
            f"{where}: patch_size {config.patch_size}, patch_size_t {config.patch_size_t}: must be 1; correct it"
        )
    inner = config.num_attention_heads * config.attention_head_dim
    if config.attention_head_dim % 2 or config.cross_attention_dim != inner:
        raise ConfigError(
            f"{where}: attention_head_dim {config.attention_head_dim} must be even and cross_attention_dim"
            f" {config.cross_attention_dim} the width {inner}; correct it"
        )
    if config.in_channels != transformer.proj_out.out_features:
        raise ConfigError(
            f"{where}: in_channels {config.in_channels} and out_channels {config.out_channels} differ; correct it"
        )
    return transformer


def measure_stream(checkpoint: Checkpoint, settings: Settings, transformer: Any) -> Stream:
    """A session's sizes in latents.

    Raises:
        ConfigError: pictures do not divide.
    """
    config = transformer.config
    _, rows, columns = config.vae_scale_factors
    for name, side in (("height", rows), ("width", columns)):
        if getattr(settings, name) % side:
            raise ConfigError(
                f"{checkpoint.settings_path}: {name} {getattr(settings, name)} is not a multiple of {side}; change it"
            )
    return Stream(
        channels=config.in_channels,
        height=settings.height // rows,
        width=settings.width // columns,
        block=settings.block,
        sink=settings.sink,
        history=settings.window - settings.sink,
        layers=config.num_layers,
        heads=config.num_attention_heads,
        head_width=config.attention_head_dim,
        prompt_tokens=settings.prompt_tokens,
        prompt_width=config.caption_channels,
    )
