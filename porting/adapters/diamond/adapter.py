"""Builds DIAMOND: its denoiser in the published sampler, its reward and end model, and the past that both see."""

import numpy as np
import numpy.typing as npt
from torch import nn

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.diamond.config import HEAD_WIDTH, Settings, read_config
from porting.adapters.diamond.modules import Denoiser, EulerStep, HeunCorrection, Opener, Recorder, RewardEnd
from porting.adapters.diamond.program import build_program
from porting.adapters.diamond.renaming import IGNORED, convert
from porting.adapters.diamond.unet import RewEndModel
from porting.adapters.empty import empty_parameters
from porting.adapters.published import read_settings
from porting.adapters.samples import HOLD, draw_clip
from porting.adapters.world_model import SampleSession
from porting.checkpoint import Checkpoint
from porting.program import Program


def build(checkpoint: Checkpoint) -> Blueprint:
    """The world that config.json, worldport.json and the tensors' shapes describe, without weights.

    Raises:
        ConfigError: a value of either file is impossible, or a size is told by neither.
    """
    config, settings = read_config(checkpoint), read_settings(Settings, checkpoint)
    with empty_parameters():
        denoiser = Denoiser(config.denoiser, config.num_actions, settings.quantise)
        judge = RewEndModel(config.rew_end_model, config.num_actions)
    program = build_program(config, settings)
    modules: dict[str, nn.Module] = {
        "opener": Opener(),
        "denoiser": EulerStep(denoiser),
        "rew_end": RewardEnd(judge),
        "recorder": Recorder(),
        "corrector": HeunCorrection(denoiser),
    }
    modules = {component.name: modules[component.name] for component in program.components}
    whole = nn.ModuleDict({"denoiser": denoiser, "rew_end_model": judge})
    inner, (*_, height, width) = config.denoiser.inner_model, config.observations
    return Blueprint(
        family="diamond",
        config={**config.model_dump(mode="json"), "worldport": settings.model_dump(mode="json")},
        program=program,
        modules=modules,
        parts={"agent": Part(whole, checkpoint, convert, IGNORED)},
        part_of={name: "agent" for name in modules if name not in ("opener", "recorder")},
        # A U-Net of convolutions: layers are its residual blocks, tokens the places of its finest resolution.
        sizes=Sizes(
            component="denoiser",
            layers=2 * sum(inner.depths) + len(inner.depths) + 2,
            width=max(inner.channels),
            heads=max(1, max(inner.channels) // HEAD_WIDTH),
            mlp_width=max(inner.channels),
            tokens=height * width,
        ),
        draw_samples=draw_session,
    )


def draw_session(program: Program, generator: np.random.Generator, frames: int) -> SampleSession:
    """One random session: smooth pictures, and discrete actions that are held for some frames."""
    shapes = {given.tensor.name: given.tensor.shape for given in program.inputs}
    _, before, actions = shapes["first_actions"]
    chosen = _draw_actions(generator, before + frames, actions)
    return SampleSession(
        session_inputs={"frames": draw_clip(generator, shapes["frames"]), "first_actions": chosen[None, :before]},
        frame_inputs={"action": chosen[before:, None]},
    )


def _draw_actions(generator: np.random.Generator, frames: int, actions: int) -> npt.NDArray[np.float32]:
    """(frames, actions), one-hot."""
    chosen = np.repeat(generator.integers(actions, size=frames // HOLD + 1), HOLD)[:frames]
    return np.eye(actions, dtype=np.float32)[chosen]
