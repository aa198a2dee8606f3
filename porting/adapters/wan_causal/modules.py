"""Causal Wan's components: the prompt's keys and values once a session, and a step of a chunk among cached chunks.

The published architecture, run from the parts of diffusers' `WanTransformer3DModel`, whose weights it shares; diffusers
has no causal form of it. Source: guandeh17/Self-Forcing, wan/modules/causal_model.py, utils/wan_wrapper.py and
pipeline/causal_inference.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.wan.config import LEVELS
from porting.adapters.wan.transformer import (
    Conditioning,
    finish,
    join_heads,
    modulate,
    normalise,
    project,
    rotate,
    split,
)

Pair = tuple[Tensor, Tensor]
"""Keys and values."""


class Conditioner(nn.Module):
    """Keys and values of what a session is conditioned on, in every block: they stay the same for all of it."""

    def __init__(self, transformer: Any, embedder: nn.Module) -> None:
        """For the transformer's attention over what `embedder` makes of the conditioning."""
        super().__init__()
        attentions = [block.attn2 for block in transformer.blocks]
        self.embedder, self.heads = embedder, attentions[0].heads
        self.to_k = nn.ModuleList(attention.to_k for attention in attentions)
        self.norm_k = nn.ModuleList(attention.norm_k for attention in attentions)
        self.to_v = nn.ModuleList(attention.to_v for attention in attentions)

    def forward(self, conditioning: Tensor) -> tuple[Tensor, ...]:
        """conditioning (1, tokens, width) -> key and value (1, heads, tokens, head width) of block after block."""
        embedded = self.embedder(conditioning)
        made: list[Tensor] = []
        for to_k, norm_k, to_v in zip(self.to_k, self.norm_k, self.to_v, strict=True):
            made += [split(norm_k(to_k(embedded)), self.heads), split(to_v(embedded), self.heads)]
        return tuple(made)


class Rotation(nn.Module):
    """Turns by place and time, relative to the chunk that is being made.

    A key is cached turned by its place and by its frame within its chunk, and turned back by its chunk's age when it is
    read. Angles between any two frames are those of absolute positions, and ages stay small where positions would not:
    only a sink's age grows, and it stops where the published table of rotations ends.
    """

    def __init__(self, places: Pair, ages: Pair) -> None:
        """Keep the tables.

        Args:
            places: cosines and sines of a chunk's tokens, (..., tokens, pairs).
            ages: of chunks, (ages, pairs that time turns): row a is the turn of as many frames as a chunks have.
        """
        super().__init__()
        self.cos, self.sin = (nn.Buffer(table.contiguous(), persistent=False) for table in places)
        self.age_cos, self.age_sin = (nn.Buffer(table.contiguous(), persistent=False) for table in ages)

    def turn(self, x: Tensor) -> Tensor:
        """x (rows, heads, tokens, head width) of a chunk."""
        return _rotate_front(x, self.cos, self.sin)

    def turn_back(self, keys: Tensor, age: Tensor) -> Tensor:
        """keys (rows, heads, slots, tokens, head width), age (slots,) int64 in chunks: turned by -age in time."""
        row = age.clamp(max=self.age_cos.shape[0] - 1)
        return _rotate_front(keys, self.age_cos[row][:, None], -self.age_sin[row][:, None])


def rotation_of(transformer: Any, latents_shape: tuple[int, ...]) -> Rotation:
    """The turns of a `WanTransformer3DModel` for a chunk of latents (1, T, C, h, w)."""
    _, time, channels, height, width = latents_shape
    rope = transformer.rope
    cos, sin = rope(torch.zeros(1, channels, time, height, width))
    # Each angle is there twice, for both of a pair; heads come before tokens here.
    places = cos[..., ::2].transpose(1, 2), sin[..., 1::2].transpose(1, 2)
    return Rotation(places, (rope.freqs_cos[::time, : rope.t_dim : 2], rope.freqs_sin[::time, 1 : rope.t_dim : 2]))


