"""SANA-WM's components: a step of its sampler over a whole clip, and a view of the clip's latents."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.latent_view import LatentView
from porting.adapters.sana_wm.config import Clip
from porting.adapters.sana_wm.transformer import Transformer


class Denoiser(nn.Module):
    """One Euler step along the flow from a noise level to the next; the frame that opens a clip stays clean."""

    def __init__(self, transformer: Transformer, guidance_scale: float) -> None:
        super().__init__()
        self.transformer, self.guidance_scale = transformer, guidance_scale

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        step: Tensor,
        first_latent: Tensor,
        camera: Tensor,
        ray_map: Tensor,
        *prompts: Tensor,
    ) -> Tensor:
        """One step.

        Args:
            latents: (1, T - 1, C, h, w), all but the first frame.
            timestep: (1,), their noise level in whole thousandths.
            step: (1,), next noise level less this one: negative.
            first_latent: (1, 1, C, h, w).
            camera: see `Transformer.forward`.
            ray_map: see `Transformer.forward`.
            prompts: an embedding (1, L, width) and its mask (1, L); then, where guided, the negative prompt's.

        Returns:
            The latents at the next noise level.
        """
        clip = torch.cat([first_latent, latents], dim=1)
        timesteps = F.pad(timestep.expand(latents.shape[1]), (1, 0))
        pairs = zip(prompts[::2], prompts[1::2], strict=True)
        velocities = [self.transformer(clip, timesteps, camera, ray_map, prompt, mask) for prompt, mask in pairs]
        velocity = velocities[0]
        if len(velocities) > 1:
            velocity = velocities[1] + self.guidance_scale * (velocity - velocities[1])
        return latents + step * velocity[:, 1:]


class View(nn.Module):
    """A clip's latents as pictures, one below the other."""

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.frames, self.view = clip.frames - 1, LatentView((clip.height, clip.width), clip.channels)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(1, 3, frames * rows, columns)."""
        batch, colours, height, width = self.view.frame_shape
        return (batch, colours, self.frames * height, width)

    def forward(self, latents: Tensor) -> Tensor:
        """latents (1, T - 1, C, h, w) -> the pictures."""
        tokens = latents.permute(0, 1, 3, 4, 2).flatten(2, 3)
        return torch.cat([self.view(tokens[:, frame]) for frame in range(self.frames)], dim=2)
