"""A GWM model as the measures want it: sessions opened with a clip's first frames, rollouts and reconstructions."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from porting.adapters.gwm.autoencoder import Decoder, Encoder
from porting.adapters.gwm.denoiser import Denoiser
from training.measures.model import Model
from training.rollout import roll_out
from training.scenes.clips import Clips, Float32Array, draw_frames

NOISE_SEED = 0


@dataclass(frozen=True)
class GwmParts:
    """The three trained parts of a GWM model."""

    encoder: Encoder
    denoiser: Denoiser
    decoder: Decoder

    def open(self, clips: Clips) -> Model:
        """Sessions that have seen the clips' first frames."""
        return _OpenSessions(self, clips)


class _OpenSessions:
    """One batch of sessions, a clip each."""

    def __init__(self, parts: GwmParts, clips: Clips) -> None:
        self.parts = parts
        self.context_frames = parts.denoiser.config.context_frames
        with torch.no_grad():
            self.context: Tensor = parts.encoder(torch.from_numpy(draw_frames(clips, range(self.context_frames))))

    @torch.no_grad()
    def roll_out(self, actions: Float32Array) -> Float32Array:
        latents = roll_out(self.parts.denoiser, self.context, torch.from_numpy(actions), seed=NOISE_SEED)
        decoded = self.parts.decoder(torch.cat([self.context, latents], dim=1))
        frames: Float32Array = decoded[:, self.context_frames :].clamp(0, 1).numpy()
        return frames

    @torch.no_grad()
    def reconstruct(self, pictures: Float32Array) -> Float32Array:
        # A third frame is the first that sees nothing but the same picture before it.
        still = torch.from_numpy(np.repeat(pictures[:, None], 3, axis=1))
        shown: Float32Array = self.parts.decoder(self.parts.encoder(still))[:, -1].clamp(0, 1).numpy()
        return shown
