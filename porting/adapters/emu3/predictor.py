"""Emu3's text model on one token, over a static cache of keys and values: a ring of frames, and the frame being made.

Source: transformers, Emu3TextModel.forward. Keys are cached before their rotation: positions count from what the cache
holds, so that they stay below the model's own limit for ever. Norms compute in the dtype that they are given.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.emu3.config import Settings


class Predictor(nn.Module):
    """A token to the logits of the visual token after it."""

    def __init__(self, model: Any, settings: Settings, theta: float, first_visual: int, codes: int) -> None:
        """Wrap an `Emu3ForConditionalGeneration`."""
        super().__init__()
        self.network, self.head = model.model.text_model, model.lm_head
        self.settings, self.first_visual, self.codes = settings, first_visual, codes
        width = model.config.text_config.hidden_size // model.config.text_config.num_attention_heads
        self.groups = model.config.text_config.num_key_value_heads
        frequencies = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles = torch.arange(settings.positions, dtype=torch.float64)[:, None] * frequencies
        self.cos = nn.Buffer(angles.cos().float(), persistent=False)
        self.sin = nn.Buffer(angles.sin().float(), persistent=False)
        self.places = nn.Buffer(torch.arange(settings.frame_tokens), persistent=False)
        self.prompt = nn.Buffer(self.places < settings.prompt_tokens, persistent=False)

    def forward(
        self,
        token: Tensor,
        place: Tensor,
        age: Tensor,
        keys: Tensor,
        values: Tensor,
        own_keys: Tensor,
        own_values: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One token.

        Args:
            token: (1,) int64.
            place: (1,) int64, of the token within the prompt or the frame.
            age: (slots,) int64, frames since a slot was written, 0 for never; the prompt's slot comes first.
            keys: (layers, groups, slots, tokens, head width), before their rotation.
            values: the same shape.
            own_keys: (layers, groups, tokens, head width), of the prompt or frame that the token belongs to; what
                lies behind `place` is not looked at.
            own_values: the same shape.

        Returns:
            Logits (1, codes) of the next token among the visual ones, and own keys and values with the token's.
        """
        starts, own_start = self._find_starts(age)
        positions = torch.cat([(starts[:, None] + self.places).flatten(), own_start + self.places])
        turned, turn = self._angles(positions), self._angles(own_start + place)
        bias, here = self._hide(age, place), (self.places == place)[:, None]
        x = self.network.embed_tokens(token)
        made_keys, made_values = [], []
        for layer, block in enumerate(self.network.layers):
            query, key, value = self._project(block, x)
            made_keys.append(torch.where(here, key, own_keys[layer]))
            made_values.append(torch.where(here, value, own_values[layer]))
            seen = F.scaled_dot_product_attention(
                rotate(query, *turn)[None],
                rotate(torch.cat([keys[layer].flatten(1, 2), made_keys[-1]], dim=1), *turned)[None],
                torch.cat([values[layer].flatten(1, 2), made_values[-1]], dim=1)[None],
                attn_mask=bias.expand(1, 1, query.shape[1], -1),
            )
            x = x + block.self_attn.o_proj(seen.reshape(1, -1))
            x = x + block.mlp(normalise(block.post_attention_layernorm, x))
        head = self.head.weight[self.first_visual : self.first_visual + self.codes]
        logits = F.linear(normalise(self.network.norm, x), head)
        return logits, torch.stack(made_keys), torch.stack(made_values)

    def _find_starts(self, age: Tensor) -> tuple[Tensor, Tensor]:
        """The position of each slot's first token (slots,), and of the first of the frame being made (1,)."""
        settings, frames = self.settings, age[1:]
        held = (frames > 0).sum()
        starts = settings.prompt_tokens + (held - frames) * settings.frame_tokens
        # While the prompt itself is read, nothing stands before it.
        opened = (age[:1] > 0).to(age.dtype)
        own = opened * (settings.prompt_tokens + held * settings.frame_tokens)
        return torch.cat([torch.zeros_like(age[:1]), starts]), own

    def _hide(self, age: Tensor, place: Tensor) -> Tensor:
        """What is added to scores (cached and own tokens,): minus infinity where nothing was written."""
        written = (age > 0)[:, None]
        cached = torch.cat([written[:1] & self.prompt, written[1:] & (self.places >= 0)])
        visible = torch.cat([cached.flatten(), self.places <= place])
        bias = torch.zeros(visible.shape, dtype=self.cos.dtype, device=age.device)
        return bias.masked_fill(~visible, -math.inf)

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.cos[positions], self.sin[positions]

    def _project(self, block: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query (groups, heads of a group, head width), key and value (groups, 1, head width), not rotated."""
        attn, seen = block.self_attn, normalise(block.input_layernorm, x)
        query, key, value = (
            project(seen).reshape(self.groups, -1, attn.head_dim) for project in (attn.q_proj, attn.k_proj, attn.v_proj)
        )
        return query, key, value


def normalise(norm: Any, x: Tensor) -> Tensor:
    """An `Emu3RMSNorm` in its input's dtype."""
    return F.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x[i], x[i + half]) of the last axis; cos and sin (tokens, half)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
