"""SkyReels-V2's chunk: what the pipeline takes as arguments, from worldport.json; sizes that follow from it."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from porting.adapters.wan.config import LEVELS, Clip, Size


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of the published pipelines at 540p."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 544
    width: Size = 960
    frames: Annotated[int, Field(ge=2)] = 97
    """Pictures that the transformer sees at once: the end of what was there, then the new ones."""
    context_frames: Size = 17
    """Pictures that a chunk shares with the one before."""
    fps: Size = 24
    steps: Annotated[int, Field(ge=1, le=100)] = 50
    shift: Annotated[float, Field(gt=0)] = 8.0
    """How far the sampler's levels are pushed towards noise."""
    guidance_scale: Annotated[float, Field(ge=1)] = 6.0
    """Without guidance, 1, every step runs the transformer once."""
    context_noise: Annotated[int, Field(ge=0, le=60)] = 20
    """Noise on the shared pictures' latents, in thousandths, drawn anew at every call; 0 leaves them clean."""
    lag: Annotated[int, Field(ge=0, lt=LEVELS)] = 0
    """Steps that a block of latent frames is behind the block before it; 0 denoises all together."""
    block: Size | None = None
    """Latent frames that see each other; of others they see earlier ones. By default what the transformer's config
    says; where it says 1, every frame sees every frame."""
    prompt_tokens: Size = 512

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.context_frames >= self.frames:
            raise ValueError(f"context_frames {self.context_frames} leave nothing to make of {self.frames} frames")
        return self

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names of the prompts that are asked for."""
        return ("prompt", "negative_prompt") if self.guidance_scale > 1 else ("prompt",)


class Chunk(Clip):
    """A chunk's sizes in latents: those of all that the transformer sees, and how many of it were there before."""

    context: Size
    block: Size
    """Latent frames that are denoised in step."""

    @property
    def new(self) -> int:
        """Latent frames that a chunk adds."""
        return self.frames - self.context

    @property
    def new_shape(self) -> tuple[int, ...]:
        """(1, new, C, h, w)."""
        return (1, self.new, *self.latent_shape[1:])

    @property
    def context_shape(self) -> tuple[int, ...]:
        """(1, context, C, h, w)."""
        return (1, self.context, *self.latent_shape[1:])

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """(1, T, 3, H, W) of the pictures that open a session."""
        pictures = (self.context - 1) * self.time_scale + 1
        return (1, pictures, 3, self.height * self.space_scale, self.width * self.space_scale)
