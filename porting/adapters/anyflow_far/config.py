"""AnyFlow FAR's session: what the pipeline takes as arguments, from worldport.json; the sampler's levels; sizes."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from porting.adapters.wan.config import LEVELS, Clip, Size

PADDED_TO = 128
"""The published attention fills a chunk's tokens up to a multiple of this."""


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of the published pipeline's example at 480p."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 480
    width: Size = 832
    steps: Annotated[int, Field(ge=1, le=LEVELS)] = 4
    """Of the flow map, a chunk: 1, 2, 4, 8 and more are sampled by the same weights."""
    shift: Annotated[float, Field(gt=0)] = 5.0
    """How far the sampler's levels are pushed towards noise: that of Wan 2.1."""
    prompt_tokens: Size = 512
    context_chunks: Size | None = None
    """Compressed chunks that are kept before the oldest one is dropped; by default as many as the published clip has
    at its end, so that nothing is dropped within it."""

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels where steps begin, from 1 down, then 0, where the last one ends.

        Source: diffusers, FlowMapEulerDiscreteScheduler.set_timesteps.
        """
        spread = (1 - step / self.steps for step in range(self.steps))
        return (*(self.shift * level / (1 + (self.shift - 1) * level) for level in spread), 0.0)


class World(BaseModel):
    """A session's sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clip: Clip
    """One chunk, and how it lies in pictures."""
    recent: Size
    """Chunks kept whole."""
    context: Size
    """Chunks kept compressed."""
    patch: tuple[int, int]
    far_patch: tuple[int, int]
    """Of compressed chunks."""
    layers: Size
    heads: Size
    head_width: Size

    @property
    def frames(self) -> int:
        """Latent frames of a chunk."""
        return self.clip.frames

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens of a latent frame along height and width."""
        return self.clip.height // self.patch[0], self.clip.width // self.patch[1]

    @property
    def far_grid(self) -> tuple[int, int]:
        """The same of a compressed one."""
        return self.clip.height // self.far_patch[0], self.clip.width // self.far_patch[1]

    @property
    def chunk_tokens(self) -> int:
        """Tokens of a chunk."""
        return self.frames * self.grid[0] * self.grid[1]

    @property
    def far_chunk_tokens(self) -> int:
        """Tokens of a compressed chunk."""
        return self.frames * self.far_grid[0] * self.far_grid[1]

    @property
    def padding(self) -> int:
        """Keys of zeros that the published sampler lets a chunk attend to: it fills up, and hides nothing of it.

        Source: diffusers, AnyFlowCausalAttnProcessor, which is given no mask while a chunk is denoised.
        """
        return -self.chunk_tokens % PADDED_TO
