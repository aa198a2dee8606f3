"""Cosmos Predict 2's components: a sampler's step around the transformer, and what joins a chunk."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from porting.adapters.cosmos_predict.transformer import Transformer
from porting.adapters.cosmos_predict2.config import Chunk, Settings


class Predictor(nn.Module):
    """What the network thinks that the clean latents are, guided; the first frames of a chunk are given.

    Source: diffusers, Cosmos2VideoToWorldPipeline and Cosmos2_5_PredictBasePipeline: the transformer sees the given
    frames clean, is told a level for each latent frame, and answers with the flow's velocity, noise less clean.
    """

    def __init__(self, network: Transformer, settings: Settings, chunk: Chunk) -> None:
        super().__init__()
        self.network, self.guidance_scale, self.context = network, settings.guidance_scale, chunk.context
        self.context_levels = nn.Buffer(torch.full((chunk.context,), settings.context_level), persistent=False)
        self.new = chunk.frames - chunk.context

    def forward(self, latents: Tensor, context: Tensor, given: Tensor, level: Tensor, prompts: Sequence[Tensor]) -> Any:
        """Clean latents.

        Args:
            latents: (1, T, C, h, w) at noise level `level`.
            context: (1, context, C, h, w), what is shown of the given frames.
            given: the context's shape, what is answered of them.
            level: (1,).
            prompts: (1, tokens, width): the prompt's embedding, then, where guided, the negative prompt's.

        Returns:
            The shape of `latents`.
        """
        noisy = latents[:, self.context :]
        seen = torch.cat([context, noisy], dim=1).transpose(1, 2)
        levels = torch.cat([self.context_levels, level.expand(self.new)])
        answers = [self.network(seen, levels, prompt).transpose(1, 2)[:, self.context :] for prompt in prompts]
        clean = [noisy - level * velocity for velocity in answers]
        guided = clean[0] if len(clean) == 1 else clean[0] + self.guidance_scale * (clean[0] - clean[1])
        return torch.cat([given, guided], dim=1)


class EulerStep(nn.Module):
    """Predict 2's step: from one noise level to the next along a straight line."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, latents: Tensor, context: Tensor, level: Tensor, weights: Tensor, *prompts: Tensor) -> Tensor:
        """One step.

        Args:
            latents: (1, T, C, h, w).
            context: (1, context, C, h, w), clean.
            level: (1,), noise level of the latents once they are weighed.
            weights: (3,), of the latents, of the latents once weighed, and of the clean ones.
            prompts: (1, tokens, width) each.

        Returns:
            The latents at the next level.
        """
        seen, kept, added = weights.split(1)
        weighed = latents * seen
        clean = self.predictor(weighed, context, context, level, prompts)
        return kept * weighed + added * clean


class MultistepStep(nn.Module):
    """Predict 2.5's step: what was predicted is corrected, then the next latents are predicted from three."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor, self.context = predictor, predictor.context

    def forward(
        self,
        latents: Tensor,
        sample: Tensor,
        previous: Tensor,
        before: Tensor,
        noise: Tensor,
        context: Tensor,
        level: Tensor,
        weights: Tensor,
        *prompts: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step.

        Args:
            latents: (1, T, C, h, w) at noise level `level`, as the step before predicted them.
            sample: their shape, what the step before started from once it was corrected.
            previous: their shape, clean latents of the step before.
            before: their shape, clean latents of the step before that.
            noise: their shape, what the chunk began with: given frames go from it to the context in a straight line.
            context: (1, context, C, h, w), clean.
            level: (1,).
            weights: (7,), of sample, previous, before and clean for the corrected latents; of these, clean and
                previous for the next ones.
            prompts: (1, tokens, width) each.

        Returns:
            The latents at the next level, the corrected ones at this level, the clean ones.
        """
        first = slice(0, self.context)
        given = latents[:, first] - level * (noise[:, first] - context)
        clean = self.predictor(latents, context, given, level, prompts)
        following, corrected = advance(weights, sample, previous, before, clean)
        return following, corrected, clean


def advance(weights: Tensor, sample: Tensor, previous: Tensor, before: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """The next latents and the corrected ones of this step: see `MultistepStep`; of any shape, weights (7,)."""
    kept, added, older, newer, start, here, past = weights.split(1)
    corrected = kept * sample + added * previous + older * before + newer * clean
    return start * corrected + here * clean + past * previous, corrected


class Joiner(nn.Module):
    """A chunk's new pictures, and those at its end once more, for the next chunk."""

    def __init__(self, chunk: Chunk) -> None:
        super().__init__()
        self.pictures, self.height = chunk.context_pictures, chunk.height * chunk.space_scale
        self.new = chunk.new_pictures

    def forward(self, *pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Each (1, 3, some * H, W) -> frame (1, 3, new * H, W) and tail (1, pictures, 3, H, W), all in [0, 1]."""
        joined = torch.cat(pictures, dim=2)
        tail = joined[:, :, -self.pictures * self.height :].unflatten(2, (self.pictures, self.height))
        return joined[:, :, -self.new * self.height :], tail.transpose(1, 2)
