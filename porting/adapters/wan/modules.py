"""Wan's sampler: one step around the transformer, guidance inside."""

import torch
from torch import Tensor, nn

from porting.adapters.wan.transformer import Transformer


class Denoiser(nn.Module):
    """One Euler step along the flow from a noise level to the next.

    Source: diffusers, WanPipeline and FlowMatchEulerDiscreteScheduler.
    """

    def __init__(self, transformer: Transformer, guidance_scale: float) -> None:
        super().__init__()
        self.transformer, self.guidance_scale = transformer, guidance_scale

    def forward(self, latents: Tensor, timestep: Tensor, step: Tensor, *prompts: Tensor) -> Tensor:
        """One step.

        Args:
            latents: (1, T, C, h, w).
            timestep: (1,), the noise level in thousandths.
            step: (1,), next noise level less this one: negative.
            prompts: (1, tokens, width): the prompt's embedding, then, where guided, the negative prompt's.

        Returns:
            The latents at the next noise level.
        """
        velocity = self.transformer(latents, timestep, torch.cat(prompts) if len(prompts) > 1 else prompts[0])
        if len(prompts) > 1:
            wanted, unwanted = velocity.chunk(2)
            velocity = unwanted + self.guidance_scale * (wanted - unwanted)
        return latents + step * velocity
