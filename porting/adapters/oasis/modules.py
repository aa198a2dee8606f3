"""Oasis' components: the session's opening, a step of DDIM over the window, the decoder, and the window's rolling."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.oasis.autoencoder import Autoencoder
from porting.adapters.oasis.transformer import Dit


class Opener(nn.Module):
    """Real frames and what led to them, to the newest places of the window; the others are empty."""

    def __init__(self, vae: Autoencoder, scale: float, window: int) -> None:
        super().__init__()
        self.vae, self.scale, self.past = vae, scale, window - 1

    def forward(self, frames: Tensor, first_actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """frames (1, P, 3, H, W) in [0, 1], first_actions (1, P, A).

        Returns:
            The past's latents (1, window - 1, C, h, w), its actions (1, window - 1, A), and which of it is there
            (1, window - 1).
        """
        empty = self.past - frames.shape[1]
        latents = self.vae.encode(frames[0] * 2 - 1) * self.scale
        here = torch.ones_like(first_actions[:, :, 0])
        return (
            F.pad(latents, (0, 0, 0, 0, 0, 0, empty, 0))[None],
            F.pad(first_actions, (0, 0, empty, 0)),
            F.pad(here, (empty, 0)),
        )


class Step(nn.Module):
    """One step of DDIM on the frame now being made, over the whole window anew.

    Source: open-oasis, generate.py; Song et al., DDIM, arXiv 2010.02502, equation 12 without noise of its own.
    """

    def __init__(self, dit: Dit, stabilization_level: int) -> None:
        super().__init__()
        self.dit, self.past_level = dit, float(stabilization_level - 1)

    def forward(
        self,
        latents: Tensor,
        level: Tensor,
        share: Tensor,
        next_share: Tensor,
        context: Tensor,
        past_actions: Tensor,
        present: Tensor,
        action: Tensor,
    ) -> Tensor:
        """One step.

        Args:
            latents: (1, C, h, w) at noise level `level`.
            level: (1,), as the schedule counts.
            share: (1,), of the signal in the latents' variance at that level, below 1.
            next_share: (1,), after the step.
            context: (1, window - 1, C, h, w), the past, clean.
            past_actions: (1, window - 1, A).
            present: (1, window - 1), 1 for what is there of the past, 0 for what is not.
            action: (1, A), which leads to the frame.

        Returns:
            The latents after the step.
        """
        levels = F.pad(level, (present.shape[1], 0), value=self.past_level)
        velocity = self.dit(
            torch.cat([context[0], latents]),
            levels,
            torch.cat([past_actions[0], action]),
            F.pad(present[0], (0, 1), value=1.0),
        )
        clean = share.sqrt() * latents - (1 - share).sqrt() * velocity
        noise = (latents - share.sqrt() * clean) / (1 - share).sqrt()
        return next_share.sqrt() * clean + (1 - next_share).sqrt() * noise


class Decoder(nn.Module):
    """Latents to a picture."""

    def __init__(self, vae: Autoencoder, scale: float) -> None:
        super().__init__()
        self.vae, self.scale = vae, scale

    def forward(self, latents: Tensor) -> Tensor:
        """latents (1, C, h, w) -> (1, 3, H, W) in [0, 1]."""
        return ((self.vae.decode(latents / self.scale) + 1) / 2).clamp(0, 1)


class Recorder(nn.Module):
    """The window, rolled on by the frame that was made and what led to it."""

    def forward(
        self, latents: Tensor, context: Tensor, past_actions: Tensor, present: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `Step`: context, past actions and presence, one frame on."""
        return (
            torch.cat([context[:, 1:], latents[:, None]], dim=1),
            torch.cat([past_actions[:, 1:], action[:, None]], dim=1),
            F.pad(present[:, 1:], (0, 1), value=1.0),
        )
