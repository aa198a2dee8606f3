"""TAEHV's streaming decoder: 2-D convolutions; each memory block also sees its own input of the frame before.

Source: github.com/madebyollin/taehv, taehv.py at 1f14a56, written anew as one step on one latent: what the published
code keeps in a queue of frames is a tensor a memory block here.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.taehv.config import TaehvConfig

MEMORIES_PER_LEVEL = 3
LATENT_BOUND = 3.0
"""Latents are squashed into (-3, 3)."""


class Clamp(nn.Module):
    """A smooth bound."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.tanh(x / LATENT_BOUND) * LATENT_BOUND


class MemoryBlock(nn.Module):
    """A residual block over a frame and the frame before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """x (frames, C, h, w) in order; before (1, C, h, w): the frame ahead of the first."""
        past = torch.cat([before, x[:-1]])
        return F.relu(self.conv(torch.cat([x, past], dim=1)) + x)


class Grow(nn.Module):
    """Makes `scale` frames of each."""

    def __init__(self, width: int, scale: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width * scale, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(frames, C, h, w) -> (frames * scale, C, h, w)."""
        return self.conv(x).reshape(-1, *x.shape[1:])


class Decoder(nn.Module):
    """One latent to the pictures that it stands for, with the memories of the latent before."""

    def __init__(self, config: TaehvConfig) -> None:
        super().__init__()
        self.frames, self.patch_size = config.frames, config.patch_size
        self.decoder = nn.Sequential(*_list_layers(config))

    def forward(self, latent: Tensor, *memories: Tensor) -> tuple[Tensor, ...]:
        """One step.

        Args:
            latent: (1, C, h, w).
            memories: (1, C, h, w) of every memory block, its input's last frame; zero when a session opens.

        Returns:
            The pictures, oldest on top, (1, 3, frames * H, W) in [0, 1]; and every memory for the next latent.
        """
        x = latent
        kept: list[Tensor] = []
        for layer in self.decoder:
            if isinstance(layer, MemoryBlock):
                before = memories[len(kept)]
                kept.append(x[-1:])
                x = layer(x, before)
            else:
                x = layer(x)
        pictures = F.pixel_shuffle(x, self.patch_size).clamp(0, 1)
        # The pictures of one chunk stand one below the other: rows of (frames, H).
        return (pictures.transpose(0, 1).flatten(1, 2).unsqueeze(0), *kept)


def memory_shapes(config: TaehvConfig, height: int, width: int) -> Iterator[tuple[int, ...]]:
    """(1, C, h, w) of every memory block, for latents of that height and width."""
    for level, channels in enumerate(config.widths[:-1]):
        for _ in range(MEMORIES_PER_LEVEL):
            yield (1, channels, height << level, width << level)


def _list_layers(config: TaehvConfig) -> Iterator[nn.Module]:
    """The layers at the places that the published names count."""
    widths = config.widths
    yield Clamp()
    yield nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
    yield nn.ReLU()
    for level, scale in enumerate(config.time_scales):
        for _ in range(MEMORIES_PER_LEVEL):
            yield MemoryBlock(widths[level])
        yield nn.Upsample(scale_factor=2)
        yield Grow(widths[level], scale)
        yield nn.Conv2d(widths[level], widths[level + 1], 3, padding=1, bias=False)
    yield nn.ReLU()
    yield nn.Conv2d(widths[-1], 3 * config.patch_size**2, 3, padding=1)
