"""Cosmos 3's chunk: what the pipeline takes as arguments, from worldport.json; sizes and positions that follow."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from porting.adapters.cosmos_predict2.config import Chunk
from porting.adapters.wan.config import Size

Position = tuple[float, float, float]
"""Of a token: time, height, width."""


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of the published pipeline.

    Source: diffusers, Cosmos3OmniPipeline; its sigmas, scripts/convert_cosmos3_to_diffusers.py.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["policy", "forward_dynamics"] = "policy"
    """Whether a chunk's actions are made with its pictures, or given."""
    height: Size = 480
    width: Size = 832
    actions: Size = 16
    """Of a chunk, from each picture to the next."""
    action_width: Size = 10
    """Values of an action of this body; the others that the model knows stay 0."""
    domain: Annotated[int, Field(ge=0)] = 8
    """Which body: a number of the model's own list; 8 is DROID's arm."""
    fps: Size = 24
    steps: Annotated[int, Field(ge=2, le=1000)] = 35
    guidance_scale: Annotated[float, Field(ge=1)] = 6.0
    """Without guidance, 1, there is no negative prompt."""
    prompt_tokens: Size = 512
    """Of the prompt, and of the negative one: they are read alike."""
    sigma_min: Annotated[float, Field(gt=0)] = 0.147
    sigma_max: Annotated[float, Field(gt=0)] = 200.0

    @property
    def guided(self) -> bool:
        """Whether a negative prompt is read."""
        return self.guidance_scale > 1

    @property
    def policy(self) -> bool:
        """Whether actions are made."""
        return self.mode == "policy"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min} must lie below sigma_max {self.sigma_max}")
        return self


def place_prompt(settings: Settings) -> list[Position]:
    """Where the prompt's tokens stand: one after another on every axis."""
    return [(float(index),) * 3 for index in range(settings.prompt_tokens)]


def place_chunk(settings: Settings, config: Any, chunk: Chunk) -> list[Position]:
    """Where a chunk's tokens stand: its latent frames row by row, then its actions; a long way behind the prompt.

    Source: diffusers, get_3d_mrope_ids_vae_tokens and the segments of Cosmos3OmniPipeline.

    Args:
        settings: for the prompt's length and the rate.
        config: of the transformer.
        chunk: its sizes.
    """
    start = settings.prompt_tokens + config.unified_3d_mrope_temporal_modality_margin
    base = 0.0 if config.unified_3d_mrope_reset_spatial_ids else float(start)
    rows, columns = chunk.height // config.latent_patch_size, chunk.width // config.latent_patch_size
    pace = config.base_fps / settings.fps if config.enable_fps_modulation else 1.0
    # An action lies between two pictures, a latent frame is several: both are told in the time of latent frames.
    step = pace / chunk.time_scale if config.enable_fps_modulation and settings.actions > 1 else 1.0
    frames = [
        (start + t * (pace if chunk.frames > 1 else 1.0), base + y, base + x)
        for t in range(chunk.frames)
        for y in range(rows)
        for x in range(columns)
    ]
    return [*frames, *((start + (t + 1) * step, base, base) for t in range(settings.actions))]
