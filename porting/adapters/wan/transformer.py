"""Wan's diffusion transformer, run from the parts of diffusers' class without its float32 casts and run-time tables.

Source: diffusers, WanTransformer3DModel.forward: the rotations of a fixed clip are constants here, pairs are turned
without writing into strided views, and norms compute in the dtype that they are given.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attend:
    """An attention processor: rotated queries and keys in their own dtype."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """hidden_states (B, tokens, width) -> the same shape; over itself, or over `encoder_hidden_states`."""
        query, key, value = project(attn, hidden_states, encoder_hidden_states)
        if rotary_emb is not None:
            query, key = rotate(query, *rotary_emb), rotate(key, *rotary_emb)
        return join_heads(attn, F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask))


class Conditioning(nn.Module):
    """Timestep and prompt to what the blocks take, from the parts of diffusers' `condition_embedder`."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.embedder = transformer.condition_embedder
        half = transformer.config.freq_dim // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half)
        self.frequencies = nn.Buffer(frequencies.float(), persistent=False)

    def forward(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """timestep (N,) -> embedded (N, width), and modulation (N, 6, width) of every block."""
        phase = timestep[:, None] * self.frequencies
        embedded = self.embedder.time_embedder(torch.cat([phase.cos(), phase.sin()], dim=-1))
        return embedded, self.embedder.time_proj(F.silu(embedded)).unflatten(1, (6, -1))

    def embed_prompt(self, prompt: Tensor) -> Tensor:
        """(B, tokens, prompt width) -> (B, tokens, width)."""
        embedded: Tensor = self.embedder.text_embedder(prompt)
        return embedded


class Transformer(nn.Module):
    """The network alone: noisy latents to their velocity."""

    def __init__(self, transformer: Any, latents_shape: tuple[int, ...]) -> None:
        """Wrap a `WanTransformer3DModel` for latents (1, T, C, h, w)."""
        super().__init__()
        _, time, channels, height, width = latents_shape
        for block in transformer.blocks:
            block.attn1.set_processor(Attend())
            block.attn2.set_processor(Attend())
        cos, sin = transformer.rope(torch.zeros(1, channels, time, height, width))
        # Each angle is there twice, for both of a pair; heads come before tokens here.
        self.cos = nn.Buffer(cos[..., ::2].transpose(1, 2).contiguous(), persistent=False)
        self.sin = nn.Buffer(sin[..., 1::2].transpose(1, 2).contiguous(), persistent=False)
        self.transformer, self.conditioning = transformer, Conditioning(transformer)

    def forward(self, latents: Tensor, timestep: Tensor, prompts: Tensor) -> Tensor:
        """latents (1, T, C, h, w), timestep (1,), prompts (B, tokens, width) -> (B, T, C, h, w), one a prompt."""
        network = self.transformer
        tokens = network.patch_embedding(latents.transpose(1, 2))
        grid = tuple(tokens.shape[2:])
        x = tokens.flatten(2).transpose(1, 2).expand(prompts.shape[0], -1, -1)
        embedded, modulation = self.conditioning(timestep)
        prompts = self.conditioning.embed_prompt(prompts)
        for block in network.blocks:
            x = run_block(block, x, prompts, modulation, (self.cos, self.sin))
        return finish(network, x, embedded, grid)


def run_block(
    block: Any, x: Tensor, prompts: Tensor, modulation: Tensor, rotation: tuple[Tensor, Tensor] | None
) -> Tensor:
    """One block: attention over all tokens, over the prompt, and the feed-forward."""
    shift, scale, gate, wide_shift, wide_scale, wide_gate = modulate(block, modulation)
    x = x + gate * block.attn1(normalise(block.norm1, x) * (1 + scale) + shift, None, None, rotation)
    x = x + block.attn2(normalise(block.norm2, x), prompts, None, None)
    return x + wide_gate * block.ffn(normalise(block.norm3, x) * (1 + wide_scale) + wide_shift)


def modulate(block: Any, modulation: Tensor) -> tuple[Tensor, ...]:
    """modulation (N, 6, width) -> six of (N, 1, width), the block's own values added."""
    return (block.scale_shift_table + modulation).chunk(6, dim=1)


def finish(network: Any, x: Tensor, embedded: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Tokens (B, T * rows * columns, width) of a grid (T, rows, columns) to (B, T, C, h, w)."""
    shift, scale = (network.scale_shift_table + embedded[:, None]).chunk(2, dim=1)
    x = network.proj_out(normalise(network.norm_out, x) * (1 + scale) + shift)
    return place_patches(network, x, grid)


def place_patches(network: Any, x: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Patches (B, T * rows * columns, values) of a grid (T, rows, columns) to (B, T, C, h, w)."""
    x = x.unflatten(2, (*network.config.patch_size, -1)).unflatten(1, grid)
    return x.permute(0, 1, 4, 7, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(1, 2)


def project(attn: Any, x: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value (B, heads, tokens, head width); queries and keys normalised over all heads."""
    seen = x if seen is None else seen
    query, key, value = attn.norm_q(attn.to_q(x)), attn.norm_k(attn.to_k(seen)), attn.to_v(seen)
    return split(query, attn.heads), split(key, attn.heads), split(value, attn.heads)


def split(x: Tensor, heads: int) -> Tensor:
    """(B, tokens, width) -> (B, heads, tokens, head width)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def join_heads(attn: Any, made: Tensor) -> Tensor:
    """(B, heads, tokens, head width) -> (B, tokens, width), through the output's projection."""
    joined: Tensor = attn.to_out[0](made.transpose(1, 2).flatten(2, 3))
    return joined


def normalise(norm: Any, x: Tensor) -> Tensor:
    """A layer norm in its input's dtype; where a config has none, the input."""
    if isinstance(norm, nn.Identity):
        return x
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x[2 i], x[2 i + 1]) of the last axis."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1).flatten(-2)
