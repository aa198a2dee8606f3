"""LTX-Video's clip: what the pipeline takes as arguments and its scheduler has as config, from worldport.json.

Source of the defaults: diffusers, LTXPipeline, and Lightricks/LTX-Video, scheduler/scheduler_config.json.
"""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Size = Annotated[int, Field(gt=0)]


class Settings(BaseModel):
    """What worldport.json may say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 512
    width: Size = 704
    frames: Annotated[int, Field(ge=2)] = 161
    """Pictures of a clip."""
    frame_rate: Size = 25
    """Of the video: positions in time are seconds."""
    steps: Annotated[int, Field(ge=2, le=1000)] = 50
    guidance_scale: Annotated[float, Field(ge=1)] = 3.0
    """Without guidance, 1, every step runs the transformer once."""
    prompt_tokens: Size = 128
    base_tokens: Size = 1024
    max_tokens: Size = 4096
    base_shift: float = 0.95
    """How far levels are pushed towards noise in a clip of `base_tokens`."""
    max_shift: float = 2.05
    """And in one of `max_tokens`; between and beyond them along a line."""
    shift_terminal: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The level at which the last step begins."""

    @property
    def guided(self) -> bool:
        """Whether a negative prompt is asked for."""
        return self.guidance_scale > 1

    def list_sigmas(self, tokens: int) -> tuple[float, ...]:
        """Noise levels where steps begin, from 1 down, then 0, where the last one ends, of a clip of so many tokens.

        Source: diffusers, LTXPipeline and FlowMatchEulerDiscreteScheduler with dynamic shifting and a terminal level.
        """
        slope = (self.max_shift - self.base_shift) / max(1, self.max_tokens - self.base_tokens)
        push = math.exp(self.base_shift + slope * (tokens - self.base_tokens))
        # From 1 down to 1 / steps.
        clean = [1 - push / (push + self.steps / (self.steps - step) - 1) for step in range(self.steps)]
        stretch = clean[-1] / (1 - self.shift_terminal)
        return (*(1 - share / stretch for share in clean), 0.0)
