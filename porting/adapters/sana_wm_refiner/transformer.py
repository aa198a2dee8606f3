"""The refiner's transformer, run from the parts of diffusers' class: pictures alone, no float32 casts, no cache inside.

Source: diffusers, SanaWMLTX2RefinerTransformer3DModel. All tokens of a call have one noise level, so that it is
embedded once. The published history is kept after it was rotated to absolute places; here keys are kept before.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.sana_wm_refiner.config import Stream
from porting.adapters.sana_wm_refiner.rotation import Rotations

UNUSED = (
    "audio_*",
    "av_cross_attn_*",
    "transformer_blocks.*.audio_*",
    "transformer_blocks.*.video_to_audio_*",
    "transformer_blocks.*.video_a2v_*",
)
"""What a checkpoint of LTX-2 has for sound: the published refiner keeps it and runs nothing of it."""
TIME_WIDTH, TIME_PERIOD = 256, 10000.0
"""Of a noise level's waves."""


class Past(NamedTuple):
    """What a block looks back at."""

    ages: Tensor
    """(slots,) int64."""
    sink_keys: Tensor
    """(1, layers, heads, tokens of the sink, head width), unrotated."""
    sink_values: Tensor
    history_keys: Tensor
    """(1, slots, layers, heads, tokens of a block, head width), unrotated."""
    history_values: Tensor


