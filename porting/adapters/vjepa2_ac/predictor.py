"""The action-conditioned predictor of V-JEPA 2-AC, in an implementation of the project's own.

Source: facebookresearch/vjepa2, src/models/ac_predictor.py and src/models/utils/modules.py; V-JEPA 2, arXiv 2506.09985,
section 4. Parameters have the published names. Positions and the mask are tables: the window never changes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.vjepa2_ac.config import Vjepa2AcConfig

EPS = 1e-6
"""Of every norm."""
ROTATION_BASE = 10000.0
CONDITIONING = 2
"""Tokens ahead of a frame's own: its action and its pose."""


class Rotation(nn.Module):
    """Real-valued rotations of a window's tokens by their frame, row and column, a third of a head's width each.

    Sines and cosines are tiled over a third, not paired, as the published model was trained.
    """

    def __init__(self, grid: tuple[int, int], window: int, head_width: int) -> None:
        super().__init__()
        self.third = 2 * ((head_width // 3) // 2)
        frequencies = ROTATION_BASE ** -(torch.arange(self.third // 2, dtype=torch.float64) / (self.third / 2))
        angles = _positions(grid, window)[:, :, None] * frequencies  # (3, tokens, third / 2)
        self.cos = nn.Buffer(angles.cos().repeat(1, 1, 2).float(), persistent=False)
        self.sin = nn.Buffer(angles.sin().repeat(1, 1, 2).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, heads, tokens, head_width) -> turned; what is left of a head's width stays."""
        parts = x.split([self.third] * 3 + [x.shape[-1] - 3 * self.third], dim=-1)
        turned = [part * self.cos[axis] + _swap(part) * self.sin[axis] for axis, part in enumerate(parts[:3])]
        return torch.cat([*turned, parts[3]], dim=-1)


class Attention(nn.Module):
    """Self-attention of a window's tokens, each frame seeing itself and those before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor) -> Tensor:
        """x (B, tokens, width) -> the same shape."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        attended = F.scaled_dot_product_attention(rotation(query), rotation(key), value, attn_mask=mask)
        return self.proj(attended.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers with GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same shape."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, mlp_width)

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor) -> Tensor:
        """x (B, tokens, width) -> the same shape."""
        x = x + self.attn(self.norm1(x), rotation, mask)
        return x + self.mlp(self.norm2(x))


class ActionPredictor(nn.Module):
    """A window of latents, actions and poses to the latents one frame later, for every frame of the window."""

    def __init__(self, config: Vjepa2AcConfig, window: int) -> None:
        super().__init__()
        self.tokens, self.window = config.tokens, window
        width, heads = config.pred_hidden_size, config.pred_num_attention_heads
        self.predictor_embed = nn.Linear(config.hidden_size, width)
        self.action_encoder = nn.Linear(config.action_width, width)
        self.state_encoder = nn.Linear(config.action_width, width)
        self.predictor_blocks = nn.ModuleList(
            Block(width, heads, config.pred_mlp_width) for _ in range(config.pred_num_hidden_layers)
        )
        self.predictor_norm = nn.LayerNorm(width, eps=EPS)
        self.predictor_proj = nn.Linear(width, config.hidden_size)
        self.rotation = Rotation(config.grid, window, width // heads)
        frames = torch.arange(window).repeat_interleave(config.tokens + CONDITIONING)
        self.mask = nn.Buffer(frames[:, None] >= frames[None, :], persistent=False)

    def forward(self, latents: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
        """The window one frame later.

        Args:
            latents: (B, window, tokens, width), layer-normed.
            actions: (B, window, 7), what is done in each frame.
            poses: (B, window, 7), where the arm is in each frame.

        Returns:
            Latents (B, window, tokens, width), not normed: of frame t + 1 from all up to t.
        """
        conditioning = torch.stack([self.action_encoder(actions), self.state_encoder(poses)], dim=2)
        x = torch.cat([conditioning, self.predictor_embed(latents)], dim=2).flatten(1, 2)
        for block in self.predictor_blocks:
            x = block(x, self.rotation, self.mask)
        frames = x.unflatten(1, (self.window, -1))[:, :, CONDITIONING:]
        return self.predictor_proj(self.predictor_norm(frames))


def _positions(grid: tuple[int, int], window: int) -> Tensor:
    """(3, window * (tokens + 2)) float64: frame, row and column of every token; action and pose have a frame only."""
    rows = torch.arange(grid[0]).repeat_interleave(grid[1])
    columns = torch.arange(grid[1]).repeat(grid[0])
    none = torch.zeros(CONDITIONING, dtype=torch.int64)
    frames = torch.arange(window).repeat_interleave(len(rows) + CONDITIONING)
    places = [torch.cat([none, place]).repeat(window) for place in (rows, columns)]
    return torch.stack([frames, *places]).double()


def _swap(x: Tensor) -> Tensor:
    """(a, b) of every pair to (-b, a)."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([-second, first], dim=-1).flatten(-2)
