"""Builds Oasis: the transformer in the published sampler, the autoencoder, and the window that is carried."""

from functools import partial

import numpy as np
import numpy.typing as npt
from torch import nn

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.empty import empty_parameters
from porting.adapters.oasis.autoencoder import Autoencoder
from porting.adapters.oasis.config import Settings, find_networks, read_config
from porting.adapters.oasis.modules import Decoder, Opener, Recorder, Step
from porting.adapters.oasis.program import build_program
from porting.adapters.oasis.renaming import convert_dit
from porting.adapters.oasis.transformer import Dit, compute_frequencies
from porting.adapters.published import read_settings
from porting.adapters.samples import HOLD, draw_clip
from porting.adapters.world_model import SampleSession
from porting.checkpoint import Checkpoint
from porting.program import Program

CAMERA = (15, 16)
"""Places of the camera's two values in an action; the others are keys."""
PRESSED = 0.2
"""Share of keys that a random action presses."""


def build(checkpoint: Checkpoint) -> Blueprint:
    """The world that both files' shapes, config.json and worldport.json describe, without weights.

    Raises:
        CheckpointError: one of the two networks is not there.
        ConfigError: a value of either file is impossible, or the networks do not fit each other.
    """
    stored_dit, stored_vae = find_networks(checkpoint)
    config, settings = read_config(checkpoint, stored_dit, stored_vae), read_settings(Settings, checkpoint)
    with empty_parameters():
        dit, vae = Dit(config.dit, settings.window), Autoencoder(config.vae)
    modules: dict[str, nn.Module] = {
        "opener": Opener(vae, config.scaling_factor, settings.window),
        "denoiser": Step(dit, settings.stabilization_level),
        "decoder": Decoder(vae, config.scaling_factor),
        "recorder": Recorder(),
    }
    return Blueprint(
        family="oasis",
        config={**config.model_dump(mode="json"), "worldport": settings.model_dump(mode="json")},
        program=build_program(config, settings),
        modules=modules,
        parts={
            "dit": Part(dit, stored_dit, partial(convert_dit, computed=compute_frequencies(config.dit))),
            "vae": Part(vae, stored_vae),
        },
        part_of={"opener": "vae", "denoiser": "dit", "decoder": "vae"},
        sizes=Sizes(
            component="denoiser",
            layers=config.dit.depth,
            width=config.dit.hidden_size,
            heads=config.dit.num_heads,
            mlp_width=config.dit.mlp_width,
            tokens=settings.window * config.dit.grid[0] * config.dit.grid[1],
        ),
        draw_samples=draw_session,
        finish=lambda modules: dit.fill(),
    )


def draw_session(program: Program, generator: np.random.Generator, frames: int) -> SampleSession:
    """One random session: smooth pictures, and keys and camera movements that are held for some frames."""
    shapes = {given.tensor.name: given.tensor.shape for given in program.inputs}
    _, prompt, width = shapes["first_actions"]
    actions = _draw_actions(generator, prompt + frames, width)
    actions[0] = 0  # nothing led to the first frame
    return SampleSession(
        session_inputs={"frames": draw_clip(generator, shapes["frames"]), "first_actions": actions[None, :prompt]},
        frame_inputs={"action": actions[prompt:, None]},
    )


def _draw_actions(generator: np.random.Generator, frames: int, width: int) -> npt.NDArray[np.float32]:
    """(frames, width): keys are 0 or 1, the camera's values within [-1, 1]."""
    turns = frames // HOLD + 1
    actions = (generator.random((turns, width)) < PRESSED).astype(np.float32)
    camera = [place for place in CAMERA if place < width]
    actions[:, camera] = generator.uniform(-1, 1, (turns, len(camera)))
    return np.repeat(actions, HOLD, axis=0)[:frames]
