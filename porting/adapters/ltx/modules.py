"""LTX-Video's components: one step of the sampler around the transformer, and the decoder around pictures."""

from typing import Any

import torch
from torch import Tensor, nn

from porting.adapters.ltx.norms import use_exact_plain_norms
from porting.adapters.ltx.transformer import Transformer


class Denoiser(nn.Module):
    """One Euler step along the flow from a noise level to the next, guidance inside.

    Source: diffusers, LTXPipeline and FlowMatchEulerDiscreteScheduler.
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
            prompts: the prompt's embedding (1, tokens, width) and mask (1, tokens); where guided, the negative's too.

        Returns:
            The latents at the next noise level.
        """
        velocity = self.transformer(latents, timestep, torch.cat(prompts[::2]), torch.cat(prompts[1::2]))
        if len(prompts) > 2:
            wanted, unwanted = velocity.chunk(2)
            velocity = unwanted + self.guidance_scale * (wanted - unwanted)
        return latents + step * velocity


class Decoder(nn.Module):
    """Latents to all pictures of a clip."""

    def __init__(self, vae: Any) -> None:
        """Wrap an `AutoencoderKLLTXVideo`, whose statistics are among its tensors; it is changed in place."""
        super().__init__()
        use_exact_plain_norms(vae.decoder)
        self.vae, self.scale = vae, vae.config.scaling_factor

    def forward(self, latents: Tensor) -> Tensor:
        """latents (1, T, C, h, w) -> frame (1, 3, pictures * H, W) in [0, 1]."""
        mean, std = (values.view(1, -1, 1, 1, 1) for values in (self.vae.latents_mean, self.vae.latents_std))
        video: Tensor = self.vae.decoder(latents.transpose(1, 2) * std / self.scale + mean)
        return (video / 2 + 0.5).clamp(0, 1).flatten(2, 3)
