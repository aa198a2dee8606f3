"""Rotations of pairs of a head's values by a token's place, as real tables.

Source: Su et al., RoFormer, arXiv 2104.09864; open-oasis, rotary_embedding_torch.py: places of a picture run from -1 to
1 and turn by linearly spaced frequencies; places in time are counted and turn by geometrically spaced ones.
"""

import math

import torch
from torch import Tensor, nn

BASE = 10000.0
"""Of the frequencies of time."""


class Rotation(nn.Module):
    """Sines and cosines of every place, for neighbouring values of a head; what is wider than they are stays."""

    def __init__(self, places: int, width: int) -> None:
        """Tables for so many places and values, to be filled."""
        super().__init__()
        self.cos = nn.Buffer(torch.ones(places, width), persistent=False)
        self.sin = nn.Buffer(torch.zeros(places, width), persistent=False)

    def fill(self, angles: Tensor) -> None:
        """Angles (places, width / 2) in radians."""
        self.cos.copy_(angles.double().cos().repeat_interleave(2, dim=-1))
        self.sin.copy_(angles.double().sin().repeat_interleave(2, dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., places, head width) -> turned."""
        width = self.cos.shape[-1]
        turning, rest = x[..., :width], x[..., width:]
        first, second = turning.unflatten(-1, (-1, 2)).unbind(-1)
        swapped = torch.stack([-second, first], dim=-1).flatten(-2)
        turned = turning * self.cos + swapped * self.sin
        return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned


def space_frequencies(count: int, max_frequency: float) -> Tensor:
    """Half turns over a picture, from 1 to half of the largest: (count,)."""
    return torch.linspace(1.0, max_frequency / 2, count) * math.pi


def time_frequencies(count: int) -> Tensor:
    """Radians a frame: (count,)."""
    return BASE ** -(torch.arange(count, dtype=torch.float64) / count).float()


def space_angles(grid: tuple[int, int], frequencies: Tensor) -> Tensor:
    """(tokens, 2 * frequencies): each token's row, then its column."""
    rows, columns = (torch.linspace(-1, 1, side, dtype=torch.float64) for side in grid)
    turns = [place[:, None] * frequencies.double() for place in (rows, columns)]
    down = turns[0][:, None].expand(-1, grid[1], -1)
    across = turns[1][None].expand(grid[0], -1, -1)
    return torch.cat([down, across], dim=-1).flatten(0, 1)


def time_angles(frames: int, frequencies: Tensor) -> Tensor:
    """(frames, frequencies)."""
    return torch.arange(frames, dtype=torch.float64)[:, None] * frequencies.double()
