"""DIAMOND's components: the session's opening, steps of the sampler, reward and end, and the rolling of the past."""

import torch
from torch import Tensor, nn

from porting.adapters.diamond.config import DenoiserConfig
from porting.adapters.diamond.unet import Network, RewEndModel

LEVELS = 255
"""Of a picture of 8 bits, above black."""


class Opener(nn.Module):
    """What was seen and done before the session, into the states of the past."""

    def forward(self, frames: Tensor, first_actions: Tensor) -> tuple[Tensor, Tensor]:
        """frames (1, N, 3, H, W) in [0, 1], first_actions (1, N - 1, A) -> the same in [-1, 1], and a copy."""
        return frames * 2 - 1, first_actions.clone()


class Denoiser(nn.Module):
    """The network, preconditioned: a noisy picture to a clean one.

    Source: Karras et al., arXiv 2206.00364, section 5, with the offset noise of training as part of the noise level;
    eloialonso/diamond, src/models/diffusion/denoiser.py.
    """

    def __init__(self, config: DenoiserConfig, actions: int, quantise: bool) -> None:
        super().__init__()
        self.inner_model = Network(config.inner_model, actions)
        self.data, self.offset, self.quantise = config.sigma_data, config.sigma_offset_noise, quantise

    def forward(self, noisy: Tensor, sigma: Tensor, observations: Tensor, actions: Tensor) -> Tensor:
        """noisy (1, 3, H, W) at noise level sigma (1,), the past (1, N, ...) -> (1, 3, H, W) in [-1, 1]."""
        variance = sigma**2 + self.offset**2
        total = (variance + self.data**2).sqrt()
        answer = self.inner_model(noisy / total, variance.log() / 8, observations / self.data, actions)
        clean = noisy * (self.data / total) ** 2 + answer * (variance.sqrt() * self.data / total)
        clean = clean.clamp(-1, 1)
        if not self.quantise:
            return clean
        return ((clean + 1) / 2 * LEVELS).floor() / LEVELS * 2 - 1


class EulerStep(nn.Module):
    """From one noise level to the next, along the slope at the first."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(
        self,
        latents: Tensor,
        sigma: Tensor,
        next_sigma: Tensor,
        observations: Tensor,
        past_actions: Tensor,
        action: Tensor,
    ) -> Tensor:
        """One step.

        Args:
            latents: (1, 3, H, W) at noise level `sigma`.
            sigma: (1,), positive.
            next_sigma: (1,), below `sigma`.
            observations: (1, N, 3, H, W) in [-1, 1], oldest first.
            past_actions: (1, N - 1, A), one-hot, of every observation but the last.
            action: (1, A), of the last one.

        Returns:
            The latents at `next_sigma`.
        """
        clean = self.denoiser(latents, sigma, observations, join_actions(past_actions, action))
        return latents + (latents - clean) / sigma * (next_sigma - sigma)


class HeunCorrection(nn.Module):
    """A step of Euler done again along the mean of the slopes at both its ends."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(
        self,
        latents: Tensor,
        stepped: Tensor,
        sigma: Tensor,
        next_sigma: Tensor,
        observations: Tensor,
        past_actions: Tensor,
        action: Tensor,
    ) -> Tensor:
        """As `EulerStep`, of which `stepped` is the outcome; `next_sigma` is positive."""
        clean = self.denoiser(stepped, next_sigma, observations, join_actions(past_actions, action))
        return latents + ((stepped - latents) + (stepped - clean) / next_sigma * (next_sigma - sigma)) / 2


class RewardEnd(nn.Module):
    """Reward and end of a step; the LSTM's memory in the shape that the published environment carries it."""

    def __init__(self, model: RewEndModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, observation: Tensor, action: Tensor, following: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `RewEndModel`, hidden and cell (1, 1, lstm_dim)."""
        reward, end, hidden, cell = self.model(observation, action, following, hidden[0], cell[0])
        return reward, end, hidden[None], cell[None]


class Recorder(nn.Module):
    """The picture that was made, and the past rolled on by it and its action."""

    def forward(
        self, latents: Tensor, observations: Tensor, past_actions: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """latents (1, 3, H, W) -> frame in [0, 1], observations and past actions one step on."""
        return (
            ((latents + 1) / 2).clamp(0, 1),
            torch.cat([observations[:, 1:], latents[:, None]], dim=1),
            join_actions(past_actions, action)[:, 1:],
        )


def join_actions(past: Tensor, action: Tensor) -> Tensor:
    """(1, N - 1, A) and (1, A) -> (1, N, A)."""
    return torch.cat([past, action[:, None]], dim=1)
