"""CogVideoX's sampler: one step around the transformer, guidance inside."""

import torch
from torch import Tensor, nn

from porting.adapters.cogvideox.transformer import Transformer


class Denoiser(nn.Module):
    """One deterministic step from a noise level to the next.

    Source: diffusers, CogVideoXPipeline and CogVideoXDDIMScheduler.
    """

    def __init__(self, transformer: Transformer, guidance_scale: float) -> None:
        super().__init__()
        self.transformer, self.guidance_scale = transformer, guidance_scale

    def forward(self, latents: Tensor, timestep: Tensor, keep: Tensor, move: Tensor, *prompts: Tensor) -> Tensor:
        """One step.

        Args:
            latents: (1, T, C, h, w).
            timestep: (1,).
            keep: (1,), what the latents are multiplied by.
            move: (1,), what the velocity is.
            prompts: (1, tokens, width): the prompt's embedding, then, where guided, the negative prompt's.

        Returns:
            The latents at the next noise level.
        """
        velocity = self.transformer(latents, timestep, torch.cat(prompts) if len(prompts) > 1 else prompts[0])
        if len(prompts) > 1:
            wanted, unwanted = velocity.chunk(2)
            velocity = unwanted + self.guidance_scale * (wanted - unwanted)
        return keep * latents + move * velocity
