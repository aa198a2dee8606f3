"""AnyFlow FAR's components: the opening picture's encoder, a step of the flow map, and the recorder of a made chunk."""

import torch
from torch import Tensor, nn

from porting.adapters.anyflow_far.transformer import Context, Transformer
from porting.adapters.wan.encoder import Encoder


class Opener(nn.Module):
    """A real picture to the latent frame that opens a session.

    Source: diffusers, AnyFlowFARPipeline.encode_video.
    """

    def __init__(self, encoder: Encoder, frames: int) -> None:
        """Around Wan's encoder; `frames` of a chunk."""
        super().__init__()
        self.encoder, self.frames = encoder, frames

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """picture (1, 1, 3, H, W) in [0, 1] -> its latent (1, C, h, w), and a chunk (1, F, C, h, w) that it ends."""
        latent = self.encoder(picture)[:, 0]
        before = latent.new_zeros(1, self.frames - 1, *latent.shape[1:])
        return latent, torch.cat([before, latent[:, None]], dim=1)


class Denoiser(nn.Module):
    """One step of the flow map from a noise level to another.

    Source: diffusers, FlowMapEulerDiscreteScheduler.step, in mean velocities.
    """

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        target: Tensor,
        step: Tensor,
        prompt: Tensor,
        ages: Tensor,
        context_keys: Tensor,
        context_values: Tensor,
        context_present: Tensor,
        recent_keys: Tensor,
        recent_values: Tensor,
        recent_present: Tensor,
    ) -> Tensor:
        """As `Transformer.denoise`, and `step` (1,), the next noise level less this one -> latents there."""
        context = Context(ages, context_keys, context_values, context_present)
        velocity = self.transformer.denoise(
            latents, timestep, target, prompt, context, recent_keys, recent_values, recent_present
        )
        return latents + step * velocity


class Recorder(nn.Module):
    """What a made chunk changes for those after it: it becomes recent, and the oldest recent one is compressed."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self,
        latents: Tensor,
        arrived: Tensor,
        prompt: Tensor,
        ages: Tensor,
        context_keys: Tensor,
        context_values: Tensor,
        context_present: Tensor,
        recent_latents: Tensor,
        recent_present: Tensor,
    ) -> tuple[Tensor, ...]:
        """One chunk on.

        Args:
            latents: (1, F, C, h, w), the chunk that was made.
            arrived: (F,), 1 for each of its frames that is there.
            prompt: (1, tokens, width).
            ages: (window,) of the compressed chunks' slots.
            context_keys: see `Context`.
            context_values: see `Context`.
            context_present: see `Context`.
            recent_latents: (1, frames of all recent chunks, C, h, w).
            recent_present: (1, frames of all recent chunks).

        Returns:
            Of the chunk that was compressed, keys, values (1, layers, heads, tokens, head width) and presence (1, F);
            then the next recent keys, values, presence and latents.
        """
        world = self.transformer.world
        frames, split = world.frames, world.far_chunk_tokens
        kept = torch.cat([recent_latents[:, frames:], latents], dim=1)
        present = torch.cat([recent_present[:, frames:], arrived[None]], dim=1)
        context = Context(ages, context_keys, context_values, context_present)
        leaving, left = recent_latents[:, :frames], recent_present[:, :frames].clone()
        keys, values = self.transformer.record(leaving, left, kept, present, prompt, context)
        far_keys, near_keys = keys.split([split, keys.shape[3] - split], dim=3)
        far_values, near_values = values.split([split, values.shape[3] - split], dim=3)
        parts = [part.contiguous() for part in (far_keys, far_values, near_keys, near_values)]
        return parts[0], parts[1], left, parts[2], parts[3], present, kept
