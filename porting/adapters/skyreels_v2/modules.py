"""SkyReels-V2's sampler: one run of the transformer, and what each new latent frame makes of it."""

import torch
from torch import Tensor, nn

from porting.adapters.skyreels_v2.config import Chunk, Settings
from porting.adapters.skyreels_v2.program import SUMS
from porting.adapters.skyreels_v2.transformer import Transformer
from porting.adapters.wan.config import LEVELS


class Denoiser(nn.Module):
    """A step of the multistep sampler for every new latent frame, beside the given ones.

    Source: diffusers, SkyReelsV2DiffusionForcingVideoToVideoPipeline and UniPCMultistepScheduler.
    """

    def __init__(self, transformer: Transformer, settings: Settings, chunk: Chunk) -> None:
        super().__init__()
        self.transformer, self.guidance_scale = transformer, settings.guidance_scale
        self.context, self.noise = chunk.context, settings.context_noise / LEVELS

    def forward(
        self,
        latents: Tensor,
        last: Tensor,
        previous: Tensor,
        older: Tensor,
        context: Tensor,
        timesteps: Tensor,
        sums: Tensor,
        *others: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step.

        Args:
            latents: (1, new, C, h, w), at noise levels of their own.
            last: the corrected latents of the step before, in this shape.
            previous: the clean latents that the step before made, in this shape.
            older: those of the step before that.
            context: (1, context, C, h, w), clean.
            timesteps: (context + new,), noise levels in thousandths.
            sums: (9 * new,), see `schedule.Step`: each number for all new latent frames, then the next number.
            others: where the context is noised, standard normal noise of its shape; (1, tokens, width): the prompt's
                embedding, then, where guided, the negative prompt's.

        Returns:
            The next latents, the corrected and the clean ones of this step, and the context of the chunk after this.
        """
        given, prompts = context, others
        if self.noise:
            given, prompts = context * (1 - self.noise) + others[0] * self.noise, others[1:]
        seen = torch.cat([given, latents], dim=1)
        velocity = self.transformer(seen, timesteps, torch.cat(prompts) if len(prompts) > 1 else prompts[0])
        velocity = velocity[:, self.context :]
        if len(prompts) > 1:
            wanted, unwanted = velocity.chunk(2)
            velocity = unwanted + self.guidance_scale * (wanted - unwanted)
        sigma, kept, of_last, of_previous, of_older, of_clean, ahead, ahead_clean, ahead_previous = sums.reshape(
            SUMS, 1, -1, 1, 1, 1
        ).unbind()
        clean = latents - sigma * velocity
        corrected = kept * latents + of_last * last + of_previous * previous + of_older * older + of_clean * clean
        following = ahead * corrected + ahead_clean * clean + ahead_previous * previous
        return following, corrected, clean, torch.cat([context, following], dim=1)[:, -self.context :]