class Transformer(nn.Module):
    """The network: a block's velocity, and what frames leave behind."""

    def __init__(self, transformer: Any, stream: Stream, fps: float) -> None:
        """Wrap the published class; what is for sound is taken out of it."""
        super().__init__()
        self.stream, self.rotations = stream, Rotations(stream, transformer.rope, fps)
        _drop_sound(transformer)
        self.transformer, self.scale = transformer, float(transformer.config.timestep_scale_multiplier)
        places = torch.arange(TIME_WIDTH // 2, dtype=torch.float64) / (TIME_WIDTH // 2)
        self.frequencies = nn.Buffer((-math.log(TIME_PERIOD) * places).exp().float(), persistent=False)

    def denoise(self, latents: Tensor, sigma: Tensor, prompt: Tensor, past: Past) -> Tensor:
        """latents (1, B, C, h, w) at noise level `sigma` (1,), prompt (1, tokens, width) -> their velocity."""
        network, rotations = self.transformer, self.rotations
        x, modulation, embedded, words = self._begin(latents, sigma, prompt)
        now, hidden = rotations.table("now"), self._hide(past.ages)
        for layer, block in enumerate(network.transformer_blocks):
            modulated = _modulate(block, modulation)
            normed = _scale(block.norm1, x, modulated)
            query, key, value = _project(block.attn1, normed)
            keys, values = self._look_back(past, layer, rotations.turn(key, now), value)
            made = F.scaled_dot_product_attention(rotations.turn(query, now), keys, values, attn_mask=hidden)
            x = _finish_block(block, x, words, modulated, _join(block.attn1, normed, made))
        shift, scale = (network.scale_shift_table + embedded[:, None]).chunk(2, dim=1)
        x = F.layer_norm(x, x.shape[-1:], eps=network.norm_out.eps) * (1 + scale) + shift
        made = network.proj_out(x).unflatten(1, (latents.shape[1], self.stream.height, self.stream.width))
        return made.permute(0, 1, 4, 2, 3)

    def record(self, latents: Tensor, prompt: Tensor, past: Past | None) -> tuple[Tensor, Tensor]:
        """Clean frames (1, F, C, h, w) -> keys and values (1, layers, heads, tokens, head width), unrotated.

        Without a past they are the sink, which opens a session and sees itself alone.
        """
        network, rotations = self.transformer, self.rotations
        x, modulation, _, words = self._begin(latents, latents.new_zeros(1), prompt)
        now = rotations.table("opening" if past is None else "now")
        hidden = None if past is None else self._hide(past.ages)
        kept_keys, kept_values = [], []
        for layer, block in enumerate(network.transformer_blocks):
            modulated = _modulate(block, modulation)
            normed = _scale(block.norm1, x, modulated)
            query, key, value = _project(block.attn1, normed)
            kept_keys.append(key)
            kept_values.append(value)
            if layer == len(network.transformer_blocks) - 1:
                break  # nobody reads what the last one makes of them
            key = rotations.turn(key, now)
            keys, values = (key, value) if past is None else self._look_back(past, layer, key, value)
            made = F.scaled_dot_product_attention(rotations.turn(query, now), keys, values, attn_mask=hidden)
            x = _finish_block(block, x, words, modulated, _join(block.attn1, normed, made))
        return torch.stack(kept_keys, dim=1), torch.stack(kept_values, dim=1)

    def _begin(self, latents: Tensor, sigma: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens (1, F * h * w, width), modulation (1, 6, width), embedded level (1, width), words (1, L, width)."""
        network = self.transformer
        phase = self.scale * sigma[:, None] * self.frequencies
        embedded = network.time_embed.emb.timestep_embedder(torch.cat([phase.cos(), phase.sin()], dim=-1))
        modulation = network.time_embed.linear(F.silu(embedded)).unflatten(1, (6, -1))
        x = network.proj_in(latents.permute(0, 1, 3, 4, 2).flatten(1, 3))
        return x, modulation, embedded, network.caption_projection(prompt)

    def _hide(self, ages: Tensor) -> Tensor:
        """(1, 1, 1, keys) of a block's attention: sink and block are always seen."""
        hidden, stream = self.rotations.hide(ages), self.stream
        sink, now = (hidden.new_zeros(1, 1, 1, frames * stream.frame_tokens) for frames in (stream.sink, stream.block))
        return torch.cat([sink, hidden, now], dim=-1)

    def _look_back(self, past: Past, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys, rotated, and values of sink, history and block."""
        rotations = self.rotations
        history = [part[:, :, layer].transpose(1, 2).flatten(2, 3) for part in (past.history_keys, past.history_values)]
        keys = [
            rotations.turn(past.sink_keys[:, layer], rotations.sink(past.ages)),
            rotations.turn(history[0], rotations.history(past.ages)),
            key,
        ]
        return torch.cat(keys, dim=2), torch.cat([past.sink_values[:, layer], history[1], value], dim=2)


def _drop_sound(transformer: Any) -> None:
    """Take the audio stream, and what joins it to the pictures, out of the published class. In place."""
    for part in (transformer, *transformer.transformer_blocks):
        for name in [*part._modules, *part._parameters]:
            if name.startswith(("audio_", "av_cross_attn_", "video_to_audio_", "video_a2v_", "cross_attn_audio_")):
                delattr(part, name)


def _modulate(block: Any, modulation: Tensor) -> tuple[Tensor, ...]:
    """modulation (1, 6, width) -> six of (1, 1, width), the block's own values added."""
    return (block.scale_shift_table + modulation).chunk(6, dim=1)


def _normalise(norm: Any, x: Tensor) -> Tensor:
    """A root mean square norm in its input's dtype."""
    return F.rms_norm(x, x.shape[-1:], norm.weight, norm.eps)


def _scale(norm: Any, x: Tensor, modulated: tuple[Tensor, ...], start: int = 0) -> Tensor:
    return _normalise(norm, x) * (1 + modulated[start + 1]) + modulated[start]


def _project(attn: Any, x: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value (1, heads, tokens, head width); queries and keys normalised over all heads."""
    seen = x if seen is None else seen
    made = (attn.norm_q(attn.to_q(x)), attn.norm_k(attn.to_k(seen)), attn.to_v(seen))
    query, key, value = (part.unflatten(2, (attn.heads, -1)).transpose(1, 2) for part in made)
    return query, key, value


def _join(attn: Any, x: Tensor, made: Tensor) -> Tensor:
    """(1, heads, tokens, head width) -> (1, tokens, width): each head's gate, where it has one, and the projection."""
    made = made.transpose(1, 2)
    if attn.to_gate_logits is not None:
        made = made * (2 * torch.sigmoid(attn.to_gate_logits(x)))[..., None]
    joined: Tensor = attn.to_out[0](made.flatten(2, 3))
    return joined


def _finish_block(block: Any, x: Tensor, words: Tensor, modulated: tuple[Tensor, ...], attended: Tensor) -> Tensor:
    """The rest of a block: the gate, attention over the prompt, and the feed-forward."""
    x = x + attended * modulated[2]
    normed = _normalise(block.norm2, x)
    query, key, value = _project(block.attn2, normed, words)
    x = x + _join(block.attn2, normed, F.scaled_dot_product_attention(query, key, value))
    made: Tensor = x + block.ff(_scale(block.norm3, x, modulated, 3)) * modulated[5]
    return made
