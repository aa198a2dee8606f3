"""What a port must reach on a target: how wrong it may be, and how fast it has to run."""

import math
from typing import Annotated

from pydantic import Field

from porting.tensor_spec import Model

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class ParityBudget(Model):
    """How wrong a port may be, measured against PyTorch's own error at the same precision."""

    error_budget_ratio: Positive
    """error(port) / error(PyTorch eager), both against gold; per output and per frame."""
    envelope_margin_db: Annotated[float, Field(ge=0)]
    """How far a free rollout may fall below the envelope of PyTorch's own noise."""
    envelope_margin_ssim: Annotated[float, Field(ge=0)] = 0.005
    """The same for SSIM, which is at most 1."""
    psnr_cap_db: Positive
    """PSNR above this counts as this much: differences that no display shows."""
    component_samples: Count
    teacher_forced_frames: Count
    free_running_frames: Count

    def lowest_psnr_db(self, envelope_psnr_db: float) -> float:
        """The PSNR that a frame needs where the envelope stands at this; nan stays nan, which nothing reaches."""
        if math.isnan(envelope_psnr_db):
            return envelope_psnr_db
        return min(envelope_psnr_db, self.psnr_cap_db) - self.envelope_margin_db

    def lowest_ssim(self, envelope_ssim: float) -> float:
        """The SSIM that a frame needs where the envelope stands at this."""
        return envelope_ssim - self.envelope_margin_ssim

    def holds_frame(self, psnr_db: float, ssim: float, envelope_psnr_db: float, envelope_ssim: float) -> bool:
        """Whether one free-running frame is within the reference's own noise; False for anything that is no number."""
        enough_psnr = psnr_db >= self.lowest_psnr_db(envelope_psnr_db)
        return enough_psnr and ssim >= self.lowest_ssim(envelope_ssim)


class ThroughputBudget(Model):
    """The frame rate that was promised, and for how long it is measured."""

    frames_per_second: Positive
    max_missed_share: Annotated[float, Field(ge=0, le=1)]
    """Share of paced frames that may come later than their deadline."""
    max_memory_slope_bytes_per_frame: Annotated[float, Field(ge=0)]
    timed_frames: Count
    paced_frames: Count

    @property
    def deadline_ms(self) -> float:
        """Time between two frames."""
        return 1000.0 / self.frames_per_second
