"""AnyFlow FAR's transformer, run from the parts of diffusers' class: real rotations, no mask of blocks, no own cache.

Source: diffusers, AnyFlowFARTransformer3DModel: `_forward_inference`, and `_forward_cache`, which computes all chunks
anew. A chunk sees no later one, so that what a compressed chunk leaves behind never changes: here it is computed once,
when the chunk stops being recent, and only the recent ones are computed anew.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.anyflow_far.config import World
from porting.adapters.anyflow_far.rotation import Rotations
from porting.adapters.exact import use_exact_norms
from porting.adapters.wan.transformer import finish, join_heads, modulate, normalise, project, rotate

HIDDEN = -1e4
"""Added to what attention must not see: its share is 0 in every floating format."""


class Context(NamedTuple):
    """Compressed chunks, a slot each."""

    ages: Tensor
    """(window,) int64."""
    keys: Tensor
    """(1, window, layers, heads, tokens of one, head width), unrotated."""
    values: Tensor
    present: Tensor
    """(1, window, frames of a chunk): 1 for a latent frame that is there."""


class Conditioning(nn.Module):
    """Both ends of a step and the prompt to what the blocks take, from the parts of `condition_embedder`."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.embedder = transformer.condition_embedder
        self.share = float(transformer.config.gate_value)
        self.takes_interval = transformer.config.deltatime_type == "t-r"
        half = transformer.config.freq_dim // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half)
        self.frequencies = nn.Buffer(frequencies.float(), persistent=False)

    def forward(self, timestep: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Where a step begins and ends, (1,) each -> embedded (1, width), modulation (1, 6, width) of every block."""
        here = self.embedder.time_embedder(self._wave(timestep))
        there = self.embedder.delta_embedder(self._wave(timestep - target if self.takes_interval else target))
        embedded = (1 - self.share) * here + self.share * there
        return embedded, self.embedder.time_proj(F.silu(embedded)).unflatten(1, (6, -1))

    def embed_prompt(self, prompt: Tensor) -> Tensor:
        """(1, tokens, prompt width) -> (1, tokens, width)."""
        embedded: Tensor = self.embedder.text_embedder(prompt)
        return embedded

    def _wave(self, time: Tensor) -> Tensor:
        phase = time[:, None] * self.frequencies
        return torch.cat([phase.cos(), phase.sin()], dim=-1)


class Transformer(nn.Module):
    """The network: a chunk's velocity, and what made chunks leave behind for later ones."""

    def __init__(self, transformer: Any, world: World) -> None:
        """Wrap an `AnyFlowFARTransformer3DModel`."""
        super().__init__()
        use_exact_norms(transformer)
        self.world, self.rotations = world, Rotations(world)
        self.transformer, self.conditioning = transformer, Conditioning(transformer)

    def denoise(
        self,
        latents: Tensor,
        timestep: Tensor,
        target: Tensor,
        prompt: Tensor,
        context: Context,
        recent_keys: Tensor,
        recent_values: Tensor,
        recent_present: Tensor,
    ) -> Tensor:
        """A chunk's mean velocity from one noise level to another.

        Args:
            latents: (1, F, C, h, w).
            timestep: (1,), where the step begins, in thousandths.
            target: (1,), where it ends.
            prompt: (1, tokens, width).
            context: compressed chunks.
            recent_keys: (1, layers, heads, tokens of all recent chunks, head width), unrotated.
            recent_values: of the same shape.
            recent_present: (1, frames of all recent chunks).

        Returns:
            (1, F, C, h, w).
        """
        network, world = self.transformer, self.world
        x, grid = self._embed(network.patch_embedding, latents)
        embedded, modulation = self.conditioning(timestep, target)
        words = self.conditioning.embed_prompt(prompt)
        now, recent, past = (
            self.rotations.table("now"),
            self.rotations.table("recent"),
            self.rotations.context(context.ages),
        )
        seen = x.new_zeros(1, 1, 1, world.chunk_tokens + world.padding)
        hidden = torch.cat([self._hide_context(context), hide(recent_present.clamp(0, 1), world.grid), seen], dim=-1)
        for layer, block in enumerate(network.blocks):
            modulated = modulate(block, modulation)
            query, key, value = project(block.attn1, _scale(block.norm1, x, modulated[0], modulated[1]))
            old_keys, old_values = _of_layer(context, layer)
            padding = key.new_zeros(1, world.heads, world.padding, world.head_width)
            keys = [rotate(old_keys, *past), rotate(recent_keys[:, layer], *recent), rotate(key, *now), padding]
            values = [old_values, recent_values[:, layer], value, padding]
            made = F.scaled_dot_product_attention(
                rotate(query, *now), torch.cat(keys, dim=2), torch.cat(values, dim=2), attn_mask=hidden
            )
            x = _finish_block(block, x, words, modulated, join_heads(block.attn1, made))
        return finish(network, x, embedded, grid)

    def record(
        self,
        leaving: Tensor,
        leaving_present: Tensor,
        kept: Tensor,
        kept_present: Tensor,
        prompt: Tensor,
        context: Context,
    ) -> tuple[Tensor, Tensor]:
        """What clean chunks leave behind: keys and values of all layers (1, layers, heads, tokens, head width).

        Tokens are those of the chunk that becomes compressed, then those of the chunks that are kept whole.

        Args:
            leaving: (1, F, C, h, w), the chunk that becomes compressed.
            leaving_present: (1, F), which of its frames are there.
            kept: (1, frames of all recent chunks, C, h, w), the one just made last.
            kept_present: (1, frames of all recent chunks).
            prompt: (1, tokens, width).
            context: what was compressed before.
        """
        network, rotations = self.transformer, self.rotations
        x = torch.cat(
            [self._embed(network.far_patch_embedding, leaving)[0], self._embed(network.patch_embedding, kept)[0]], dim=1
        )
        clean = x.new_zeros(1)
        _, modulation = self.conditioning(clean, clean)
        words = self.conditioning.embed_prompt(prompt)
        table = self._kept_table()
        past, hiddens = rotations.context(context.ages), self._hide_later(leaving_present, kept_present, context)
        keys, values = [], []
        for layer, block in enumerate(network.blocks):
            modulated = modulate(block, modulation)
            query, key, value = project(block.attn1, _scale(block.norm1, x, modulated[0], modulated[1]))
            keys.append(key)
            values.append(value)
            if layer == len(network.blocks) - 1:
                break  # nobody reads what the last one makes of them
            old_keys, old_values = _of_layer(context, layer)
            made = self._attend_by_chunk(
                (rotate(query, *table), rotate(key, *table), value), (rotate(old_keys, *past), old_values), hiddens
            )
            x = _finish_block(block, x, words, modulated, join_heads(block.attn1, made))
        return torch.stack(keys, dim=1), torch.stack(values, dim=1)

    def _attend_by_chunk(
        self, own: tuple[Tensor, Tensor, Tensor], old: tuple[Tensor, Tensor], hiddens: list[Tensor]
    ) -> Tensor:
        """Each chunk over all that came before it and itself; `own` and `old` (1, heads, tokens, head width)."""
        sizes = [self.world.far_chunk_tokens] + [self.world.chunk_tokens] * self.world.recent
        queries, keys, values = (part.split(sizes, dim=2) for part in own)
        made = [
            F.scaled_dot_product_attention(
                queries[chunk],
                torch.cat([old[0], *keys[: chunk + 1]], dim=2),
                torch.cat([old[1], *values[: chunk + 1]], dim=2),
                attn_mask=hidden,
            )
            for chunk, hidden in enumerate(hiddens)
        ]
        return torch.cat(made, dim=2)

    def _hide_later(self, leaving_present: Tensor, kept_present: Tensor, context: Context) -> list[Tensor]:
        """For each chunk, what it must not see of all up to itself."""
        world = self.world
        # Clamped once: the exporter loses a clamp that is asked for twice.
        chunks = [(leaving_present.clamp(0, 1), world.far_grid)]
        chunks += [(present, world.grid) for present in kept_present.clamp(0, 1).split(world.frames, dim=1)]
        hiddens, earlier = [], [self._hide_context(context)]
        for present, grid in chunks:
            # A chunk of which nothing is there sees itself: what becomes of it is hidden from all others.
            own = hide(1 - present.amax(dim=1, keepdim=True) * (1 - present), grid)
            hiddens.append(torch.cat([*earlier, own], dim=-1))
            earlier.append(hide(present, grid))
        return hiddens

    def _kept_table(self) -> tuple[Tensor, Tensor]:
        """Rotations of the chunk that leaves, of the recent ones without it, and of the one just made."""
        leaving, recent, now = (self.rotations.table(name) for name in ("leaving", "recent", "now"))
        cos, sin = (
            torch.cat([leaving[i], recent[i][self.world.chunk_tokens :], now[i]]) for i in range(2)
        )  # fmt: skip
        return cos, sin

    def _hide_context(self, context: Context) -> Tensor:
        return hide(context.present.flatten(1, 2).clamp(0, 1), self.world.far_grid)

    @staticmethod
    def _embed(patches: nn.Module, latents: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """latents (1, T, C, h, w) -> tokens (1, T * rows * columns, width), and (T, rows, columns)."""
        tokens = patches(latents.transpose(1, 2))
        return tokens.flatten(2).transpose(1, 2), tuple(tokens.shape[2:])


def hide(present: Tensor, grid: tuple[int, int]) -> Tensor:
    """present (1, frames) in [0, 1] -> (1, 1, 1, tokens): added to scores, 0 for what is there."""
    tokens = (1 - present)[:, :, None].expand(-1, -1, grid[0] * grid[1])
    return tokens.reshape(1, 1, 1, -1) * HIDDEN


def _of_layer(context: Context, layer: int) -> tuple[Tensor, Tensor]:
    """Keys and values of one layer, (1, heads, window * tokens, head width)."""
    keys, values = (part[:, :, layer].transpose(1, 2).flatten(2, 3) for part in (context.keys, context.values))
    return keys, values


def _scale(norm: nn.Module, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return normalise(norm, x) * (1 + scale) + shift


def _finish_block(block: Any, x: Tensor, words: Tensor, modulated: tuple[Tensor, ...], attended: Tensor) -> Tensor:
    """The rest of a block: the gate, attention over the prompt, and the feed-forward."""
    _, _, gate, shift, scale, wide_gate = modulated
    x = x + gate * attended
    query, key, value = project(block.attn2, normalise(block.norm2, x), words)
    x = x + join_heads(block.attn2, F.scaled_dot_product_attention(query, key, value))
    made: Tensor = x + wide_gate * block.ffn(_scale(block.norm3, x, shift, scale))
    return made
