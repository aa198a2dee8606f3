"""Cosmos Predict's chunk: what the pipeline takes as arguments, from worldport.json; sizes that follow from it."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Annotated[int, Field(gt=0)]


def spread_sigmas(steps: int, low: float, high: float, rho: float = 7.0) -> tuple[float, ...]:
    """Noise levels where so many steps begin, from `high` down to `low`.

    Source: Karras et al., arXiv 2206.00364, equation 5.
    """
    last = max(1, steps - 1)
    start, end = high ** (1 / rho), low ** (1 / rho)
    return tuple((start + step / last * (end - start)) ** rho for step in range(steps))


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of the published pipeline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 704
    width: Size = 1280
    frames: Annotated[int, Field(ge=2)] = 121
    """Pictures of a chunk, those that it is conditioned on included."""
    context_frames: Size = 9
    """Pictures that a chunk is conditioned on: the last of the chunk before."""
    fps: Size = 30
    steps: Annotated[int, Field(ge=1, le=1000)] = 36
    guidance_scale: Annotated[float, Field(ge=0)] = 7.0
    """Without guidance, 0, every step runs the transformer once."""
    prompt_tokens: Size = 512
    sigma_min: Annotated[float, Field(gt=0)] = 0.002
    sigma_max: Annotated[float, Field(gt=0)] = 80.0
    sigma_data: Annotated[float, Field(gt=0)] = 0.5
    rho: Annotated[float, Field(gt=0)] = 7.0
    augment_sigma: Annotated[float, Field(ge=0)] = 0.001
    """Noise on the conditioning frames, drawn anew at every step."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.context_frames >= self.frames:
            raise ValueError(f"context_frames {self.context_frames} leave nothing to make of {self.frames} frames")
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min} must lie below sigma_max {self.sigma_max}")
        return self

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels where steps begin, then 0, where the last one ends."""
        return (*spread_sigmas(self.steps, self.sigma_min, self.sigma_max, self.rho), 0.0)


class Chunk(BaseModel):
    """A chunk's sizes in latents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Size
    frames: Size
    context: Size
    """Latent frames that are given."""
    height: Size
    width: Size
    time_scale: Size
    """Pictures that a latent frame stands for; the first one stands for one."""
    space_scale: Size
    prompt_tokens: Size
    prompt_width: Size

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(1, C, T, h, w)."""
        return (1, self.channels, self.frames, self.height, self.width)

    @property
    def context_shape(self) -> tuple[int, ...]:
        """(1, C, context, h, w)."""
        return (1, self.channels, self.context, self.height, self.width)

    @property
    def context_pictures(self) -> int:
        """Pictures that the context stands for."""
        return (self.context - 1) * self.time_scale + 1

    @property
    def new_pictures(self) -> int:
        """Pictures of a chunk that were not there before."""
        return (self.frames - self.context) * self.time_scale

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """(1, T, 3, H, W) of the context's pictures."""
        return (1, self.context_pictures, 3, self.height * self.space_scale, self.width * self.space_scale)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(1, 3, new pictures * H, W): one below the other."""
        return (1, 3, self.new_pictures * self.height * self.space_scale, self.width * self.space_scale)
