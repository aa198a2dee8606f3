"""CogVideoX's diffusion transformer, run from the parts of diffusers' class without its float32 casts.

Source: diffusers, CogVideoXTransformer3DModel.forward and CogVideoXPipeline._prepare_rotary_positional_embeddings: the
positions of a fixed clip are constants here, and pairs are turned without writing into views.
"""

import math
from typing import Any

import torch
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.wan.transformer import join_heads, rotate, split


class Attend:
    """An attention processor over prompt and video at once; the video's queries and keys alone are rotated."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Video (B, tokens, width) and prompt (B, prompt tokens, width) -> both in these shapes."""
        told = encoder_hidden_states.shape[1]
        joined = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        query, key, value = (split(layer(joined), attn.heads) for layer in (attn.to_q, attn.to_k, attn.to_v))
        query, key = attn.norm_q(query), attn.norm_k(key)
        if image_rotary_emb is not None:
            query, key = (
                torch.cat([x[:, :, :told], rotate(x[:, :, told:], *image_rotary_emb)], dim=2) for x in (query, key)
            )
        made = join_heads(attn, F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask))
        return made[:, told:], made[:, :told]


class Transformer(nn.Module):
    """The network alone: noisy latents to their velocity."""

    def __init__(self, transformer: Any, latents_shape: tuple[int, ...]) -> None:
        """Wrap a `CogVideoXTransformer3DModel` for latents (1, T, C, h, w)."""
        super().__init__()
        config = transformer.config
        for block in transformer.transformer_blocks:
            block.attn1.set_processor(Attend())
        half = config.num_attention_heads * config.attention_head_dim // 2
        exponents = torch.arange(half, dtype=torch.float64) / (half - config.freq_shift)
        self.frequencies = nn.Buffer(torch.exp(-math.log(10000) * exponents).float(), persistent=False)
        self.transformer, self.rotates = transformer, bool(config.use_rotary_positional_embeddings)
        if self.rotates:
            cos, sin = measure_rotations(config, latents_shape)
            # Each angle is there twice, for both of a pair.
            self.cos = nn.Buffer(cos[:, ::2].contiguous(), persistent=False)
            self.sin = nn.Buffer(sin[:, ::2].contiguous(), persistent=False)
        else:
            _, time, _, height, width = latents_shape
            pictures = (time - 1) * config.temporal_compression_ratio + 1
            places = transformer.patch_embed._get_positional_embeddings(height, width, pictures)
            # In front stand zeros for the prompt.
            self.places = nn.Buffer(places[:, config.max_text_seq_length :].float().contiguous(), persistent=False)

    def forward(self, latents: Tensor, timestep: Tensor, prompts: Tensor) -> Tensor:
        """latents (1, T, C, h, w), timestep (1,), prompts (B, tokens, width) -> (B, T, C, h, w), one a prompt."""
        network = self.transformer
        embedded = self._embed_time(timestep)
        video = embed_patches(network, latents)
        if not self.rotates:
            video = video + self.places
        video = video.expand(prompts.shape[0], -1, -1)
        told = network.patch_embed.text_proj(prompts)
        rotation = (self.cos, self.sin) if self.rotates else None
        for block in network.transformer_blocks:
            video, told = block(
                hidden_states=video, encoder_hidden_states=told, temb=embedded, image_rotary_emb=rotation
            )
        made = network.proj_out(network.norm_out(network.norm_final(video), temb=embedded))
        return place_patches(network, made, latents.shape)

    def _embed_time(self, timestep: Tensor) -> Tensor:
        phase = timestep[:, None] * self.frequencies
        waves = (phase.cos(), phase.sin()) if self.transformer.config.flip_sin_to_cos else (phase.sin(), phase.cos())
        embedded: Tensor = self.transformer.time_embedding(torch.cat(waves, dim=-1))
        return embedded


def embed_patches(network: Any, latents: Tensor) -> Tensor:
    """latents (1, T, C, h, w) -> tokens (1, tokens, width)."""
    side, span = network.config.patch_size, network.config.patch_size_t
    if span is None:
        made: Tensor = network.patch_embed.proj(latents.flatten(0, 1))
        return made.flatten(2).transpose(1, 2).flatten(0, 1)[None]
    cut = latents.unflatten(4, (-1, side)).unflatten(3, (-1, side)).unflatten(1, (-1, span))
    # (1, T, span, C, rows, side, columns, side) with a patch's own values last, channels first.
    cut = cut.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)
    tokens: Tensor = network.patch_embed.proj(cut)
    return tokens


def place_patches(network: Any, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Patches (B, tokens, values) to (B, T, C, h, w), the sizes of `shape`."""
    side, span = network.config.patch_size, network.config.patch_size_t
    rows, columns = shape[3] // side, shape[4] // side
    # A patch's own values: channels first, then moments where it spans several, then rows and columns.
    x = x.unflatten(2, (-1, span or 1, side, side)).unflatten(1, (-1, rows, columns))
    return x.permute(0, 1, 5, 4, 2, 6, 3, 7).flatten(6, 7).flatten(4, 5).flatten(1, 2)


def measure_rotations(config: Any, latents_shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Cosines and sines (tokens, head width) of the video's tokens."""
    _, time, _, height, width = latents_shape
    side, span = config.patch_size, config.patch_size_t
    grid, base = (height // side, width // side), (config.sample_height // side, config.sample_width // side)
    if span is None:
        cos, sin = get_3d_rotary_pos_embed(config.attention_head_dim, crop_grid(grid, base), grid, time)
    else:
        cos, sin = get_3d_rotary_pos_embed(
            config.attention_head_dim, None, grid, (time + span - 1) // span, grid_type="slice", max_size=base
        )
    return cos, sin


def crop_grid(grid: tuple[int, int], base: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a grid of this shape lies, as large as it can be, in the middle of the one that was trained on."""
    height, width = grid
    if height / width > base[0] / base[1]:
        size = base[0], round(base[0] / height * width)
    else:
        size = round(base[1] / width * height), base[1]
    top, left = round((base[0] - size[0]) / 2), round((base[1] - size[1]) / 2)
    return (top, left), (top + size[0], left + size[1])
