"""Builds Cosmos 3 Omni from a diffusers pipeline: its transformer with actions, its autoencoder, and the chunk."""

from dataclasses import replace
from typing import Any

import numpy as np
from diffusers.models.transformers.transformer_cosmos3 import Cosmos3OmniTransformer
from torch import nn

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.cosmos3_omni.config import Settings
from porting.adapters.cosmos3_omni.modules import DynamicsStep, PolicyStep, Predictor
from porting.adapters.cosmos3_omni.program import build_program
from porting.adapters.cosmos3_omni.transformer import Generator, Reader
from porting.adapters.cosmos_predict2.config import Chunk
from porting.adapters.cosmos_predict2.modules import Joiner
from porting.adapters.cosmos_predict2.sampler import plan_multistep
from porting.adapters.published import build_diffusers, read_settings
from porting.adapters.samples import DrawSamples, draw_session
from porting.adapters.wan.decoder import FirstDecoder, SteadyDecoder, StreamingDecoder
from porting.adapters.wan.encoder import Encoder
from porting.adapters.wan.parts import build_autoencoder, convert_autoencoder
from porting.adapters.world_model import SampleSession
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError
from porting.program import Program

PARTS = ("transformer", "vae")
UNUSED = ("lm_head.weight", "audio_*")
"""Heads for words and sound: nothing of them runs when pictures and actions are made."""


def build(checkpoint: Checkpoint) -> Blueprint:
    """The chunk that the parts' configs and worldport.json describe, without weights.

    Raises:
        CheckpointError: the transformer or the autoencoder is missing.
        ConfigError: a value is impossible, or the parts do not fit together.
    """
    settings = read_settings(Settings, checkpoint)
    used = checkpoint.select(PARTS)
    transformer = build_transformer(used.part("transformer"))
    vae = build_autoencoder(used.part("vae"), with_encoder=True)
    config = transformer.config
    chunk = measure_chunk(checkpoint, settings, config, vae.config)
    predictor = Predictor(Generator(transformer, settings, chunk), settings)
    stream = StreamingDecoder(vae, chunk.latent_shape)
    steps = plan_multistep(settings.steps, settings.sigma_min, settings.sigma_max)
    denoiser: nn.Module = PolicyStep(predictor) if settings.policy else DynamicsStep(predictor)
    cells = (chunk.height // config.latent_patch_size) * (chunk.width // config.latent_patch_size)
    return Blueprint(
        family="cosmos3_omni",
        config={**{name: dict(part.config) for name, part in used.parts.items()}, "worldport": settings.model_dump()},
        program=build_program(chunk, settings, config, steps, stream.cache_shapes),
        modules={
            "encoder": Encoder(vae),
            "reader": Reader(transformer, settings),
            "denoiser": denoiser,
            "decoder_first": FirstDecoder(stream),
            "decoder": SteadyDecoder(stream),
            "joiner": Joiner(chunk),
        },
        parts={
            "transformer": Part(transformer, used.part("transformer"), ignored=UNUSED),
            "vae": Part(vae, used.part("vae"), convert_autoencoder),
        },
        part_of={
            "encoder": "vae",
            "reader": "transformer",
            "denoiser": "transformer",
            "decoder_first": "vae",
            "decoder": "vae",
        },
        sizes=Sizes(
            component="denoiser",
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=config.num_attention_heads,
            mlp_width=config.intermediate_size,
            tokens=chunk.frames * cells + settings.actions,
        ),
        draw_samples=draw_prompts(config.vocab_size),
    )


def build_transformer(part: Checkpoint) -> Any:
    """A `Cosmos3OmniTransformer` without weights and without the heads that do not run.

    Raises:
        ConfigError: a value is impossible, or it knows no actions.
    """
    if not part.config.get("action_gen"):
        raise ConfigError(
            f"{part.config_path}: action_gen {part.config.get('action_gen', False)}: it knows no actions; policy and"
            " forward dynamics alone are ported, give a checkpoint that was trained with them"
        )
    transformer: Any = build_diffusers(
        Cosmos3OmniTransformer, replace(part, config={**part.config, "sound_gen": False})
    )
    config = transformer.config
    if config.patch_latent_dim != config.latent_patch_size**2 * config.latent_channel:
        raise ConfigError(
            f"{part.config_path}: patch_latent_dim {config.patch_latent_dim} is not latent_patch_size"
            f" {config.latent_patch_size} squared times latent_channel {config.latent_channel}; correct it"
        )
    del transformer.lm_head
    return transformer


def measure_chunk(checkpoint: Checkpoint, settings: Settings, transformer: Any, vae: Any) -> Chunk:
    """A chunk's sizes in latents: one picture that is given, and one for each action.

    Raises:
        ConfigError: pictures or actions do not divide, transformer and autoencoder do not fit together, or the model
            does not know such a body.
    """
    space = 2 ** (len(vae.dim_mult) - 1) * (vae.patch_size or 1)
    time, cell = 2 ** sum(vae.temperal_downsample), space * transformer.latent_patch_size
    where = checkpoint.settings_path
    for name, divisor in (("height", cell), ("width", cell), ("actions", time)):
        if getattr(settings, name) % divisor:
            raise ConfigError(f"{where}: {name} {getattr(settings, name)} is not a multiple of {divisor}; change it")
    for name, least, limit in (
        ("action_width", settings.action_width, transformer.action_dim + 1),
        ("domain", settings.domain, transformer.num_embodiment_domains),
    ):
        if least >= limit:
            raise ConfigError(f"{where}: {name} {least}: the model knows them up to {limit - 1}; change it")
    if transformer.latent_channel != vae.z_dim:
        raise ConfigError(
            f"{checkpoint.path}: the transformer takes {transformer.latent_channel} channels, the autoencoder's latents"
            f" have {vae.z_dim}; give parts that belong together"
        )
    return Chunk(
        channels=vae.z_dim,
        frames=settings.actions // time + 1,
        context=1,
        height=settings.height // space,
        width=settings.width // space,
        time_scale=time,
        space_scale=space,
        prompt_tokens=settings.prompt_tokens,
        prompt_width=1,  # a token is its number
    )


def draw_prompts(vocabulary: int) -> DrawSamples:
    """What draws sessions of random words, of so many that there are; all else as it is drawn for every family."""

    def draw(program: Program, generator: np.random.Generator, frames: int) -> SampleSession:
        session = draw_session(program, generator, frames)
        words: dict[str, Any] = {
            given.tensor.name: generator.integers(0, vocabulary, given.tensor.shape, dtype=np.int64)
            for given in program.inputs
            if given.tensor.dtype == "int64"
        }
        return SampleSession({**session.session_inputs, **words}, session.frame_inputs)

    return draw
