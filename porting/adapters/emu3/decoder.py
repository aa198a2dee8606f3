"""Emu3's decoder as a stream: the codes of one frame a call, what its convolutions over time look back at in and out.

Source: transformers, Emu3VQVAE.decode, which takes a clip's codes at once. Its convolutions over time are causal and
begin with zeros, as states do, so that there is one graph for every frame. Each frame makes as many pictures as the
temporal factor; past the layers over time every picture is decoded for itself.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.emu3.config import Settings, VqConfig

PAST = 2
"""Moments that a convolution over time looks back at."""


class Decoder(nn.Module):
    """Codes of a frame to its pictures."""

    def __init__(self, vqmodel: Any, settings: Settings) -> None:
        """Wrap an `Emu3VQVAE`."""
        super().__init__()
        self.codebook, self.post_quant_conv = vqmodel.quantize.embedding, vqmodel.post_quant_conv
        self.decoder, self.grid = vqmodel.decoder, (settings.rows, settings.columns)
        self.mean = nn.Buffer(torch.tensor(settings.image_mean).view(3, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor(settings.image_std).view(3, 1, 1), persistent=False)

    def forward(self, codes: Tensor, *pasts: Tensor) -> tuple[Tensor, ...]:
        """codes (1, rows * columns) int64 and the pasts -> pictures (1, 3, count * H, W) in [0, 1], the next pasts."""
        before = iter(pasts)
        after: list[Tensor] = []
        quantised = self.codebook(codes).unflatten(1, self.grid).permute(0, 3, 1, 2)[:, :, None]
        latents = look_back(self.post_quant_conv, quantised, before, after)
        # Both go through the layers over time: the latents are decoded, the codes modulate every norm on the way.
        x = torch.cat([latents, quantised])
        for block in self.decoder.time_res_stack:
            seen = look_back(block.conv1, F.silu(block.norm1(x)), before, after)
            x = x + look_back(block.conv2, F.silu(block.norm2(seen)), before, after)
        for doubling in self.decoder.time_conv:
            twice = torch.stack([x, x], dim=3).flatten(2, 3)
            x = F.silu(look_back(doubling.conv, twice, before, after))
        return (self._decode(*x.transpose(1, 2)), *after)

    def _decode(self, latents: Tensor, codes: Tensor) -> Tensor:
        """Both (count, C, rows, columns) -> (1, 3, count * H, W)."""
        x = self.decoder.middle_block(self.decoder.conv_in(latents), codes)
        x = F.silu(self.decoder.norm_out(self.decoder.up_block(x, codes), codes))
        pictures = self.decoder.conv_out(x) * self.std + self.mean
        return pictures.clamp(0, 1).transpose(0, 1).flatten(1, 2)[None]


def look_back(layer: Any, x: Tensor, before: Any, after: list[Tensor]) -> Tensor:
    """An `Emu3VQVAEConv3d` over x (B, C, T, rows, columns), the next of `before` in place of its zeros in time.

    What the next call looks back at is added to `after`.
    """
    seen = torch.cat([next(before), x], dim=2)
    after.append(seen[:, :, -PAST:])
    made: Tensor = layer.conv(F.pad(seen, (*layer.padding[:4], 0, 0)))
    return made


def list_pasts(config: VqConfig, settings: Settings) -> list[tuple[int, ...]]:
    """Shape (B, C, 2, rows, columns) of every past, in the order of `Decoder`."""
    shape: tuple[int, ...] = (config.latent_channels, PAST, settings.rows, settings.columns)
    return [(1, *shape)] + [(2, *shape)] * (2 * config.num_res_blocks + config.doublings)