class Denoiser(nn.Module):
    """One step of a chunk: its clean latents as the network sees them, and those with fresh noise for the next step.

    The same graph commits a finished chunk: it is run once more at the timestep of context, for its keys and values.
    """

    def __init__(self, transformer: Any, latents_shape: tuple[int, ...]) -> None:
        """Wrap a `WanTransformer3DModel` for chunks of latents (1, T, C, h, w)."""
        super().__init__()
        self.transformer, self.conditioning = transformer, Conditioning(transformer)
        self.rotation = rotation_of(transformer, latents_shape)
        self.layers = len(transformer.blocks)

    def forward(
        self,
        latents: Tensor,
        noise: Tensor,
        timestep: Tensor,
        next_timestep: Tensor,
        age: Tensor,
        *caches: Tensor,
    ) -> tuple[Tensor, ...]:
        """One step.

        Args:
            latents: (1, T, C, h, w) at `timestep`.
            noise: the same shape, standard normal: what is mixed in for the next step.
            timestep: (1,), in thousandths.
            next_timestep: (1,); 0 where the clean latents are asked for.
            age: (slots,) int64: chunks since a slot was written, 0 for never.
            caches: of every block, the prompt's key and value (1, heads, prompt tokens, head width); then of every
                block, cached keys and values (1, heads, slots, tokens, head width).

        Returns:
            The latents at `next_timestep`; then of every block this chunk's key and value (1, heads, tokens, head
            width).
        """
        network, prompts, rings = self.transformer, pairs(caches[: 2 * self.layers]), pairs(caches[2 * self.layers :])
        patches = network.patch_embedding(latents.transpose(1, 2))
        x = patches.flatten(2).transpose(1, 2)
        embedded, modulation = self.conditioning(timestep)
        mask = see_past(age, x.shape[1])
        new: list[Tensor] = []
        for block, prompt, ring in zip(network.blocks, prompts, rings, strict=True):
            changes = modulate(block, modulation)
            x, made = look_back(block, x, changes, self.rotation, ring, age, mask)
            x = look_at(block, x, prompt)
            x = feed(block, x, changes)
            new += made
        velocity = finish(network, x, embedded, tuple(patches.shape[2:]))
        return (mix(latents, velocity, noise, timestep, next_timestep), *new)


def pairs(caches: Sequence[Tensor]) -> list[Pair]:
    """Keys and values that stand one after another."""
    return list(zip(caches[::2], caches[1::2], strict=True))


def see_past(age: Tensor, tokens: int) -> Tensor:
    """Which of the cached chunks' tokens and of the chunk's own each of its tokens sees: (1, 1, tokens, all), bool."""
    seen = torch.cat([age > 0, age[:1] >= 0])
    return seen[:, None].expand(-1, tokens).flatten().expand(1, 1, tokens, -1)


def attend_back(query: Tensor, own: Pair, rotation: Rotation, ring: Pair, age: Tensor, mask: Tensor) -> Tensor:
    """A chunk's queries (rows, heads, tokens, head width), all turned, over a ring and its own keys and values."""
    rows = query.shape[0]
    keys = torch.cat([rotation.turn_back(ring[0], age).flatten(2, 3), own[0]], dim=2)
    values = torch.cat([ring[1].flatten(2, 3), own[1]], dim=2)
    if keys.shape[0] != rows:
        keys, values = keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)


def look_back(
    block: Any, x: Tensor, changes: Sequence[Tensor], rotation: Rotation, ring: Pair, age: Tensor, mask: Tensor
) -> tuple[Tensor, Pair]:
    """A block's attention over the ring and the chunk itself; the chunk's keys and values, turned."""
    shift, scale, gate = changes[:3]
    query, key, value = project(block.attn1, normalise(block.norm1, x) * (1 + scale) + shift)
    own = rotation.turn(key), value
    made = attend_back(rotation.turn(query), own, rotation, ring, age, mask)
    return x + gate * join_heads(block.attn1, made), own


def look_at(block: Any, x: Tensor, prompt: Pair) -> Tensor:
    """A block's attention over what the session is conditioned on."""
    query = split(block.attn2.norm_q(block.attn2.to_q(normalise(block.norm2, x))), block.attn2.heads)
    return x + join_heads(block.attn2, F.scaled_dot_product_attention(query, *prompt))


def feed(block: Any, x: Tensor, changes: Sequence[Tensor]) -> Tensor:
    """A block's feed-forward."""
    shift, scale, gate = changes[3:]
    made: Tensor = x + gate * block.ffn(normalise(block.norm3, x) * (1 + scale) + shift)
    return made


def mix(latents: Tensor, velocity: Tensor, noise: Tensor, timestep: Tensor, next_timestep: Tensor) -> Tensor:
    """The clean latents that a velocity points at, with as much noise as the next step begins with."""
    clean, level = latents - velocity * (timestep / LEVELS), next_timestep / LEVELS
    return (1 - level) * clean + level * noise


def _rotate_front(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn as many pairs as there are angles; what is behind them stays."""
    turned = 2 * cos.shape[-1]
    if turned == x.shape[-1]:
        return rotate(x, cos, sin)
    front, rest = x.split([turned, x.shape[-1] - turned], dim=-1)
    return torch.cat([rotate(front, cos, sin), rest], dim=-1)
