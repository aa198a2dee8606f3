"""Cosmos Predict's components: the sampler's step around the transformer, and the autoencoder around pictures."""

from typing import Any

import torch
from torch import Tensor, nn

from porting.adapters.cosmos_predict.config import Chunk, Settings
from porting.adapters.cosmos_predict.transformer import Transformer


class Opener(nn.Module):
    """Standard normal noise to the latents that a chunk's sampling begins with."""

    def __init__(self, sigma_max: float) -> None:
        super().__init__()
        self.sigma_max = sigma_max

    def forward(self, noise: Tensor) -> Tensor:
        """Any shape."""
        return noise * self.sigma_max


class Denoiser(nn.Module):
    """One Euler step from a noise level to the next, the chunk's first frames kept at what is given.

    Source: diffusers, CosmosVideoToWorldPipeline and EDMEulerScheduler; Karras et al., arXiv 2206.00364, table 1.
    """

    def __init__(self, transformer: Transformer, settings: Settings, chunk: Chunk) -> None:
        super().__init__()
        self.transformer, self.settings, self.context = transformer, settings, chunk.context

    def forward(
        self,
        latents: Tensor,
        context: Tensor,
        context_noise: Tensor,
        sigma: Tensor,
        next_sigma: Tensor,
        *prompts: Tensor,
    ) -> Tensor:
        """One step.

        Args:
            latents: (1, C, T, h, w) at noise level `sigma`.
            context: (1, C, context, h, w), clean.
            context_noise: the context's shape, standard normal.
            sigma: (1,), positive.
            next_sigma: (1,), below `sigma`.
            prompts: (1, tokens, width): the prompt's embedding, then, where guided, the negative prompt's.

        Returns:
            The latents at `next_sigma`.
        """
        settings, data = self.settings, self.settings.sigma_data
        spread = (sigma**2 + data**2).sqrt()
        # Once a step's own noise is below the augmentation's, the given frames are denoised like the others.
        given = (sigma > settings.augment_sigma).to(latents.dtype)
        augmented = (context + context_noise * settings.augment_sigma) * spread
        augmented = augmented / (settings.augment_sigma**2 + data**2) ** 0.5
        seen = torch.cat([self._mix(given, augmented, latents), latents[:, :, self.context :]], dim=2) / spread
        clean = [self._clean(latents, seen, sigma, spread, prompt, context, given) for prompt in prompts]
        guided = clean[0] if len(clean) == 1 else clean[0] + settings.guidance_scale * (clean[0] - clean[1])
        return latents + (next_sigma - sigma) * (latents - guided) / sigma

    def _clean(
        self,
        latents: Tensor,
        seen: Tensor,
        sigma: Tensor,
        spread: Tensor,
        prompt: Tensor,
        context: Tensor,
        given: Tensor,
    ) -> Tensor:
        """What the network thinks that the clean latents are."""
        data = self.settings.sigma_data
        answer = self.transformer(seen, 0.25 * sigma.log(), prompt)
        clean = latents * (data / spread) ** 2 + answer * (sigma * data / spread)
        return torch.cat([self._mix(given, context, clean), clean[:, :, self.context :]], dim=2)

    def _mix(self, given: Tensor, context: Tensor, latents: Tensor) -> Tensor:
        return given * context + (1 - given) * latents[:, :, : self.context]


class Statistics(nn.Module):
    """The latents' mean and standard deviation per channel, and per frame where the autoencoder tells them so."""

    def __init__(self, vae: Any, sigma_data: float) -> None:
        super().__init__()
        config, channels = vae.config, vae.config.latent_channels
        known = config.latents_mean is not None
        mean = torch.tensor(config.latents_mean if known else [0.0] * channels)
        std = torch.tensor(config.latents_std if known else [1.0] * channels)
        self.mean = nn.Buffer(mean.view(1, channels, -1, 1, 1), persistent=False)
        self.std = nn.Buffer(std.view(1, channels, -1, 1, 1) / sigma_data, persistent=False)

    def remove(self, latents: Tensor) -> Tensor:
        """Raw latents (1, C, T, h, w) to those that the transformer works on."""
        time = latents.shape[2]
        return (latents - self.mean[:, :, :time]) / self.std[:, :, :time]

    def restore(self, latents: Tensor) -> Tensor:
        """The inverse."""
        time = latents.shape[2]
        return latents * self.std[:, :, :time] + self.mean[:, :, :time]


class Encoder(nn.Module):
    """Pictures to the latents that the next chunk is conditioned on."""

    def __init__(self, vae: Any, statistics: Statistics) -> None:
        super().__init__()
        self.encoder, self.quant_conv, self.statistics = vae.encoder, vae.quant_conv, statistics

    def forward(self, clip: Tensor) -> Tensor:
        """clip (1, T, 3, H, W) in [0, 1] -> (1, C, context, h, w)."""
        return self.statistics.remove(self.quant_conv(self.encoder(clip.transpose(1, 2) * 2 - 1)))


class Decoder(nn.Module):
    """Latents to a chunk's new pictures, and to those at its end once more, for the next chunk."""

    def __init__(self, vae: Any, statistics: Statistics, chunk: Chunk) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder, self.statistics = vae.post_quant_conv, vae.decoder, statistics
        self.pictures, self.new = chunk.context_pictures, chunk.new_pictures

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """latents (1, C, T, h, w) -> frame (1, 3, new * H, W) and tail (1, pictures, 3, H, W), both in [0, 1]."""
        video = self.decoder(self.post_quant_conv(self.statistics.restore(latents)))
        pictures = (video / 2 + 0.5).clamp(0, 1)
        return pictures[:, :, -self.new :].flatten(2, 3), pictures[:, :, -self.pictures :].transpose(1, 2)
