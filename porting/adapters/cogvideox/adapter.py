"""Builds CogVideoX from a diffusers pipeline: its transformer, its decoder, and the clip's program."""

from typing import Any

from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.cogvideox.config import PaddedClip, Scheduler, Settings
from porting.adapters.cogvideox.decoder import LATER, FirstDecoder, SteadyDecoder, StreamingDecoder
from porting.adapters.cogvideox.modules import Denoiser
from porting.adapters.cogvideox.program import build_program
from porting.adapters.cogvideox.transformer import Transformer
from porting.adapters.family import list_words
from porting.adapters.published import build_diffusers, read_settings, validate
from porting.adapters.wan.decoder import Joiner
from porting.checkpoint import Checkpoint
from porting.checkpoint.json_file import InvalidJsonError, read_object
from porting.errors import ConfigError

PARTS = ("transformer", "vae")
SCHEDULER, SCHEDULER_LIMIT_BYTES = "scheduler/scheduler_config.json", 2**20
UNUSED = ("encoder.*", "quant_conv.*")
"""The autoencoder's other half: nothing of it runs when a clip is made from text."""


def build(checkpoint: Checkpoint) -> Blueprint:
    """The clip that the parts' configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: the pipeline's folder lacks the transformer or the autoencoder.
        ConfigError: a value is impossible, the parts do not fit together, or the sampler is another one.
    """
    settings = read_settings(Settings, checkpoint)
    scheduler = settings.scheduler or read_scheduler(checkpoint)
    used = checkpoint.select(PARTS)
    transformer = build_transformer(used.part("transformer"))
    vae = build_autoencoder(used.part("vae"))
    clip = measure_clip(checkpoint, settings, transformer.config, vae.config)
    stream = StreamingDecoder(vae, clip.latent_shape)
    network = Transformer(transformer, clip.latents_shape)
    told = {**settings.model_dump(), "scheduler": scheduler.model_dump()}
    return Blueprint(
        family="cogvideox",
        config={**{name: dict(part.config) for name, part in used.parts.items()}, "worldport": told},
        program=build_program(clip, settings, scheduler.list_steps(settings.steps), stream.cache_shapes),
        modules={
            "denoiser": Denoiser(network, settings.guidance_scale),
            "decoder_first": FirstDecoder(stream),
            "decoder": SteadyDecoder(stream),
            "joiner": Joiner(),
        },
        parts={
            "transformer": Part(transformer, used.part("transformer")),
            "vae": Part(vae, used.part("vae"), ignored=UNUSED),
        },
        part_of={"denoiser": "transformer", "decoder_first": "vae", "decoder": "vae"},
        sizes=measure_sizes(transformer.config, clip),
    )


def read_scheduler(checkpoint: Checkpoint) -> Scheduler:
    """What the pipeline's scheduler folder says; without one, the published defaults.

    Raises:
        ConfigError: it is damaged, or of another sampler than the published deterministic one.
    """
    path = checkpoint.path / SCHEDULER
    if not path.is_file():
        return Scheduler()
    try:
        told = read_object(path, SCHEDULER_LIMIT_BYTES)
    except (InvalidJsonError, OSError) as cause:
        raise ConfigError(f"{path}: {cause}; copy it anew") from cause
    return validate(Scheduler, told, str(path))


def build_transformer(part: Checkpoint) -> Any:
    """A `CogVideoXTransformer3DModel` without weights.

    Raises:
        ConfigError: a value is impossible, or it takes more than a prompt.
    """
    transformer: Any = build_diffusers(CogVideoXTransformer3DModel, part)
    config = transformer.config
    if config.in_channels != config.out_channels or config.ofs_embed_dim or config.use_learned_positional_embeddings:
        raise ConfigError(
            f"{part.config_path}: in_channels {config.in_channels}, out_channels {config.out_channels}: it is"
            " conditioned on pictures; text to video alone is ported, give such a checkpoint"
        )
    if config.patch_size_t is not None and not config.use_rotary_positional_embeddings:
        raise ConfigError(f"{part.config_path}: patch_size_t goes with rotary positions; correct it")
    return transformer


def build_autoencoder(part: Checkpoint) -> Any:
    """An `AutoencoderKLCogVideoX` without weights and without its encoder.

    Raises:
        ConfigError: a value is impossible, or it is another autoencoder.
    """
    said = list_words(part)
    if said and "AutoencoderKLCogVideoX" not in said:
        raise ConfigError(f"{part.config_path}: is of a {said[0]}; CogVideoX has an AutoencoderKLCogVideoX, give that")
    vae: Any = build_diffusers(AutoencoderKLCogVideoX, part)
    del vae.encoder, vae.quant_conv
    return vae


def measure_clip(checkpoint: Checkpoint, settings: Settings, transformer: Any, vae: Any) -> PaddedClip:
    """A clip's sizes in latents.

    Raises:
        ConfigError: pictures or frames do not divide, or transformer and autoencoder do not fit together.
    """
    where, space = checkpoint.settings_path, 2 ** (len(vae.block_out_channels) - 1)
    time, cell = int(vae.temporal_compression_ratio), space * transformer.patch_size
    for name in ("height", "width"):
        if getattr(settings, name) % cell:
            raise ConfigError(f"{where}: {name} {getattr(settings, name)} is not a multiple of {cell}; change it")
    if (settings.frames - 1) % (LATER * time):
        raise ConfigError(
            f"{where}: frames {settings.frames} is not 1 more than a multiple of {LATER * time}; change it"
        )
    if transformer.in_channels != vae.latent_channels:
        raise ConfigError(
            f"{checkpoint.path}: the transformer takes {transformer.in_channels} channels, the autoencoder's latents"
            f" have {vae.latent_channels}; give parts that belong together"
        )
    if transformer.temporal_compression_ratio != time:
        raise ConfigError(
            f"{checkpoint.path}: the transformer's temporal_compression_ratio {transformer.temporal_compression_ratio}"
            f" is not the autoencoder's {time}; give parts that belong together"
        )
    _check_grid(checkpoint, settings, transformer, space)
    shown = (settings.frames - 1) // time + 1
    padding = -shown % (transformer.patch_size_t or 1)
    return PaddedClip(
        channels=vae.latent_channels,
        frames=shown + padding,
        padding=padding,
        height=settings.height // space,
        width=settings.width // space,
        time_scale=time,
        space_scale=space,
        prompt_tokens=settings.prompt_tokens,
        prompt_width=transformer.text_embed_dim,
    )


def measure_sizes(transformer: Any, clip: PaddedClip) -> Sizes:
    """The transformer in figures."""
    width = transformer.num_attention_heads * transformer.attention_head_dim
    patch = transformer.patch_size**2 * (transformer.patch_size_t or 1)
    return Sizes(
        component="denoiser",
        layers=transformer.num_layers,
        width=width,
        heads=transformer.num_attention_heads,
        mlp_width=4 * width,
        tokens=clip.prompt_tokens + clip.frames * clip.height * clip.width // patch,
    )


def _check_grid(checkpoint: Checkpoint, settings: Settings, transformer: Any, space: int) -> None:
    """Patches that span several latent frames have positions up to the trained size alone."""
    for name in ("height", "width"):
        largest = getattr(transformer, f"sample_{name}") * space
        if transformer.patch_size_t is not None and getattr(settings, name) > largest:
            raise ConfigError(
                f"{checkpoint.settings_path}: {name} {getattr(settings, name)} is above the trained {largest}; lower it"
            )
