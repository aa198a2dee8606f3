"""SkyReels-V2's transformer, run from the parts of diffusers' class: each latent frame has a timestep of its own.

Source: diffusers, SkyReelsV2Transformer3DModel.forward with enable_diffusion_forcing. As in `wan.transformer`,
rotations are constants and norms compute in the dtype that they are given; blocks of frames that may see earlier ones
alone are attended block by block, without a mask over all tokens.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.wan.transformer import Conditioning, join_heads, normalise, place_patches, project, rotate

SLOW = 16
"""The one frame rate that has an embedding of its own; every other one shares the second."""


class Transformer(nn.Module):
    """The network alone: latents at many noise levels to their velocity."""

    def __init__(self, transformer: Any, latents_shape: tuple[int, ...], block: int, fps: int) -> None:
        """Wrap a `SkyReelsV2Transformer3DModel`.

        Args:
            transformer: diffusers' class.
            latents_shape: (1, T, C, h, w), given and new ones.
            block: latent frames that see each other and what is before them; 1 lets all see all.
            fps: pictures a second.
        """
        super().__init__()
        _, time, channels, height, width = latents_shape
        cos, sin = transformer.rope(torch.zeros(1, channels, time, height, width))
        # Each angle is there twice, for both of a pair; heads come before tokens here.
        self.cos = nn.Buffer(cos[..., ::2].transpose(1, 2).contiguous(), persistent=False)
        self.sin = nn.Buffer(sin[..., 1::2].transpose(1, 2).contiguous(), persistent=False)
        self.transformer, self.conditioning = transformer, Conditioning(transformer)
        self.rate = int(fps != SLOW) if transformer.config.inject_sample_info else None
        self.block = block if block > 1 else time

    def forward(self, latents: Tensor, timesteps: Tensor, prompts: Tensor) -> Tensor:
        """latents (1, T, C, h, w), timesteps (T,), prompts (B, tokens, width) -> (B, T, C, h, w), one a prompt."""
        network = self.transformer
        tokens = network.patch_embedding(latents.transpose(1, 2))
        grid = tuple(tokens.shape[2:])
        x = tokens.flatten(3).permute(0, 2, 3, 1).expand(prompts.shape[0], -1, -1, -1)
        embedded, modulation = self.conditioning(timesteps)
        if self.rate is not None:
            rate = network.fps_embedding.weight[self.rate : self.rate + 1]
            modulation = modulation + network.fps_projection(rate).unflatten(1, (6, -1))
        prompts = self.conditioning.embed_prompt(prompts)
        span = self.block * grid[1] * grid[2]
        for block in network.blocks:
            x = run_block(block, x, prompts, modulation, (self.cos, self.sin), span)
        shift, scale = (network.scale_shift_table + embedded[:, None]).chunk(2, dim=1)
        x = network.proj_out(normalise(network.norm_out, x) * (1 + scale) + shift)
        return place_patches(network, x.flatten(1, 2), grid)


def run_block(
    block: Any, x: Tensor, prompts: Tensor, modulation: Tensor, rotation: tuple[Tensor, Tensor], span: int
) -> Tensor:
    """One block on tokens (B, T, tokens a frame, width); modulation (T, 6, width) is each frame's own."""
    shift, scale, gate, wide_shift, wide_scale, wide_gate = (block.scale_shift_table + modulation).chunk(6, dim=1)
    seen = (normalise(block.norm1, x) * (1 + scale) + shift).flatten(1, 2)
    x = x + gate * attend(block.attn1, seen, rotation, span).unflatten(1, x.shape[1:3])
    query, key, value = project(block.attn2, normalise(block.norm2, x).flatten(1, 2), prompts)
    told = join_heads(block.attn2, F.scaled_dot_product_attention(query, key, value))
    x = x + told.unflatten(1, x.shape[1:3])
    return x + wide_gate * block.ffn(normalise(block.norm3, x) * (1 + wide_scale) + wide_shift)


def attend(attn: Any, x: Tensor, rotation: tuple[Tensor, Tensor], span: int) -> Tensor:
    """x (B, tokens, width) -> the same shape: `span` tokens see each other and those before them."""
    query, key, value = project(attn, x)
    query, key = rotate(query, *rotation), rotate(key, *rotation)
    made = [
        F.scaled_dot_product_attention(
            query[:, :, start : start + span], key[:, :, : start + span], value[:, :, : start + span]
        )
        for start in range(0, x.shape[1], span)
    ]
    return join_heads(attn, torch.cat(made, dim=2) if len(made) > 1 else made[0])
