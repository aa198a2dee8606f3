"""DIAMOND's networks, in an implementation of the project's own; parameters have the published names.

Source: Alonso et al., Diffusion for World Modeling: Visual Details Matter in Atari, arXiv 2405.12399, section 4 and
appendix D; eloialonso/diamond, src/models/blocks.py, src/models/diffusion/inner_model.py, src/models/rew_end_model.py.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.diamond.config import HEAD_WIDTH, InnerModel, RewEndConfig

GROUP_WIDTH = 32
"""Channels of one group of a norm."""
EPS = 1e-5
"""Of every norm."""
REWARDS, ENDS = 3, 2
"""Classes: a reward of -1, 0 or 1; the game goes on or ends."""


class Norm(nn.Module):
    """Group norm with weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_groups(width), width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        return self.norm(x)


class ConditionedNorm(nn.Module):
    """Group norm whose scale and shift are told by the conditioning."""

    def __init__(self, width: int, conditioning: int) -> None:
        super().__init__()
        self.groups = _groups(width)
        self.linear = nn.Linear(conditioning, 2 * width)

    def forward(self, x: Tensor, conditioning: Tensor) -> Tensor:
        """x (B, C, H, W), conditioning (B, width) -> the shape of x."""
        scale, shift = self.linear(conditioning)[:, :, None, None].chunk(2, dim=1)
        return F.group_norm(x, self.groups, eps=EPS) * (1 + scale) + shift


class Attention(nn.Module):
    """Self-attention over a picture's places, added to its normed input, which replaces the input itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        self.norm = Norm(width)
        self.qkv_proj = nn.Conv2d(width, 3 * width, 1)
        self.out_proj = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        x = self.norm(x)
        heads = self.qkv_proj(x).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-2, -1)
        attended = F.scaled_dot_product_attention(*heads.unbind(1))
        return x + self.out_proj(attended.transpose(-2, -1).reshape(x.shape))


class ResidualBlock(nn.Module):
    """Two convolutions behind conditioned norms; attention behind them where its stage has it."""

    def __init__(self, width: int, out_width: int, conditioning: int, attention: bool) -> None:
        super().__init__()
        self.proj = nn.Identity() if width == out_width else nn.Conv2d(width, out_width, 1)
        self.norm1 = ConditionedNorm(width, conditioning)
        self.conv1 = nn.Conv2d(width, out_width, 3, padding=1)
        self.norm2 = ConditionedNorm(out_width, conditioning)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1)
        self.attn = Attention(out_width) if attention else nn.Identity()

    def forward(self, x: Tensor, conditioning: Tensor) -> Tensor:
        """x (B, width, H, W) -> (B, out_width, H, W)."""
        made = self.conv1(F.silu(self.norm1(x, conditioning)))
        made = self.conv2(F.silu(self.norm2(made, conditioning)))
        found: Tensor = self.attn(made + self.proj(x))
        return found


class Stage(nn.Module):
    """Residual blocks at one resolution."""

    def __init__(self, widths: Sequence[tuple[int, int]], conditioning: int, attention: bool) -> None:
        """Blocks of these input and output widths."""
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualBlock(*pair, conditioning, attention) for pair in widths)

    def forward(self, x: Tensor, conditioning: Tensor, skips: Sequence[Tensor] = ()) -> list[Tensor]:
        """What each block makes; the skips, one a block where there are any, are joined to its input's channels."""
        made: list[Tensor] = []
        for index, block in enumerate(self.resblocks):
            x = block(torch.cat([x, skips[index]], dim=1) if skips else x, conditioning)
            made.append(x)
        return made


class Downsample(nn.Module):
    """Half the resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H / 2, W / 2)."""
        made: Tensor = self.conv(x)
        return made


class Upsample(nn.Module):
    """Twice the resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, 2 H, 2 W)."""
        made: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return made


