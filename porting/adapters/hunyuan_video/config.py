"""HunyuanVideo's clip: what the pipeline takes as arguments, from worldport.json; the sampler's levels; its pieces.

Source of the defaults: diffusers, HunyuanVideoPipeline and AutoencoderKLHunyuanVideo, and
hunyuanvideo-community/HunyuanVideo, scheduler/scheduler_config.json.
"""

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Annotated[int, Field(gt=0)]


class Settings(BaseModel):
    """What worldport.json may say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 720
    width: Size = 1280
    frames: Annotated[int, Field(ge=2)] = 129
    """Pictures of a clip."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 50
    shift: Annotated[float, Field(gt=0)] = 7.0
    """How far the sampler's levels are pushed towards noise."""
    guidance_scale: Annotated[float, Field(ge=1)] = 6.0
    """Told to the transformer as a number, where it was distilled to take one: a step runs it once."""
    prompt_tokens: Size = 256
    piece_frames: Size = 16
    """Pictures, but for the first one, that are decoded at once; clips of no more latent frames are decoded whole."""
    piece_stride: Size = 12
    """Pictures from the start of one piece to that of the next; what is left of a piece is blended over."""

    @model_validator(mode="after")
    def _pieces_meet(self) -> Self:
        if self.piece_stride > self.piece_frames:
            raise ValueError(f"piece_stride {self.piece_stride} leaves gaps between pieces of {self.piece_frames}")
        return self

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels where steps begin, from 1 down, then 0, where the last one ends.

        Source: diffusers, HunyuanVideoPipeline and FlowMatchEulerDiscreteScheduler.set_timesteps.
        """
        even = (1 - step / self.steps for step in range(self.steps))
        return (*(self.shift * level / (1 + (self.shift - 1) * level) for level in even), 0.0)


@dataclass(frozen=True)
class Piece:
    """Latent frames that are decoded at once."""

    first: int
    frames: int

    def count_pictures(self, time_scale: int) -> int:
        """Pictures that the decoder makes of it; the first latent frame of a piece stands for one."""
        return (self.frames - 1) * time_scale + 1


def list_pieces(frames: int, settings: Settings, time_scale: int) -> list[Piece]:
    """The pieces of a clip of so many latent frames, in order.

    Source: diffusers, AutoencoderKLHunyuanVideo._temporal_tiled_decode, less a last piece that adds no picture.
    """
    least, stride = settings.piece_frames // time_scale, settings.piece_stride // time_scale
    if frames <= least:
        return [Piece(0, frames)]
    pieces = [Piece(first, min(least + 1, frames - first)) for first in range(0, frames, stride)]
    return [piece for piece in pieces if piece.first == 0 or piece.frames > 1]
