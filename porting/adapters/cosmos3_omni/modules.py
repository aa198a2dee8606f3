"""Cosmos 3's sampler: one step of a chunk's latents, and of its actions where they are made, guidance inside."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from porting.adapters.cosmos3_omni.config import Settings
from porting.adapters.cosmos3_omni.transformer import Generator
from porting.adapters.cosmos_predict2.modules import advance


class Predictor(nn.Module):
    """What the network thinks that the clean latents and actions are, guided; the first latent frame is given.

    Source: diffusers, Cosmos3OmniPipeline.
    """

    def __init__(self, network: Generator, settings: Settings) -> None:
        super().__init__()
        self.network, self.guidance_scale = network, settings.guidance_scale

    def forward(
        self,
        latents: Tensor,
        actions: Tensor,
        context: Tensor,
        timestep: Tensor,
        level: Tensor,
        prompts: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        """Clean latents, the shape of `latents`, and, where they are made, clean actions."""
        seen = torch.cat([context, latents[:, 1:]], dim=1)
        velocities = self.network(seen, actions, timestep, *prompts[:2])
        if len(prompts) > 2:
            unwanted = self.network(seen, actions, timestep, *prompts[2:])
            pairs = zip(velocities, unwanted, strict=True)
            velocities = tuple(no + self.guidance_scale * (yes - no) for yes, no in pairs)
        clean = torch.cat([context, latents[:, 1:] - level * velocities[0]], dim=1)
        return (clean, *(actions - level * velocity for velocity in velocities[1:]))


class PolicyStep(nn.Module):
    """A step of latents and actions alike."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(
        self,
        latents: Tensor,
        sample: Tensor,
        previous: Tensor,
        before: Tensor,
        actions: Tensor,
        action_sample: Tensor,
        action_previous: Tensor,
        action_before: Tensor,
        context: Tensor,
        timestep: Tensor,
        level: Tensor,
        weights: Tensor,
        *prompts: Tensor,
    ) -> tuple[Tensor, ...]:
        """One step.

        Args:
            latents: (1, T, C, h, w) at noise level `level`, as the step before predicted them.
            sample: their shape, what the step before started from once it was corrected.
            previous: their shape, clean latents of the step before.
            before: their shape, clean latents of the step before that.
            actions: (1, A, action width), likewise.
            action_sample: likewise.
            action_previous: likewise.
            action_before: likewise.
            context: (1, 1, C, h, w), the first latent frame.
            timestep: (1,), the noise level in whole thousandths.
            level: (1,).
            weights: (7,), see `porting.adapters.cosmos_predict2.modules.MultistepStep`.
            prompts: keys and values of the prompt, then, where guided, of the negative one.

        Returns:
            Of the latents, then of the actions: the next ones, the corrected ones, the clean ones.
        """
        clean, clean_actions = self.predictor(latents, actions, context, timestep, level, prompts)
        pictures = advance(weights, sample, previous, before, clean)
        moves = advance(weights, action_sample, action_previous, action_before, clean_actions)
        return (*pictures, clean, *moves, clean_actions)


class DynamicsStep(nn.Module):
    """A step of the latents after actions that are given."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(
        self,
        latents: Tensor,
        sample: Tensor,
        previous: Tensor,
        before: Tensor,
        actions: Tensor,
        context: Tensor,
        timestep: Tensor,
        level: Tensor,
        weights: Tensor,
        *prompts: Tensor,
    ) -> tuple[Tensor, ...]:
        """One step: as `PolicyStep`, without what is made of actions."""
        (clean,) = self.predictor(latents, actions, context, timestep, level, prompts)
        return (*advance(weights, sample, previous, before, clean), clean)
