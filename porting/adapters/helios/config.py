"""What Helios' pipeline takes as arguments, from worldport.json, and the noise levels of a chunk."""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

Size = Annotated[int, Field(gt=0)]
MID_FRAMES, LONG_FRAMES = 2, 4
"""Latent frames that a token of the nearer and of the farther history stands for."""
HIGHEST = 0.999
"""The noise level that a chunk begins with, before it is shifted."""
BASE_TOKENS, MOST_TOKENS, BASE_SHIFT, MOST_SHIFT = 256, 4096, 0.5, 1.15
"""How far levels are pushed towards noise, by a chunk's tokens. Source: diffusers, pipeline_helios.calculate_shift."""


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of the published pipeline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 384
    width: Size = 640
    frames: Annotated[int, Field(ge=2)] = 33
    """Pictures of a chunk."""
    history: tuple[Size, Size, Size] = (16, 2, 1)
    """Latent frames of the past, the farthest first, each part in a coarser view than the next."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 50
    guidance_scale: Annotated[float, Field(ge=1)] = 5.0
    """Without guidance, 1, every step runs the transformer once."""
    dynamic_shift: bool = True
    """Whether the levels are pushed towards noise, as the published scheduler does."""
    prompt_tokens: Size = 512

    @field_validator("history")
    @classmethod
    def _divides(cls, history: tuple[int, int, int]) -> tuple[int, int, int]:
        if history[0] % LONG_FRAMES or history[1] % MID_FRAMES:
            raise ValueError(f"{list(history)}: the first must divide by {LONG_FRAMES}, the second by {MID_FRAMES}")
        return history

    @property
    def past(self) -> int:
        """Latent frames of the past, all parts together."""
        return sum(self.history)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The names of the prompts' embeddings."""
        return ("prompt", "negative_prompt") if self.guidance_scale > 1 else ("prompt",)

    def sigmas(self, tokens: int) -> tuple[float, ...]:
        """Noise levels where steps begin, then 0, for a chunk of so many tokens."""
        plain = [HIGHEST * (1 - step / self.steps) for step in range(self.steps)]
        if not self.dynamic_shift:
            return (*plain, 0.0)
        slope = (MOST_SHIFT - BASE_SHIFT) / (MOST_TOKENS - BASE_TOKENS)
        push = math.exp(BASE_SHIFT + slope * (tokens - BASE_TOKENS))
        return (*(push / (push + 1 / sigma - 1) for sigma in plain), 0.0)
