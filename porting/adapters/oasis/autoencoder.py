"""Oasis' ViT autoencoder, in an implementation of the project's own; parameters have the published names.

Source: etched-ai/open-oasis, vae.py. Only the mean of what it encodes is used, as the published script does.
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.oasis.config import VaeConfig
from porting.adapters.oasis.rotation import Rotation, space_angles, space_frequencies
from porting.adapters.oasis.transformer import EPS, Mlp, PatchEmbed

TURNED = 4
"""The share of a head's width that turns with a token's row, and that which turns with its column."""


class Attention(nn.Module):
    """Self-attention over a picture's patches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """x (B, tokens, width) -> the same shape."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        seen = F.scaled_dot_product_attention(rotation(query), rotation(key), value)
        made: Tensor = self.proj(seen.transpose(1, 2).flatten(2))
        return made


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width, mlp_width)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """x (B, tokens, width) -> the same shape."""
        x = x + self.attn(self.norm1(x), rotation)
        made: Tensor = x + self.mlp(self.norm2(x))
        return made


class Autoencoder(nn.Module):
    """Pictures to latents, one a patch, and back."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(3, config.enc_dim, config.patch_size)
        self.encoder = nn.ModuleList(
            Block(config.enc_dim, config.enc_heads, config.enc_mlp_width) for _ in range(config.enc_depth)
        )
        self.enc_norm = nn.LayerNorm(config.enc_dim, eps=EPS)
        self.quant_conv = nn.Linear(config.enc_dim, 2 * config.latent_dim)
        self.post_quant_conv = nn.Linear(config.latent_dim, config.dec_dim)
        self.decoder = nn.ModuleList(
            Block(config.dec_dim, config.dec_heads, config.dec_mlp_width) for _ in range(config.dec_depth)
        )
        self.dec_norm = nn.LayerNorm(config.dec_dim, eps=EPS)
        self.predictor = nn.Linear(config.dec_dim, 3 * config.patch_size**2)
        self.enc_rotation = make_rotation(config, config.enc_dim // config.enc_heads)
        self.dec_rotation = make_rotation(config, config.dec_dim // config.dec_heads)

    def encode(self, pictures: Tensor) -> Tensor:
        """pictures (B, 3, H, W) in [-1, 1] -> latents (B, C, h, w)."""
        x = self.patch_embed(pictures)
        for block in self.encoder:
            x = block(x, self.enc_rotation)
        mean, _ = self.quant_conv(self.enc_norm(x)).chunk(2, dim=-1)
        return mean.transpose(1, 2).unflatten(-1, self.config.grid)

    def decode(self, latents: Tensor) -> Tensor:
        """latents (B, C, h, w) -> pictures (B, 3, H, W), about [-1, 1]."""
        x = self.post_quant_conv(latents.flatten(2).transpose(1, 2))
        for block in self.decoder:
            x = block(x, self.dec_rotation)
        (height, width), patch = self.config.grid, self.config.patch_size
        patches = self.predictor(self.dec_norm(x)).reshape(-1, height, width, 3, patch, patch)
        made: Tensor = patches.permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, height * patch, width * patch)
        return made


def make_rotation(config: VaeConfig, head_width: int) -> Rotation:
    """The rotation of a head of that width, half of which stays: its frequencies are stored nowhere."""
    axis = head_width // TURNED
    rotation = Rotation(math.prod(config.grid), 2 * axis)
    rotation.fill(space_angles(config.grid, space_frequencies(axis // 2, float(math.prod(config.grid)))))
    return rotation
