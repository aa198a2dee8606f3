"""Cameras to what turns queries and keys: a frame of reference for every token's ray, and rotations as real tables.

Source: Li et al., Unified Camera Positional Encoding, as in diffusers, transformer_sana_wm.py. With a pinhole, the
published way by angles of view leads back to the focal lengths that it begins with, and is left out.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.sana_wm.config import Clip

BASE = 10000.0
EPS = 1e-6

Table = tuple[Tensor, Tensor]
"""Cosines and sines (tokens, pairs)."""


class Rays(NamedTuple):
    """Every token's ray: from the world to it, and back."""

    to_ray: Tensor
    """(1, 1, tokens, 4, 4)."""
    to_world: Tensor


class Rotations(nn.Module):
    """Rotations by a token's frame, row and column: of whole heads, and of the half that a camera leaves."""

    def __init__(self, clip: Clip, head_width: int, base: float = BASE) -> None:
        """Fill the tables; `base` for a test's sake."""
        super().__init__()
        side, half = head_width // 6, head_width // 2 // 6
        widths = (head_width - 4 * side, 2 * side, 2 * side)
        # The camera's half takes the first frequencies of each axis, as many as fit.
        kept = (head_width // 4 - 2 * half, half, half)
        angles = [_angles(count, width, base) for count, width in zip(clip.grid, widths, strict=True)]
        self._keep("whole", _join(angles))
        self._keep("half", _join([axis[:, :count] for axis, count in zip(angles, kept, strict=True)]))

    def table(self, name: str) -> Table:
        """Of "whole" heads, (tokens, head width / 2), or of "half" of them, (tokens, head width / 4)."""
        return self.get_buffer(f"{name}_cos"), self.get_buffer(f"{name}_sin")

    def _keep(self, name: str, angles: Tensor) -> None:
        self.register_buffer(f"{name}_cos", angles.cos().float(), persistent=False)
        self.register_buffer(f"{name}_sin", angles.sin().float(), persistent=False)


def find_rays(camera: Tensor, clip: Clip) -> Rays:
    """camera (1, T, 20): see `CAMERA_WIDTH` -> a frame of reference at every token's ray."""
    frames, rows, columns = clip.grid
    pose, lens = camera[0, :, :16].unflatten(1, (4, 4)), camera[0, :, 16:, None, None]
    across = torch.arange(columns, dtype=camera.dtype)[None, None] - lens[:, 2] / clip.patch[1]
    down = torch.arange(rows, dtype=camera.dtype)[None, :, None] - lens[:, 3] / clip.patch[0]
    focal_x, focal_y = lens[:, 0] / clip.patch[1], lens[:, 1] / clip.patch[0]
    # Multiplied by both focal lengths, which a direction does not feel.
    ray = torch.stack([
        (across * focal_y).expand(frames, rows, columns),
        (down * focal_x).expand(frames, rows, columns),
        (focal_x * focal_y).expand(frames, rows, columns),
    ], dim=-1)  # fmt: skip
    turn, place = pose[:, None, None, :3, :3], pose[:, None, None, :3, 3:]
    forward = _unit((turn @ _unit(ray)[..., None])[..., 0])
    right = _unit(torch.linalg.cross(turn[..., 1].expand_as(forward), forward))
    axes = torch.stack([right, _unit(torch.linalg.cross(forward, right)), forward], dim=-2)
    moved = -axes @ place
    last = _last_row(camera, frames, rows, columns)
    to_ray = torch.cat([torch.cat([axes, moved], dim=-1), last], dim=-2)
    back = axes.transpose(-1, -2)
    to_world = torch.cat([torch.cat([back, -back @ moved], dim=-1), last], dim=-2)
    return Rays(to_ray.flatten(0, 2)[None, None], to_world.flatten(0, 2)[None, None])


def rotate(x: Tensor, table: Table, back: bool = False) -> Tensor:
    """Turn pairs of neighbours of the last axis of x (1, heads, tokens, width), or turn them back."""
    cos, sin = table
    sin = -sin if back else sin
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1).flatten(-2)


def turn_by_rays(x: Tensor, matrices: Tensor, table: Table, back: bool = False) -> Tensor:
    """x (1, heads, tokens, width): fours of the first half through each token's matrix, the rest rotated."""
    fours, rest = x.chunk(2, dim=-1)
    moved = (matrices[..., None, :, :] @ fours.unflatten(-1, (-1, 4))[..., None])[..., 0].flatten(-2)
    return torch.cat([moved, rotate(rest, table, back)], dim=-1)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1, eps=EPS)


def _last_row(like: Tensor, *counts: int) -> Tensor:
    """(..., 1, 4): 0, 0, 0, 1."""
    zeros = like.new_zeros(*counts, 1, 3)
    return torch.cat([zeros, like.new_ones(*counts, 1, 1)], dim=-1)


def _angles(places: int, width: int, base: float) -> Tensor:
    """(places, width / 2) in radians."""
    frequencies = base ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.arange(places, dtype=torch.float64)[:, None] * frequencies


def _join(axes: list[Tensor]) -> Tensor:
    """Angles of each axis to those of every token, row by row, frame by frame."""
    time, rows, columns = axes
    shape = (time.shape[0], rows.shape[0], columns.shape[0], -1)
    spread = [
        time[:, None, None].expand(*shape),
        rows[None, :, None].expand(*shape),
        columns[None, None].expand(*shape),
    ]
    return torch.cat(spread, dim=-1).flatten(0, 2)