class UNet(nn.Module):
    """Stages down, two blocks with attention, stages up, each of which sees all that its counterpart made."""

    def __init__(self, config: InnerModel) -> None:
        super().__init__()
        widths, conditioning = config.channels, config.cond_channels
        down, up = [], []
        before = (widths[0], *widths)
        for depth, narrow, width, attention in zip(
            config.depths, before[:-1], widths, config.attn_depths, strict=True
        ):  # fmt: skip
            down.append(Stage([(narrow, width)] + [(width, width)] * (depth - 1), conditioning, attention))
            up.append(Stage([(2 * width, width)] * depth + [(narrow + width, narrow)], conditioning, attention))
        self.d_blocks, self.u_blocks = nn.ModuleList(down), nn.ModuleList(reversed(up))
        self.mid_blocks = Stage([(widths[-1], widths[-1])] * 2, conditioning, attention=True)
        self.downsamples = nn.ModuleList([nn.Identity(), *map(Downsample, widths[:-1])])
        self.upsamples = nn.ModuleList([nn.Identity(), *map(Upsample, reversed(widths[:-1]))])
        self.multiple = config.downscale

    def forward(self, x: Tensor, conditioning: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape; sides that do not halve often enough are padded meanwhile."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        seen: list[list[Tensor]] = []
        for stage, halve in zip(self.d_blocks, self.downsamples, strict=True):
            x = halve(x)
            seen.append([x, *stage(x, conditioning)])
            x = seen[-1][-1]
        x = self.mid_blocks(x, conditioning)[-1]
        for stage, double, skips in zip(self.u_blocks, self.upsamples, reversed(seen), strict=True):
            x = stage(double(x), conditioning, skips[::-1])[-1]
        return x[..., :height, :width]


class FourierFeatures(nn.Module):
    """Random waves of the noise level, drawn once and stored with the weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Buffer(torch.zeros(1, width // 2))

    def forward(self, level: Tensor) -> Tensor:
        """level (B,) -> (B, width)."""
        angle = 2 * math.pi * level[:, None] * self.weight
        return torch.cat([angle.cos(), angle.sin()], dim=-1)


class Network(nn.Module):
    """What denoises: pictures stacked by channels to one picture, conditioned on noise level and actions."""

    def __init__(self, config: InnerModel, actions: int) -> None:
        super().__init__()
        width = config.cond_channels
        self.noise_emb = FourierFeatures(width)
        self.act_emb = nn.Sequential(nn.Embedding(actions, width // config.num_steps_conditioning))
        self.cond_proj = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.conv_in = nn.Conv2d(
            (config.num_steps_conditioning + 1) * config.img_channels, config.channels[0], 3, padding=1
        )
        self.unet = UNet(config)
        self.norm_out = Norm(config.channels[0])
        self.conv_out = nn.Conv2d(config.channels[0], config.img_channels, 3, padding=1)

    def forward(self, noisy: Tensor, level: Tensor, observations: Tensor, actions: Tensor) -> Tensor:
        """What the picture is taken to be.

        Args:
            noisy: (B, 3, H, W).
            level: (B,).
            observations: (B, N, 3, H, W).
            actions: (B, N, number of actions), one-hot.

        Returns:
            (B, 3, H, W).
        """
        conditioning = self.cond_proj(self.noise_emb(level) + look_up(self.act_emb[0], actions).flatten(1))
        x = self.conv_in(torch.cat([observations.flatten(1, 2), noisy], dim=1))
        made: Tensor = self.conv_out(F.silu(self.norm_out(self.unet(x, conditioning))))
        return made


class Encoder(nn.Module):
    """Two pictures to features at the deepest resolution; two blocks with attention follow the stages."""

    def __init__(self, config: RewEndConfig) -> None:
        super().__init__()
        widths, conditioning = config.channels, config.cond_channels
        self.conv_in = nn.Conv2d(2 * config.img_channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            Stage([(narrow, width)] + [(width, width)] * (depth - 1), conditioning, attention)
            for (narrow, width), depth, attention in zip(
                pairwise((widths[0], *widths)), config.depths, config.attn_depths, strict=True
            )
        )
        self.blocks.append(Stage([(widths[-1], widths[-1])] * 2, conditioning, attention=True))
        self.downsamples = nn.ModuleList([nn.Identity(), *map(Downsample, widths[:-1]), nn.Identity()])

    def forward(self, x: Tensor, conditioning: Tensor) -> Tensor:
        """x (B, 6, H, W) -> (B, C, h, w)."""
        x = self.conv_in(x)
        for stage, halve in zip(self.blocks, self.downsamples, strict=True):
            x = stage(halve(x), conditioning)[-1]
        return x


class Lstm(nn.Module):
    """One step of an LSTM of one layer, with torch's own parameters."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.empty(4 * hidden, width))
        self.weight_hh_l0 = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.empty(4 * hidden))
        self.bias_hh_l0 = nn.Parameter(torch.empty(4 * hidden))

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, width), hidden and cell (B, hidden) -> the next two."""
        gates = F.linear(x, self.weight_ih_l0, self.bias_ih_l0) + F.linear(hidden, self.weight_hh_l0, self.bias_hh_l0)
        taken, kept, candidate, shown = gates.chunk(4, dim=-1)
        cell = kept.sigmoid() * cell + taken.sigmoid() * candidate.tanh()
        return shown.sigmoid() * cell.tanh(), cell


class RewEndModel(nn.Module):
    """An observation, an action and what came of it, to reward and end, in the light of the game so far."""

    def __init__(self, config: RewEndConfig, actions: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.act_emb = nn.Embedding(actions, config.cond_channels)
        side = config.img_size // config.downscale
        self.lstm = Lstm(config.channels[-1] * side**2, config.lstm_dim)
        self.head = nn.Sequential(
            nn.Linear(config.lstm_dim, config.lstm_dim),
            nn.SiLU(),
            nn.Linear(config.lstm_dim, REWARDS + ENDS, bias=False),
        )

    def forward(
        self, observation: Tensor, action: Tensor, following: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step of the game.

        Args:
            observation: (B, 3, H, W) in [-1, 1].
            action: (B, number of actions), one-hot.
            following: (B, 3, H, W), the observation after it.
            hidden: (B, lstm_dim).
            cell: (B, lstm_dim).

        Returns:
            Logits of the reward (B, 3) and of the end (B, 2), then hidden and cell after the step.
        """
        seen = self.encoder(torch.cat([observation, following], dim=1), look_up(self.act_emb, action))
        hidden, cell = self.lstm(seen.flatten(1), hidden, cell)
        reward, end = self.head(hidden).split([REWARDS, ENDS], dim=-1)
        return reward, end, hidden, cell


def look_up(embedding: nn.Module, one_hot: Tensor) -> Tensor:
    """The embeddings of actions (..., number of actions): a product with a one-hot row is exact."""
    return one_hot @ cast(nn.Embedding, embedding).weight


def _groups(width: int) -> int:
    return max(1, width // GROUP_WIDTH)
