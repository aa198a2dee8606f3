"""Cosmos Predict 2's chunk: what its pipelines take as arguments, from worldport.json; sizes that follow from it."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from porting.adapters.wan.config import Clip, Size

SAID = 0.0001
"""Noise of the given frames, as both pipelines say it: Predict 2 as a sigma, Predict 2.5 as a level."""
PREDICT_2: dict[str, Any] = {
    "steps": 35, "sigma_min": 0.002, "sigma_max": 80.0, "fps": 16, "context_level": SAID / (1 + SAID),
}  # fmt: skip
PREDICT_2_5: dict[str, Any] = {
    "steps": 36, "sigma_min": 0.01, "sigma_max": 200.0, "fps": None, "context_level": SAID,
}  # fmt: skip
"""The arguments in which the published pipelines differ.

Source: diffusers, Cosmos2VideoToWorldPipeline, Cosmos2_5_PredictBasePipeline and, for the latter's sigmas,
scripts/convert_cosmos_to_diffusers.py.
"""


class Settings(BaseModel):
    """What worldport.json may say; what has no default here has one in `PREDICT_2` and `PREDICT_2_5`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 704
    width: Size = 1280
    frames: Annotated[int, Field(ge=2)] = 93
    """Pictures of a chunk, those that it is conditioned on included."""
    context_frames: Size = 5
    """Pictures that a chunk is conditioned on: the last of the chunk before."""
    fps: Size | None
    """Rate that positions in time are told at; None counts latent frames."""
    steps: Annotated[int, Field(ge=2, le=1000)]
    guidance_scale: Annotated[float, Field(ge=1)] = 7.0
    """Without guidance, 1, every step runs the transformer once."""
    prompt_tokens: Size = 512
    sigma_min: Annotated[float, Field(gt=0)]
    sigma_max: Annotated[float, Field(gt=0)]
    context_level: Annotated[float, Field(ge=0, le=1)]
    """Noise level that the given frames are said to have; they have none."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.context_frames >= self.frames:
            raise ValueError(f"context_frames {self.context_frames} leave nothing to make of {self.frames} frames")
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min} must lie below sigma_max {self.sigma_max}")
        return self


class Chunk(Clip):
    """A chunk's sizes in latents."""

    context: Size
    """Latent frames that are given."""

    @property
    def context_shape(self) -> tuple[int, ...]:
        """(1, context, C, h, w)."""
        return (1, self.context, *self.latent_shape[1:])

    @property
    def context_pictures(self) -> int:
        """Pictures that the context stands for."""
        return (self.context - 1) * self.time_scale + 1

    @property
    def new_pictures(self) -> int:
        """Pictures of a chunk that were not there before."""
        return (self.frames - self.context) * self.time_scale

    @property
    def joined(self) -> tuple[int, ...]:
        """Latent frames whose pictures are new, or are encoded for the next chunk: the last ones of a chunk."""
        return tuple(range(self.frames))[-max(self.frames - self.context, self.context) :]

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """(1, T, 3, H, W) of the context's pictures."""
        return (1, self.context_pictures, 3, self.height * self.space_scale, self.width * self.space_scale)
