"""Judges a GWM model on held-out scenes: free rollouts and pushes, held against simulated truth."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from porting.adapters.gwm.autoencoder import Decoder, Encoder
from porting.adapters.gwm.denoiser import Denoiser
from training.evaluation import (
    PushResponse,
    RolloutQuality,
    measure_push_response,
    measure_rollout,
)
from training.rollout import roll_out
from training.scenes import Clips, Float32Array, make_clips

HELD_OUT_SEED = 777
HORIZON = 32


@dataclass(frozen=True)
class ModelQuality:
    """A 32-frame free rollout, and four pushes read eight frames later."""

    rollout: RolloutQuality
    pushes: PushResponse

    def summary(self) -> dict[str, float]:
        """The figures that the bars are set on."""
        share = self.pushes.right_direction_share
        return {**self.rollout.summary(), "right_direction_share": share}


class ModelUnderTest:
    """Encoder, denoiser and decoder on a batch of held-out clips."""

    def __init__(self, encoder: Encoder, denoiser: Denoiser, decoder: Decoder, scenes: int) -> None:
        self.denoiser, self.decoder = denoiser, decoder
        self.context_frames = denoiser.config.context_frames
        self.clips: Clips = make_clips(scenes, self.context_frames + HORIZON, seed=HELD_OUT_SEED)
        with torch.no_grad():
            context = np.stack([self.clips.frame(t) for t in range(self.context_frames)], axis=1)
            self.context: Tensor = encoder(torch.from_numpy(context))
            still = np.repeat(self.clips.background[:, None], 3, axis=1)
            erased = decoder(encoder(torch.from_numpy(still)))[:, -1]
            self.erased: Float32Array = erased.clamp(0, 1).numpy()

    @torch.no_grad()
    def frames(self, actions: Float32Array) -> Float32Array:
        """The free rollout's frames (N, H, 3, 64, 64) for actions (N, T + H, 2)."""
        latents = roll_out(self.denoiser, self.context, torch.from_numpy(actions), seed=0)
        decoded = self.decoder(torch.cat([self.context, latents], dim=1))
        frames: Float32Array = decoded[:, self.context_frames :].clamp(0, 1).numpy()
        return frames

    def measure_rollout(self) -> RolloutQuality:
        """The clips' own actions, 32 frames."""
        frames = self.frames(self.clips.actions)
        return measure_rollout(frames, self.clips, self.context_frames, self.erased)

    def measure(self) -> ModelQuality:
        """Rollout and pushes."""
        pushes = measure_push_response(lambda actions: self.frames(actions)[:, -1], self.clips, self.context_frames)
        return ModelQuality(self.measure_rollout(), pushes)
