"""Builds Wan from a diffusers pipeline or from the original repository's files: transformers, decoder, and the clip."""

from dataclasses import replace
from typing import Any

from torch import nn

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.published import read_settings
from porting.adapters.wan.config import Asked, Clip, Settings
from porting.adapters.wan.decoder import FirstDecoder, Joiner, SteadyDecoder, StreamingDecoder
from porting.adapters.wan.modules import Denoiser
from porting.adapters.wan.parts import (
    UNUSED,
    build_autoencoder,
    build_transformer,
    convert_autoencoder,
    convert_transformer,
    find_part,
)
from porting.adapters.wan.program import FIRST_EXPERT, SECOND_EXPERT, build_program
from porting.adapters.wan.transformer import Transformer
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

PARTS = {FIRST_EXPERT: "transformer", SECOND_EXPERT: "transformer_2"}
"""Of a diffusers pipeline: the second one, for low noise, is Wan 2.2's alone."""


def build(checkpoint: Checkpoint) -> Blueprint:
    """The clip that the parts' configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: a transformer or the autoencoder is missing.
        ConfigError: a value is impossible, or the parts do not fit together.
    """
    settings = read_settings(Settings, checkpoint)
    boundary = read_boundary(checkpoint)
    names, vae_name = name_parts(checkpoint, boundary)
    used = checkpoint.select((*names.values(), vae_name))
    sources = {name: with_folder_config(checkpoint, used.part(name)) for name in names.values()}
    transformers = {expert: build_transformer(sources[name]) for expert, name in names.items()}
    vae = build_autoencoder(used.part(vae_name))
    clip = measure_clip(checkpoint, settings, transformers[FIRST_EXPERT].config, vae.config)
    if any(dict(one.config) != dict(transformers[FIRST_EXPERT].config) for one in transformers.values()):
        raise ConfigError(
            f"{sources[names[SECOND_EXPERT]].config_path}: differs from the first transformer's; correct it"
        )
    stream = StreamingDecoder(vae, clip.latent_shape)
    program = build_program(clip, settings, stream.cache_shapes, boundary)
    modules: dict[str, nn.Module] = {
        "decoder_first": FirstDecoder(stream), "decoder": SteadyDecoder(stream), "joiner": Joiner(),
    }  # fmt: skip
    scales = {FIRST_EXPERT: settings.guidance_scale, SECOND_EXPERT: settings.low_noise_guidance_scale}
    for expert, transformer in transformers.items():
        scale = scales[expert] or settings.guidance_scale
        modules[expert] = Denoiser(Transformer(transformer, clip.latents_shape), scale)
    ran = {component.name for component in program.components}
    return Blueprint(
        family="wan",
        config={**{name: dict(part.config) for name, part in used.parts.items()}, "worldport": settings.model_dump()},
        program=program,
        modules={component.name: modules[component.name] for component in program.components},
        parts={
            **{names[e]: Part(t, sources[names[e]], convert_transformer) for e, t in transformers.items() if e in ran},
            vae_name: Part(vae, used.part(vae_name), convert_autoencoder, ignored=UNUSED),
        },
        part_of={
            **{expert: name for expert, name in names.items() if expert in ran},
            "decoder_first": vae_name,
            "decoder": vae_name,
        },
        sizes=measure_sizes(next(e for e in names if e in ran), transformers[FIRST_EXPERT].config, clip),
    )


def name_parts(checkpoint: Checkpoint, boundary: float | None) -> tuple[dict[str, str], str]:
    """The part of each denoiser, and the autoencoder's: a pipeline's by their names, loose files' by their tensors.

    Raises:
        CheckpointError: one is not there, or loose files leave a choice.
    """
    if not any(name in checkpoint.parts for name in ("transformer", "vae")):
        transformer = find_part(checkpoint, "transformer")
        return {FIRST_EXPERT: transformer}, find_part(checkpoint, "autoencoder", "original autoencoder")
    experts = PARTS if boundary is not None else {FIRST_EXPERT: PARTS[FIRST_EXPERT]}
    for name in (*experts.values(), "vae"):
        checkpoint.part(name)
    return dict(experts), "vae"


def read_boundary(checkpoint: Checkpoint) -> float | None:
    """The noise level below which the second transformer takes over, from the pipeline's config.

    Raises:
        ConfigError: it is no share.
    """
    told = checkpoint.config.get("boundary_ratio")
    if told is None:
        return None
    if not isinstance(told, int | float) or not 0 < told < 1:
        raise ConfigError(f"{checkpoint.config_path}: boundary_ratio {told!r} is not between 0 and 1; correct it")
    return float(told)


def measure_clip(checkpoint: Checkpoint, settings: Asked, transformer: Any, vae: Any) -> Clip:
    """A clip's sizes in latents.

    Raises:
        ConfigError: pictures or frames do not divide, or transformer and autoencoder do not fit together.
    """
    space = 2 ** (len(vae.dim_mult) - 1) * (vae.patch_size or 1)
    time = 2 ** sum(vae.temperal_downsample)
    where = checkpoint.settings_path
    for name, cell in (("height", space * transformer.patch_size[1]), ("width", space * transformer.patch_size[2])):
        if getattr(settings, name) % cell:
            raise ConfigError(f"{where}: {name} {getattr(settings, name)} is not a multiple of {cell}; change it")
    if settings.frames % time != 1 % time:
        raise ConfigError(f"{where}: frames {settings.frames} is not 1 more than a multiple of {time}; change it")
    if transformer.out_channels != vae.z_dim:
        raise ConfigError(
            f"{checkpoint.path}: the transformer makes {transformer.out_channels} channels, the autoencoder's latents"
            f" have {vae.z_dim}; give parts that belong together"
        )
    return Clip(
        channels=vae.z_dim,
        frames=(settings.frames - 1) // time + 1,
        height=settings.height // space,
        width=settings.width // space,
        time_scale=time,
        space_scale=space,
        prompt_tokens=settings.prompt_tokens,
        prompt_width=transformer.text_dim,
    )


def measure_sizes(component: str, transformer: Any, clip: Clip) -> Sizes:
    """The transformer in figures."""
    tokens = clip.frames * clip.height * clip.width // (transformer.patch_size[1] * transformer.patch_size[2])
    return Sizes(
        component=component,
        layers=transformer.num_layers,
        width=transformer.num_attention_heads * transformer.attention_head_dim,
        heads=transformer.num_attention_heads,
        mlp_width=transformer.ffn_dim,
        tokens=tokens,
    )


def with_folder_config(checkpoint: Checkpoint, part: Checkpoint) -> Checkpoint:
    """A loose transformer with its folder's config, which speaks of it."""
    if part.config or not part.tensors:
        return part
    return replace(part, config=checkpoint.config, config_path=checkpoint.config_path)
