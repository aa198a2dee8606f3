"""How close a rollout's pictures come to the truth, beside what a model that learned nothing would reach.

It knows nothing of models and of what the pictures show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.scenes.clips import Float32Array

Float64Array = npt.NDArray[np.float64]

MSE_FLOOR = 1e-6  # equal pictures count as 60 dB, so that a mean over frames stays finite


@dataclass(frozen=True)
class PictureQuality:
    """Curves over the horizon's H frames, means over clips against the true frames; NaN passes no bar."""

    clips: int
    psnr_db: Float64Array
    """(H,)"""
    baselines: Mapping[str, Float64Array]
    """PSNR (H,) of what a model that learned too little would show, by the baseline's name."""

    def gain_over_db(self, baseline: str) -> float:
        """Mean PSNR minus that of a baseline."""
        return float((self.psnr_db - self.baselines[baseline]).mean())

    def summary(self) -> dict[str, float]:
        """The figures that the bars are set on."""
        return {
            "clips": float(self.clips),
            "horizon": float(len(self.psnr_db)),
            "mean_psnr_db": float(self.psnr_db.mean()),
            "psnr_db_at_end": float(self.psnr_db[-1]),
            **{f"gain_over_{name}_db": self.gain_over_db(name) for name in self.baselines},
        }


def measure_psnr(frames: Float32Array, truth: Float32Array) -> Float64Array:
    """Return PSNR in dB (N,) of frames (N, 3, 64, 64), clipped to [0, 1]; at most 60."""
    squared_error = (np.clip(frames, 0.0, 1.0) - truth).astype(np.float64) ** 2
    return np.asarray(-10.0 * np.log10(squared_error.mean(axis=(1, 2, 3)) + MSE_FLOOR))


def measure_pictures(
    frames: Float32Array, truth: Float32Array, baselines: Mapping[str, Float32Array]
) -> PictureQuality:
    """Compare a free rollout, and each baseline, with the truth; all are (N, H, 3, 64, 64).

    Raises:
        ValueError: shapes do not fit, or there is nothing to measure.
    """
    if frames.ndim != 5 or 0 in frames.shape or not baselines:
        raise ValueError(f"rollout of shape {frames.shape}, baselines {sorted(baselines)}: nothing to measure")
    for name, other in {"truth": truth, **baselines}.items():
        if other.shape != frames.shape:
            raise ValueError(f"{name} has shape {other.shape}; the rollout has {frames.shape}")
    return PictureQuality(
        len(frames), _mean_psnr(frames, truth), {name: _mean_psnr(other, truth) for name, other in baselines.items()}
    )


def _mean_psnr(frames: Float32Array, truth: Float32Array) -> Float64Array:
    return np.array([measure_psnr(frames[:, t], truth[:, t]).mean() for t in range(frames.shape[1])])
