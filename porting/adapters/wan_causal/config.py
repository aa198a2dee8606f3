"""Causal Wan's chunk and window: what its repository's config says of sampling and cache, from worldport.json."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from porting.adapters.wan.config import LEVELS

Size = Annotated[int, Field(gt=0)]
Step = Annotated[float, Field(gt=0, le=LEVELS)]


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of Self-Forcing's published checkpoint, chunk by chunk.

    Source: guandeh17/Self-Forcing, configs/self_forcing_dmd.yaml and pipeline/causal_inference.py.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 480
    width: Size = 832
    chunk: Size = 3
    """Latent frames that are made together."""
    window: Size = 21
    """Latent frames that attention reaches over, the chunk's own among them; `local_attn_size` where that is set."""
    sink: Annotated[int, Field(ge=0)] = 0
    """Latent frames at a session's start that are never evicted."""
    denoising_steps: Annotated[tuple[Step, ...], Field(min_length=1)] = (1000.0, 750.0, 500.0, 250.0)
    shift: Annotated[float, Field(gt=0)] = 5.0
    """How far the steps are pushed towards noise."""
    context_noise: Annotated[float, Field(ge=0, lt=LEVELS)] = 0.0
    """The timestep that a finished chunk is shown to the network with, for its keys and values."""
    prompt_tokens: Size = 512

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("window", "sink"):
            if getattr(self, name) % self.chunk:
                raise ValueError(f"{name} {getattr(self, name)} is not a multiple of chunk {self.chunk}")
        if self.past_chunks < 1 or self.sink_chunks >= self.past_chunks:
            raise ValueError(f"window {self.window} has no room for a chunk of {self.chunk} beside sink {self.sink}")
        if list(self.denoising_steps) != sorted(set(self.denoising_steps), reverse=True):
            raise ValueError(f"denoising_steps {list(self.denoising_steps)} do not fall")
        return self

    @property
    def past_chunks(self) -> int:
        """Slots of the ring: chunks that attention looks back at."""
        return self.window // self.chunk - 1

    @property
    def sink_chunks(self) -> int:
        """Slots that are never evicted."""
        return self.sink // self.chunk

    @property
    def timesteps(self) -> tuple[float, ...]:
        """The steps, pushed towards noise as the sampler's levels are."""
        levels = [step / LEVELS for step in self.denoising_steps]
        return tuple(LEVELS * self.shift * level / (1 + (self.shift - 1) * level) for level in levels)
