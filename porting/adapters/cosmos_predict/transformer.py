"""Cosmos' diffusion transformer, run from the parts of diffusers' class without its float32 casts and run-time tables.

Source: diffusers, CosmosTransformer3DModel.forward: positions, sinusoids and the padding mask of a fixed resolution are
constants here, and attention turns queries and keys in the dtype that it is given.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.exact import use_exact_norms


class Attend:
    """An attention processor: rotated queries and keys in their own dtype."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """hidden_states (rows, tokens of a row, width) -> the same shape; over all rows, or `encoder_hidden_states`."""
        tokens = hidden_states.flatten(0, 1).unsqueeze(0)
        seen = tokens if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            project(x).unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for project, x in ((attn.to_q, tokens), (attn.to_k, seen), (attn.to_v, seen))
        )
        query, key = attn.norm_q(query), attn.norm_k(key)
        if image_rotary_emb is not None:
            query, key = rotate(query, *image_rotary_emb), rotate(key, *image_rotary_emb)
        made = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        return attn.to_out[0](made.transpose(1, 2).flatten(2, 3)).reshape(hidden_states.shape)


class Transformer(nn.Module):
    """The network alone: noisy latents to its answer."""

    def __init__(self, transformer: Any, latent_shape: tuple[int, ...], context: int, fps: int | None) -> None:
        """Wrap a `CosmosTransformer3DModel` for latents (1, C, T, h, w), the first `context` frames of them given.

        Without `fps` positions in time count latent frames.
        """
        super().__init__()
        use_exact_norms(transformer)
        for block in transformer.transformer_blocks:
            block.attn1.set_processor(Attend())
            block.attn2.set_processor(Attend())
        self.transformer = transformer
        _, _, time, height, width = latent_shape
        given = torch.zeros(1, 1, time, height, width)
        given[:, :, :context] = 1
        masks = [given, *([torch.zeros_like(given)] if transformer.config.concat_padding_mask else [])]
        self.masks = nn.Buffer(torch.cat(masks, dim=1), persistent=False)
        # Positions in the video, at the rate that it was trained for.
        cos, sin = transformer.rope(torch.zeros(1, 1, time, height, width), fps=fps)
        self.cos, self.sin = nn.Buffer(cos, persistent=False), nn.Buffer(sin, persistent=False)
        half = transformer.config.num_attention_heads * transformer.config.attention_head_dim // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half)
        self.frequencies = nn.Buffer(frequencies.float(), persistent=False)

    def forward(self, latents: Tensor, noise_levels: Tensor, prompt: Tensor) -> Tensor:
        """One noise level for all, or one for each latent frame.

        A level's tokens are a row of their own, so that what is made of the level is made once, not once a token.

        Args:
            latents: (1, C, T, h, w).
            noise_levels: (1,) or (T,).
            prompt: (1, tokens, width), of what the text encoder tells where the network has a projection of it.

        Returns:
            (1, C, T, h, w).
        """
        network = self.transformer
        tokens = network.patch_embed(torch.cat([latents, self.masks], dim=1))
        _, time, rows, columns, _ = tokens.shape
        phase = noise_levels[:, None] * self.frequencies
        sinusoid = torch.cat([phase.cos(), phase.sin()], dim=-1)
        modulation, embedded = network.time_embed.t_embedder(sinusoid), network.time_embed.norm(sinusoid)
        positions = None if network.learnable_pos_embed is None else self._learned((time, rows, columns))
        if network.config.use_crossattn_projection:
            prompt = network.crossattn_proj(prompt)
        x = tokens.reshape(noise_levels.shape[0], -1, tokens.shape[-1])
        positions = None if positions is None else positions.reshape(x.shape)
        for block in network.transformer_blocks:
            x = block(x, prompt, embedded, modulation, (self.cos, self.sin), positions, None)
        x = network.proj_out(network.norm_out(x, embedded, modulation)).flatten(0, 1).unsqueeze(0)
        deep, high, wide = network.config.patch_size
        x = x.unflatten(2, (high, wide, deep, -1)).unflatten(1, (time, rows, columns))
        # diffusers' own order, which is not that of its patching, and correct.
        return x.permute(0, 7, 1, 6, 2, 4, 3, 5).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def _learned(self, grid: tuple[int, int, int]) -> Tensor:
        """Learned positions (1, tokens, width), each of length sqrt(width)."""
        learned = self.transformer.learnable_pos_embed
        time, rows, columns = grid
        summed = (
            learned.pos_emb_t[:time, None, None]
            + learned.pos_emb_h[None, :rows, None]
            + learned.pos_emb_w[None, None, :columns]
        )
        flat = summed.flatten(0, 2).unsqueeze(0)
        return flat / (learned.eps + flat.norm(dim=-1, keepdim=True) * flat.shape[-1] ** -0.5)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x[i], x[i + n/2]) of the last axis by angles given twice, once for each half."""
    real, imaginary = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-imaginary, real], dim=-1) * sin
