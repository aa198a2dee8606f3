"""Helios' transformer, run from the parts of diffusers' class without its float32 casts and run-time tables.

Source: diffusers, HeliosTransformer3DModel.forward. The history stands before the chunk, the farthest first, in
patches of four, two and one latent frames; it is modulated as what is clean. Places in time count from the history's
beginning, so that rotations are constants, those of a coarser patch the mean over its cells.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.wan.transformer import Conditioning, join_heads, normalise, project, rotate

MID, LONG = 2, 4
"""Cells of a token of the nearer and of the farther history, along time, height and width."""


class Transformer(nn.Module):
    """The network alone: noisy latents and what came before them to their velocity."""

    def __init__(self, transformer: Any, latents_shape: tuple[int, ...], history: tuple[int, int, int]) -> None:
        """Wrap a `HeliosTransformer3DModel` for latents (1, T, C, h, w) and a history of so many frames a part."""
        super().__init__()
        _, time, _, height, width = latents_shape
        patch = transformer.config.patch_size
        self.grid = (time // patch[0], height // patch[1], width // patch[2])
        self.history = list(history)
        tables = _turn_history(transformer.rope, history, self.grid)
        past = sum(table.shape[0] for table in tables)
        start = 1 + sum(history)
        tables.append(_turn(transformer.rope, list(range(start, start + self.grid[0])), self.grid[1:], 1))
        cos, sin = torch.cat(tables).chunk(2, dim=-1)
        # Each angle is there twice, for both of a pair.
        self.cos = nn.Buffer(cos[:, ::2].contiguous(), persistent=False)
        self.sin = nn.Buffer(sin[:, ::2].contiguous(), persistent=False)
        self.past, self.tokens = past, self.grid[0] * self.grid[1] * self.grid[2]
        self.part = nn.Buffer((torch.arange(past + self.tokens) >= past).long(), persistent=False)
        self.network, self.conditioning = transformer, Conditioning(transformer)

    def forward(self, latents: Tensor, timestep: Tensor, history: Tensor, prefix: Tensor, prompts: Tensor) -> Tensor:
        """Velocities.

        Args:
            latents: (1, T, C, h, w).
            timestep: (1,), the noise level in thousandths.
            history: (1, past, C, h, w), oldest first.
            prefix: (1, 1, C, h, w), the video's first latent frame.
            prompts: (B, tokens, width).

        Returns:
            (B, T, C, h, w), one a prompt.
        """
        network = self.network
        far, near, last = history.split(self.history, dim=1)
        parts = (
            (network.patch_long, far),
            (network.patch_mid, near),
            (network.patch_short, torch.cat([prefix, last], dim=1)),
            (network.patch_embedding, latents),
        )
        x = torch.cat([patch(part.transpose(1, 2)).flatten(2).transpose(1, 2) for patch, part in parts], dim=1)
        x = x.expand(prompts.shape[0], -1, -1)
        clean = torch.zeros_like(timestep) if network.config.zero_history_timestep else timestep
        embedded, modulation = self.conditioning(torch.cat([clean, timestep]))
        prompts = self.conditioning.embed_prompt(prompts)
        for block in network.blocks:
            x = self._run_block(block, x, prompts, modulation)
        return self._finish(x[:, self.past :], embedded[1:])

    def _run_block(self, block: Any, x: Tensor, prompts: Tensor, modulation: Tensor) -> Tensor:
        told = (block.scale_shift_table + modulation)[self.part]
        shift, scale, gate, wide_shift, wide_scale, wide_gate = told.unbind(1)
        x = x + gate * self._attend(block.attn1, normalise(block.norm1, x) * (1 + scale) + shift)
        past, own = (x[:, : self.past], x[:, self.past :]) if block.guidance_cross_attn else (x[:, :0], x)
        own = own + look_at(block.attn2, normalise(block.norm2, own), prompts)
        x = torch.cat([past, own], dim=1) if block.guidance_cross_attn else own
        return x + wide_gate * block.ffn(normalise(block.norm3, x) * (1 + wide_scale) + wide_shift)

    def _attend(self, attn: Any, x: Tensor) -> Tensor:
        """Attention over history and chunk; where a checkpoint has learnt so, the history's keys are enlarged."""
        query, key, value = project(attn, x)
        query, key = rotate(query, self.cos, self.sin), rotate(key, self.cos, self.sin)
        if attn.is_amplify_history:
            factor = 1 + torch.sigmoid(attn.history_key_scale).view(1, -1, 1, 1) * (attn.max_scale - 1)
            key = torch.cat([key[:, :, : self.past] * factor, key[:, :, self.past :]], dim=2)
        return join_heads(attn, F.scaled_dot_product_attention(query, key, value))

    def _finish(self, x: Tensor, embedded: Tensor) -> Tensor:
        network = self.network
        shift, scale = (network.norm_out.scale_shift_table + embedded[:, None]).chunk(2, dim=1)
        x = network.proj_out(normalise(network.norm_out.norm, x) * (1 + scale) + shift)
        x = x.unflatten(2, (*network.config.patch_size, -1)).unflatten(1, self.grid)
        return x.permute(0, 1, 4, 7, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(1, 2)


def look_at(attn: Any, x: Tensor, prompts: Tensor) -> Tensor:
    """Attention over the prompt."""
    return join_heads(attn, F.scaled_dot_product_attention(*project(attn, x, prompts)))


def _turn_history(rope: Any, history: tuple[int, int, int], grid: tuple[int, ...]) -> list[Tensor]:
    """The rotations of the three parts, in the order of their tokens; place 0 is the first frame's."""
    far, near, last = history
    places = list(range(1, 1 + far + near + last))
    return [
        _turn(rope, places[:far], grid[1:], LONG),
        _turn(rope, places[far : far + near], grid[1:], MID),
        _turn(rope, [0, *places[far + near :]], grid[1:], 1),
    ]


def _turn(rope: Any, places: list[int], grid: tuple[int, ...], cells: int) -> Tensor:
    """Cosines and sines (tokens, 2 * head width) of frames at these places, the mean over so many cells each way."""
    table = rope(torch.tensor([places]), *grid, "cpu")
    table = F.avg_pool3d(table, cells, stride=cells) if cells > 1 else table
    pooled: Tensor = table.flatten(2)[0].T
    return pooled
