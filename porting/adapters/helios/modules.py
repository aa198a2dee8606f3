"""Helios' components: a step of UniPC around the transformer, and the history that a chunk leaves behind."""

import torch
from torch import Tensor, nn

from porting.adapters.helios.transformer import Transformer


class Denoiser(nn.Module):
    """One step from a noise level to the next, the step before it corrected on the way.

    Source: diffusers, HeliosPipeline and HeliosScheduler.step_unipc.
    """

    def __init__(self, transformer: Transformer, guidance_scale: float) -> None:
        super().__init__()
        self.transformer, self.guidance_scale = transformer, guidance_scale

    def forward(
        self,
        latents: Tensor,
        last: Tensor,
        newer: Tensor,
        older: Tensor,
        timestep: Tensor,
        sigma: Tensor,
        correct: Tensor,
        predict: Tensor,
        history: Tensor,
        prefix: Tensor,
        *prompts: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step.

        Args:
            latents: (1, T, C, h, w) at this noise level, as the step before predicted them.
            last: the same shape, corrected latents of the step before.
            newer: the step before's estimate of the clean latents.
            older: that of the step before that.
            timestep: (1,), the noise level in thousandths.
            sigma: (1,), the noise level.
            correct: (5,), see `Weights`.
            predict: (3,), see `Weights`.
            history: (1, past, C, h, w).
            prefix: (1, 1, C, h, w).
            prompts: (1, tokens, width): the prompt's embedding, then, where guided, the negative prompt's.

        Returns:
            The next level's latents, this level's corrected ones, and the estimate of the clean ones.
        """
        told = torch.cat(prompts) if len(prompts) > 1 else prompts[0]
        velocity = self.transformer(latents, timestep, history, prefix, told)
        if len(prompts) > 1:
            wanted, unwanted = velocity.chunk(2)
            velocity = unwanted + self.guidance_scale * (wanted - unwanted)
        clean = latents - sigma * velocity
        corrected = weigh(correct, last, newer, older, clean, latents)
        return weigh(predict, corrected, clean, newer), corrected, clean


class Recorder(nn.Module):
    """The history after a chunk, and the first frame of all, which the first chunk makes and all others keep."""

    def forward(self, latents: Tensor, history: Tensor, prefix: Tensor, begun: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """latents (1, T, C, h, w), history, prefix, begun (1,) 0 before the first chunk -> the three after it."""
        joined = torch.cat([history, latents], dim=1)
        first = begun * prefix + (1 - begun) * latents[:, :1]
        return joined[:, -history.shape[1] :], first, begun.clamp(min=1)


def weigh(weights: Tensor, *terms: Tensor) -> Tensor:
    """The weighted sum."""
    total = weights[0] * terms[0]
    for index, term in enumerate(terms[1:], start=1):
        total = total + weights[index] * term
    return total
