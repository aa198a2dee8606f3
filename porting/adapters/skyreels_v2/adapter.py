"""Builds SkyReels-V2 from a diffusers pipeline: its transformer, Wan's autoencoder, and the chunk's program."""

from dataclasses import replace
from typing import Any

from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2Transformer3DModel
from torch import Tensor

from porting.adapters.blueprint import Blueprint, Part
from porting.adapters.family import list_words
from porting.adapters.published import build_diffusers, read_settings
from porting.adapters.skyreels_v2.config import Chunk, Settings
from porting.adapters.skyreels_v2.modules import Denoiser
from porting.adapters.skyreels_v2.program import build_program
from porting.adapters.skyreels_v2.transformer import Transformer
from porting.adapters.wan.adapter import measure_clip, measure_sizes
from porting.adapters.wan.decoder import FirstDecoder, Joiner, SteadyDecoder, StreamingDecoder
from porting.adapters.wan.encoder import Encoder
from porting.adapters.wan.parts import build_autoencoder, convert_autoencoder, is_original, translate_config
from porting.adapters.wan.parts import convert_transformer as convert_as_wan
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

PARTS = ("transformer", "vae")
FULL = ("SkyReelsV2Pipeline", "SkyReelsV2ImageToVideoPipeline")
"""Pipelines of the same class whose transformers were trained with one noise level for all frames."""
FPS_NAMES = {"fps_projection.0": "fps_projection.net.0.proj", "fps_projection.2": "fps_projection.net.2"}
"""Layers that the converter for Wan's names leaves as the original repository names them."""


def build(checkpoint: Checkpoint) -> Blueprint:
    """The chunk that the parts' configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: the pipeline's folder lacks the transformer or the autoencoder.
        ConfigError: a value is impossible, the parts do not fit together, or it is no diffusion forcing model.
    """
    if said := [word for word in list_words(checkpoint) if word in FULL]:
        raise ConfigError(
            f"{checkpoint.config_path}: is of a {said[0]}, whose frames share one noise level; give a checkpoint of"
            " diffusion forcing"
        )
    settings = read_settings(Settings, checkpoint)
    used = checkpoint.select(PARTS)
    transformer = build_transformer(used.part("transformer"))
    vae = build_autoencoder(used.part("vae"), with_encoder=True)
    chunk = measure_chunk(checkpoint, settings, transformer.config, vae.config)
    stream = StreamingDecoder(vae, chunk.latent_shape)
    network = Transformer(transformer, chunk.latents_shape, chunk.block, settings.fps)
    return Blueprint(
        family="skyreels_v2",
        config={**{name: dict(part.config) for name, part in used.parts.items()}, "worldport": settings.model_dump()},
        program=build_program(chunk, settings, stream.cache_shapes),
        modules={
            "encoder": Encoder(vae),
            "denoiser": Denoiser(network, settings, chunk),
            "decoder_first": FirstDecoder(stream),
            "decoder": SteadyDecoder(stream),
            "joiner": Joiner(),
        },
        parts={
            "transformer": Part(transformer, used.part("transformer"), convert_transformer),
            "vae": Part(vae, used.part("vae"), convert_autoencoder),
        },
        part_of={"encoder": "vae", "denoiser": "transformer", "decoder_first": "vae", "decoder": "vae"},
        sizes=measure_sizes("denoiser", transformer.config, chunk),
    )


def build_transformer(part: Checkpoint) -> Any:
    """A `SkyReelsV2Transformer3DModel` without weights.

    Raises:
        ConfigError: a value is impossible, or it takes more than latents and a prompt.
    """
    if is_original(part):
        translated = translate_config(part)
        part = replace(part, config={**translated, "inject_sample_info": knows_rates(part)})
    transformer: Any = build_diffusers(SkyReelsV2Transformer3DModel, part)
    config = transformer.config
    if config.in_channels != config.out_channels or config.image_dim or config.added_kv_proj_dim:
        raise ConfigError(
            f"{part.config_path}: in_channels {config.in_channels}, out_channels {config.out_channels}: it is"
            " conditioned on pictures beside its latents; give a checkpoint of diffusion forcing"
        )
    if config.patch_size[0] != 1:
        raise ConfigError(f"{part.config_path}: patch_size {list(config.patch_size)}: the first must be 1; correct it")
    return transformer


def knows_rates(part: Checkpoint) -> bool:
    """Whether an original transformer is told the frame rate."""
    told = part.config.get("inject_sample_info")
    return bool(told) if told is not None else any(name.endswith("fps_embedding.weight") for name in part.tensors)


def measure_chunk(checkpoint: Checkpoint, settings: Settings, transformer: Any, vae: Any) -> Chunk:
    """A chunk's sizes in latents.

    Raises:
        ConfigError: pictures, frames or blocks do not divide, or transformer and autoencoder do not fit together.
    """
    clip = measure_clip(checkpoint, settings, transformer, vae)
    where, time = checkpoint.settings_path, clip.time_scale
    if settings.context_frames % time != 1 % time:
        raise ConfigError(
            f"{where}: context_frames {settings.context_frames} is not 1 more than a multiple of {time}; change it"
        )
    context = (settings.context_frames - 1) // time + 1
    block = settings.block or transformer.num_frame_per_block
    if not isinstance(block, int) or block < 1:
        raise ConfigError(f"{checkpoint.path}: num_frame_per_block {block!r} is no number of frames; correct it")
    if context % block or clip.frames % block:
        raise ConfigError(
            f"{where}: frames {settings.frames} and context_frames {settings.context_frames} are {clip.frames} and"
            f" {context} latent frames, which blocks of {block} do not divide; change them"
        )
    return Chunk(**clip.model_dump(), context=context, block=block)


def convert_transformer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of diffusers as they are; original ones, Wan's but for the rate's, through its converter for Wan."""
    converted = {}
    for name, tensor in convert_as_wan(tensors).items():
        layer, _, kind = name.rpartition(".")
        converted[f"{FPS_NAMES.get(layer, layer)}.{kind}" if layer else name] = tensor
    return converted
