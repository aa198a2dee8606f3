"""CogVideoX's clip: what the pipeline takes as arguments, from worldport.json; the sampler's steps; sizes."""

from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from porting.adapters.wan.config import Clip, Size


class Step(NamedTuple):
    """One step of the sampler."""

    timestep: int
    keep: float
    """Of the latents that go in."""
    move: float
    """Of the velocity."""


class Scheduler(BaseModel):
    """The published scheduler's config, of which only published values are known; the defaults are CogVideoX-2b's.

    Source: diffusers, CogVideoXDDIMScheduler.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["CogVideoXDDIMScheduler"] = Field(default="CogVideoXDDIMScheduler", alias="_class_name")
    num_train_timesteps: Size = 1000
    beta_start: Annotated[float, Field(gt=0, lt=1)] = 0.00085
    beta_end: Annotated[float, Field(gt=0, lt=1)] = 0.012
    beta_schedule: Literal["scaled_linear"] = "scaled_linear"
    trained_betas: None = None
    prediction_type: Literal["v_prediction"] = "v_prediction"
    timestep_spacing: Literal["trailing"] = "trailing"
    rescale_betas_zero_snr: bool = True
    set_alpha_to_one: Literal[True] = True
    snr_shift_scale: Annotated[float, Field(gt=0)] = 3.0
    """1 in CogVideoX-5b."""

    def signal_shares(self) -> npt.NDArray[np.float64]:
        """Of each timestep, the picture's share of the variance."""
        betas = np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.num_train_timesteps) ** 2
        shares = np.cumprod(1 - betas)
        shares = shares / (self.snr_shift_scale + (1 - self.snr_shift_scale) * shares)
        if not self.rescale_betas_zero_snr:
            return shares
        roots = np.sqrt(shares)
        rescaled: npt.NDArray[np.float64] = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
        return rescaled

    def list_steps(self, count: int) -> tuple[Step, ...]:
        """The steps of a clip, deterministic as the pipeline takes them."""
        shares = self.signal_shares()
        times = np.round(np.arange(self.num_train_timesteps, 0, -self.num_train_timesteps / count)).astype(int) - 1
        found = []
        for time in times:
            following = time - self.num_train_timesteps // count
            share, next_share = float(shares[time]), float(shares[following]) if following >= 0 else 1.0
            noise = ((1 - next_share) / (1 - share)) ** 0.5
            clean = next_share**0.5 - share**0.5 * noise
            found.append(Step(int(time), noise + clean * share**0.5, -clean * (1 - share) ** 0.5))
        return tuple(found)


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of the published pipeline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 480
    width: Size = 720
    frames: Annotated[int, Field(ge=2)] = 49
    """Pictures of a clip."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 50
    guidance_scale: Annotated[float, Field(ge=1)] = 6.0
    """Without guidance, 1, every step runs the transformer once."""
    prompt_tokens: Size = 226
    scheduler: Scheduler | None = None
    """By default what scheduler/scheduler_config.json says, where it is there."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names of the prompts that are asked for."""
        return ("prompt", "negative_prompt") if self.guidance_scale > 1 else ("prompt",)


class PaddedClip(Clip):
    """A clip's sizes in latents; where patches span several latent frames, some before the first fill them up."""

    padding: Annotated[int, Field(ge=0)]
    """Latent frames that are sampled and never decoded."""

    @property
    def shown(self) -> int:
        """Latent frames that are decoded: an odd number."""
        return self.frames - self.padding

    @property
    def pictures(self) -> int:
        """Of a clip."""
        return (self.shown - 1) * self.time_scale + 1
