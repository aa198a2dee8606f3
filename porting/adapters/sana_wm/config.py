"""SANA-WM's clip: what the pipeline takes as arguments, from worldport.json; the sampler's levels; a clip's sizes."""

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from porting.adapters.wan.config import LEVELS, Size
from porting.adapters.wan.config import Settings as FlowSettings

TIME_SCALE, SPACE_SCALE = 8, 32
"""Pictures that a latent frame stands for, and the side of a latent in pictures: of the published autoencoder."""
CAMERA_WIDTH = 20
"""Of a camera: its pose, 4 x 4 from camera to world, then focal lengths and centre in latents."""


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of the published pipeline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 704
    width: Size = 1280
    frames: Annotated[int, Field(ge=2)] = 161
    """Pictures of a clip, the one that it begins with among them."""
    steps: Annotated[int, Field(ge=1, le=LEVELS)] = 60
    shift: Annotated[float, Field(gt=0)] = 1.0
    """How far the sampler's levels are pushed towards noise: as the checkpoint's scheduler says."""
    guidance_scale: Annotated[float, Field(ge=1)] = 5.0
    """Without guidance, 1, every step runs the transformer once."""
    prompt_tokens: Size = 300

    @property
    def guided(self) -> bool:
        """Whether a negative prompt is asked for."""
        return self.guidance_scale > 1

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels where steps begin, from 1 down, then 0, where the last one ends."""
        return FlowSettings(steps=self.steps, shift=self.shift).sigmas

    @property
    def timesteps(self) -> tuple[float, ...]:
        """The levels as the transformer is told them: in whole thousandths, cut off as the published class does."""
        return tuple(float(int(np.float32(sigma) * np.float32(LEVELS))) for sigma in self.sigmas[:-1])


class Clip(BaseModel):
    """A clip's sizes in latents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Size
    frames: Annotated[int, Field(ge=2)]
    height: Size
    width: Size
    patch: tuple[int, int]
    ray_channels: Size
    prompt_tokens: Size
    prompt_width: Size

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along time, height and width."""
        return self.frames, self.height // self.patch[0], self.width // self.patch[1]

    def latents_shape(self, frames: int) -> tuple[int, ...]:
        """(1, frames, C, h, w)."""
        return (1, frames, self.channels, self.height, self.width)
