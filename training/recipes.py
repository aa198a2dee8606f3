"""One recipe a bundled world model, as data: its config, its scenes, how long it trains and how it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from porting.adapters.gwm.config import MINI, GwmConfig
from training.autoencoder import AutoencoderRecipe
from training.denoiser import DenoiserRecipe
from training.measures.arm import measure_arm
from training.measures.ball import measure_ball
from training.measures.face import measure_face
from training.measures.model import MakeModel, Quality
from training.scenes import avatars, robotics, worlds
from training.scenes.clips import MakeClips

HELD_OUT_SEED = 777
HELD_OUT_SCENES = 128
SAMPLE_SEED = 4242
HORIZON = 32


@dataclass(frozen=True)
class Recipe:
    """Everything that makes one bundled checkpoint from a seed."""

    name: str
    config: GwmConfig
    make_clips: MakeClips
    measure: Callable[[Any, MakeModel], Quality]
    """Judges a model on clips of the very class that `make_clips` makes."""
    autoencoder: AutoencoderRecipe = field(default_factory=AutoencoderRecipe)
    denoiser: DenoiserRecipe = field(default_factory=DenoiserRecipe)
    stored_dtype: torch.dtype = torch.float16
    """Of the checkpoint's weights; they are rounded to it before the held-out figures are taken."""

    def judge(self, make_model: MakeModel, scenes: int) -> Quality:
        """Free rollouts on held-out scenes, and what else shows that the conditioning is answered."""
        clips = self.make_clips(scenes, self.config.context_frames + HORIZON, seed=HELD_OUT_SEED)
        return self.measure(clips, make_model)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="worlds",
            config=MINI,
            make_clips=worlds.make_clips,
            measure=measure_ball,
            stored_dtype=torch.float32,
        ),
        Recipe(
            name="robotics",
            config=MINI.model_copy(
                update={
                    "action_width": robotics.JOINTS,
                    "action_unit": "speeds of joints 1 to 7, as shares of full speed",
                }
            ),
            make_clips=robotics.make_clips,
            measure=measure_arm,
            autoencoder=AutoencoderRecipe(steps=900, moving_weight=5.0),
            denoiser=DenoiserRecipe(steps=2200),
        ),
        Recipe(
            name="avatars",
            config=MINI.model_copy(
                update={
                    "action_width": avatars.FEATURES,
                    "action_unit": "log energy of 16 mel-like bands, low to high: 0 silence, 1 full loudness",
                }
            ),
            make_clips=avatars.make_clips,
            measure=measure_face,
            autoencoder=AutoencoderRecipe(steps=900, moving_weight=3.0),
            denoiser=DenoiserRecipe(steps=2200, scenes=1600),
        ),
    )
}
