"""Oasis' diffusion transformer, in an implementation of the project's own; parameters have the published names.

Source: Decart and Etched, Oasis: A Universe in a Transformer, 2024; etched-ai/open-oasis, dit.py and attention.py;
Peebles and Xie, DiT, arXiv 2212.09748; Chen et al., Diffusion Forcing, arXiv 2407.01392. The batch is 1 and left out.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.oasis.config import DitConfig
from porting.adapters.oasis.rotation import (
    Rotation,
    space_angles,
    space_frequencies,
    time_angles,
    time_frequencies,
)

EPS = 1e-6
"""Of every norm."""
TIME_WIDTH, TIME_PERIOD = 256, 10000.0
"""Of a noise level's waves."""
MAX_FREQUENCY = 256.0
"""Of rotations over a picture."""
HIDDEN = -1e4
"""Added to what attention must not see: its share is 0 in every floating format."""


class PatchEmbed(nn.Module):
    """Patches of pictures or latents to tokens."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, tokens, width), row by row."""
        return self.proj(x).flatten(2).transpose(1, 2)


class Mlp(nn.Module):
    """Two layers with GELU between, exact or by its approximation with tanh."""

    def __init__(self, width: int, hidden: int, approximate: str = "none") -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same shape."""
        made: Tensor = self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))
        return made


class AxialAttention(nn.Module):
    """Self-attention along one axis of the window, all other places by themselves."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Rotation, hidden: Tensor | None = None) -> Tensor:
        """x (rows, places, width) -> the same shape; `hidden` (places, places) is added to what queries see of keys."""
        qkv = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        seen = F.scaled_dot_product_attention(rotation(query), rotation(key), value, attn_mask=hidden)
        made: Tensor = self.to_out(seen.transpose(1, 2).flatten(2))
        return made


class Block(nn.Module):
    """Attention and MLP over each frame's places, then over each place's frames."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.s_attn, self.t_attn = AxialAttention(width, config.num_heads), AxialAttention(width, config.num_heads)
        self.s_mlp, self.t_mlp = Mlp(width, config.mlp_width, "tanh"), Mlp(width, config.mlp_width, "tanh")
        self.s_adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.t_adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, conditioning: Tensor, space: Rotation, time: Rotation, hidden: Tensor) -> Tensor:
        """x (T, places, width), conditioning (T, width), hidden (T, T) -> the shape of x."""
        parts = self.s_adaLN_modulation(conditioning)[:, None].chunk(6, dim=-1)
        x = x + parts[2] * self.s_attn(modulate(x, parts[0], parts[1]), space)
        x = x + parts[5] * self.s_mlp(modulate(x, parts[3], parts[4]))
        parts = self.t_adaLN_modulation(conditioning)[:, None].chunk(6, dim=-1)
        columns = modulate(x, parts[0], parts[1]).transpose(0, 1)
        x = x + parts[2] * self.t_attn(columns, time, hidden).transpose(0, 1)
        return x + parts[5] * self.t_mlp(modulate(x, parts[3], parts[4]))


class LevelEmbedder(nn.Module):
    """A noise level to a vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
        places = torch.arange(TIME_WIDTH // 2, dtype=torch.float64) / (TIME_WIDTH // 2)
        self.frequencies = nn.Buffer((-math.log(TIME_PERIOD) * places).exp().float(), persistent=False)

    def forward(self, level: Tensor) -> Tensor:
        """level (T,) -> (T, width)."""
        angle = level[:, None] * self.frequencies
        made: Tensor = self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1))
        return made


class Frequencies(nn.Module):
    """What the published files store of a rotation."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.freqs = nn.Parameter(values, requires_grad=False)


class FinalLayer(nn.Module):
    """Tokens to patches."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.linear = nn.Linear(width, config.patch_size**2 * config.in_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, conditioning: Tensor) -> Tensor:
        """x (B, places, width), conditioning (B, width) -> (B, places, values of a patch)."""
        shift, scale = self.adaLN_modulation(conditioning)[:, None].chunk(2, dim=-1)
        made: Tensor = self.linear(modulate(x, shift, scale))
        return made


class Dit(nn.Module):
    """A window of latents, each at a noise level of its own, to the velocity of the last one."""

    def __init__(self, config: DitConfig, window: int) -> None:
        super().__init__()
        self.config, self.window = config, window
        self.x_embedder = PatchEmbed(config.in_channels, config.hidden_size, config.patch_size)
        self.t_embedder = LevelEmbedder(config.hidden_size)
        self.external_cond = nn.Linear(config.external_cond_dim, config.hidden_size)
        for name, values in compute_frequencies(config).items():
            self.add_module(name.partition(".")[0], Frequencies(values))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_layer = FinalLayer(config)
        self.space = Rotation(math.prod(config.grid), config.head_width)
        self.time = Rotation(window, config.head_width)

    def fill(self) -> None:
        """Make the tables of rotations from the frequencies that were loaded."""
        self.space.fill(space_angles(self.config.grid, self.get_parameter("spatial_rotary_emb.freqs")))
        self.time.fill(time_angles(self.window, self.get_parameter("temporal_rotary_emb.freqs")))

    def forward(self, latents: Tensor, levels: Tensor, actions: Tensor, present: Tensor) -> Tensor:
        """The last frame's velocity.

        Args:
            latents: (T, C, h, w), oldest first.
            levels: (T,), each frame's noise level.
            actions: (T, width of an action), what led to each frame.
            present: (T,), 1 for a frame that is there, 0 for one that is not yet.

        Returns:
            (1, C, h, w).
        """
        conditioning = self.t_embedder(levels) + self.external_cond(actions)
        hidden = hide(present)
        x = self.x_embedder(latents)
        for block in self.blocks:
            x = block(x, conditioning, self.space, self.time, hidden)
        patches = self.final_layer(x[-1:], conditioning[-1:])
        (height, width), patch = self.config.grid, self.config.patch_size
        spread = patches.reshape(height, width, patch, patch, self.config.in_channels).permute(4, 0, 2, 1, 3)
        return spread.reshape(1, *latents.shape[1:])


def compute_frequencies(config: DitConfig) -> dict[str, Tensor]:
    """Both frequency tables as a published file would hold them."""
    return {
        "spatial_rotary_emb.freqs": space_frequencies(config.head_width // 4, MAX_FREQUENCY),
        "temporal_rotary_emb.freqs": time_frequencies(config.head_width // 2),
    }


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights of x (B, places, width), then scaled and shifted by (B, 1, width)."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale) + shift


def hide(present: Tensor) -> Tensor:
    """(T,) to (T, T): what keeps a query from later frames and from those that are not there, itself excepted."""
    places = torch.arange(present.shape[0])
    itself = (places[:, None] == places[None]).to(present.dtype)
    earlier = (places[:, None] > places[None]).to(present.dtype)
    return (1 - itself - earlier * present.clamp(0, 1)) * HIDDEN
