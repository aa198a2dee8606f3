"""Wan's clip: what the pipeline takes as arguments, from worldport.json; the sampler's levels; sizes that follow."""

from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

Size = Annotated[int, Field(gt=0)]
LEVELS = 1000
"""Timesteps that the noise levels from 0 to 1 are counted in."""


class Asked(Protocol):
    """What of a family's settings a clip's sizes follow from."""

    @property
    def height(self) -> int:
        """Of a picture."""

    @property
    def width(self) -> int:
        """Of a picture."""

    @property
    def frames(self) -> int:
        """Pictures of a clip."""

    @property
    def prompt_tokens(self) -> int:
        """Of a prompt's embedding."""


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of the published pipeline at 480p."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 480
    width: Size = 832
    frames: Annotated[int, Field(ge=2)] = 81
    """Pictures of a clip."""
    steps: Annotated[int, Field(ge=1, le=LEVELS)] = 50
    shift: Annotated[float, Field(gt=0)] = 3.0
    """How far the sampler's levels are pushed towards noise: 3 at 480p, 5 at 720p."""
    guidance_scale: Annotated[float, Field(ge=1)] = 5.0
    """Without guidance, 1, every step runs the transformer once."""
    low_noise_guidance_scale: Annotated[float, Field(ge=1)] | None = None
    """That of the second transformer, where there is one; by default the same."""
    prompt_tokens: Size = 512

    @property
    def guided(self) -> bool:
        """Whether a negative prompt is asked for."""
        return max(self.guidance_scale, self.low_noise_guidance_scale or 1) > 1

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels where steps begin, from 1 down, then 0, where the last one ends.

        Source: diffusers, FlowMatchEulerDiscreteScheduler.set_timesteps, which shifts the lowest level twice.
        """
        low = self._push(1 / LEVELS)
        last = max(1, self.steps - 1)
        return (*(self._push(1 + step / last * (low - 1)) for step in range(self.steps)), 0.0)

    def _push(self, sigma: float) -> float:
        return self.shift * sigma / (1 + (self.shift - 1) * sigma)


class Clip(BaseModel):
    """A clip's sizes in latents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Size
    frames: Size
    """Latent frames."""
    height: Size
    width: Size
    time_scale: Size
    """Pictures that a latent frame stands for; the first one stands for one."""
    space_scale: Size
    prompt_tokens: Size
    prompt_width: Size

    @property
    def latents_shape(self) -> tuple[int, ...]:
        """(1, T, C, h, w): frames first, so that the decoder is given one after another."""
        return (1, self.frames, *self.latent_shape[1:])

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(1, C, h, w)."""
        return (1, self.channels, self.height, self.width)

    @property
    def pictures(self) -> int:
        """Of a clip."""
        return (self.frames - 1) * self.time_scale + 1

    def stacked(self, pictures: int) -> tuple[int, ...]:
        """(1, 3, pictures * H, W): one below the other."""
        return (1, 3, pictures * self.height * self.space_scale, self.width * self.space_scale)
