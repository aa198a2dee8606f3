"""Wan's encoder: the pictures that open a session to latents, in one graph.

Source: diffusers, AutoencoderKLWan._encode. Like the published one it goes through the clip piece by piece, first one
picture, then as many as a latent frame stands for; what its convolutions look back at stays inside.
"""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import patchify
from torch import Tensor, nn


class Encoder(nn.Module):
    """The published encoder, around it the latents' statistics."""

    def __init__(self, vae: Any) -> None:
        """Wrap an `AutoencoderKLWan` that has its encoder."""
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv
        self.patch_size = vae.config.patch_size
        self.time_scale = 2 ** sum(vae.config.temperal_downsample)
        self.mean = nn.Buffer(torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1), persistent=False)
        self.slots = vae._cached_conv_counts["encoder"]

    def forward(self, clip: Tensor) -> Tensor:
        """clip (1, T, 3, H, W) in [0, 1], T one more than a multiple of the time scale -> latents (1, t, C, h, w)."""
        video = (clip * 2 - 1).transpose(1, 2)
        if self.patch_size is not None:
            video = patchify(video, self.patch_size)
        caches: list[Any] = [None] * self.slots
        made = []
        for start in range(1 - self.time_scale, video.shape[2], self.time_scale):
            piece = video[:, :, max(start, 0) : start + self.time_scale]
            made.append(self.encoder(piece, feat_cache=caches, feat_idx=[0]))
        mean, _ = self.quant_conv(torch.cat(made, dim=2)).chunk(2, dim=1)
        latents: Tensor = ((mean - self.mean) / self.std).transpose(1, 2)
        return latents
