"""The refiner's session: what the published pipeline takes as arguments, from worldport.json; sizes that follow."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Annotated[int, Field(gt=0)]


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of the published pipeline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 704
    width: Size = 1280
    fps: Annotated[float, Field(gt=0)] = 16.0
    sink: Size = 1
    """Latent frames of the first stage that open a session, are not refined and never forgotten."""
    block: Size = 3
    """Latent frames that are refined together."""
    window: Size = 11
    """Latent frames that attention reaches back over, the sink among them, the block itself not."""
    sigmas: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = (0.909375, 0.725, 0.421875, 0.0)
    """Noise levels where steps begin, and 0, where the last one ends."""
    prompt_tokens: Size = 1024

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.window <= self.sink:
            raise ValueError(f"window {self.window} leaves no history beside a sink of {self.sink}")
        falling = all(before > after for before, after in zip(self.sigmas, self.sigmas[1:], strict=False))
        if len(self.sigmas) < 2 or self.sigmas[-1] != 0 or not falling:
            raise ValueError(f"sigmas {list(self.sigmas)} do not fall to 0")
        return self


class Stream(BaseModel):
    """A session's sizes in latents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Size
    height: Size
    width: Size
    block: Size
    sink: Size
    history: Size
    """Latent frames of history that are seen."""
    layers: Size
    heads: Size
    head_width: Size
    prompt_tokens: Size
    prompt_width: Size

    @property
    def slots(self) -> int:
        """Blocks that are kept: one more than the history holds whole, so that a full ring has passed its end."""
        return self.history // self.block + 1

    @property
    def frame_tokens(self) -> int:
        """Tokens of a latent frame."""
        return self.height * self.width

    def latents_shape(self, frames: int) -> tuple[int, ...]:
        """(1, frames, C, h, w)."""
        return (1, frames, self.channels, self.height, self.width)

    def kept_shape(self, frames: int) -> tuple[int, ...]:
        """(layers, heads, tokens, head width) of keys or values."""
        return (self.layers, self.heads, frames * self.frame_tokens, self.head_width)
