"""Builds Emu3 from a checkpoint of transformers: the text model on a cache, the choice of tokens, the decoder."""

from typing import Any

import numpy as np
from transformers import Emu3Config as PublishedConfig
from transformers import Emu3ForConditionalGeneration

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.empty import empty_parameters
from porting.adapters.emu3.config import (
    Emu3Config,
    Settings,
    Vocabulary,
    check_positions,
    read_config,
    read_vocabulary,
)
from porting.adapters.emu3.decoder import Decoder
from porting.adapters.emu3.predictor import Predictor
from porting.adapters.emu3.program import build_program
from porting.adapters.emu3.renaming import UNUSED, convert
from porting.adapters.emu3.sampler import Sampler
from porting.adapters.published import read_settings
from porting.adapters.samples import DrawSamples
from porting.adapters.world_model import SampleSession
from porting.checkpoint import Checkpoint
from porting.program import Program


def build(checkpoint: Checkpoint) -> Blueprint:
    """The model that config.json and worldport.json describe, without weights.

    Raises:
        ConfigError: a value of either file is impossible, or the window is longer than the model's positions.
    """
    settings, config = read_settings(Settings, checkpoint), read_config(checkpoint)
    vocabulary = read_vocabulary(checkpoint, config)
    check_positions(checkpoint, config, settings)
    model, text = build_model(config), config.text_config
    codes, first = config.vq_config.codebook_size, vocabulary.first_visual
    return Blueprint(
        family="emu3",
        config={
            **config.model_dump(mode="json"),
            "vocabulary": vocabulary.model_dump(),
            "worldport": settings.model_dump(mode="json"),
        },
        program=build_program(config, settings, vocabulary),
        modules={
            "predictor": Predictor(model, settings, text.theta, first, codes),
            "sampler": Sampler(settings.codes, first, settings.temperature),
            "decoder": Decoder(model.model.vqmodel, settings),
        },
        parts={"model": Part(model, checkpoint, convert, ignored=UNUSED)},
        part_of={"predictor": "model", "decoder": "model"},
        sizes=Sizes(
            component="predictor",
            layers=text.num_hidden_layers,
            width=text.hidden_size,
            heads=text.num_attention_heads,
            mlp_width=text.intermediate_size,
            tokens=1,
        ),
        draw_samples=prompts_of(vocabulary),
    )


def build_model(config: Emu3Config) -> Any:
    """The class of transformers with parameters on the meta device, without what makes tokens of pictures."""
    text = config.text_config
    sizes = text.model_dump(exclude={"rope_theta", "rope_parameters"})
    published = PublishedConfig(
        text_config={
            **sizes,
            "rope_parameters": {"rope_type": "default", "rope_theta": text.theta},
            # They are tokens like any other here, and must only lie within a small vocabulary.
            **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
        },
        vq_config=config.vq_config.model_dump(),
        vocabulary_map={},
    )
    with empty_parameters():
        model: Any = Emu3ForConditionalGeneration(published).eval()
    del model.model.vqmodel.encoder, model.model.vqmodel.quant_conv
    return model


def prompts_of(vocabulary: Vocabulary) -> DrawSamples:
    """Draws sessions: prompts of tokens that come before the visual ones."""

    def draw(program: Program, generator: np.random.Generator, frames: int) -> SampleSession:
        shape = program.input("prompt").tensor.shape
        prompt: Any = generator.integers(0, vocabulary.first_visual, shape, dtype=np.int64)
        return SampleSession(session_inputs={"prompt": prompt}, frame_inputs={})

    return draw
