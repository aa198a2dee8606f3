"""Cosmos 3's transformer from the parts of diffusers' class: the prompt is read once a session, a chunk at every step.

Source: diffusers, Cosmos3OmniTransformer. The prompt's pathway sees nothing but the prompt, so that what a chunk's
pathway sees of it, keys and values of every layer, is the same at every step and is kept. Tokens have fixed places:
nothing is scattered into a packed sequence, and the head of one body is chosen when the module is made.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.cosmos3_omni.config import Position, Settings, place_chunk, place_prompt
from porting.adapters.cosmos_predict.transformer import rotate
from porting.adapters.cosmos_predict2.config import Chunk
from porting.adapters.exact import use_exact_norms


class Reader(nn.Module):
    """A prompt's token numbers to what every layer keeps of them."""

    def __init__(self, transformer: Any, settings: Settings) -> None:
        """Wrap a `Cosmos3OmniTransformer` for prompts of one length."""
        super().__init__()
        use_exact_norms(transformer)
        self.embed_tokens, self.layers = transformer.embed_tokens, transformer.layers
        cos, sin = tabulate(transformer, place_prompt(settings))
        self.cos, self.sin = nn.Buffer(cos, persistent=False), nn.Buffer(sin, persistent=False)

    def forward(self, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """prompt (1, tokens) int64 -> keys and values (layers, key heads, tokens, head width)."""
        x = self.embed_tokens(prompt[0])
        keys, values = [], []
        for index, layer in enumerate(self.layers):
            attn, normed = layer.self_attn, layer.input_layernorm(x)
            query, key, value = (split(part(normed), attn) for part in (attn.to_q, attn.to_k, attn.to_v))
            query, key = attn.norm_q(query), attn.norm_k(key)
            shown = key if attn.k_norm_und_for_gen is None else attn.k_norm_und_for_gen(key)
            keys.append(rotate(shown, self.cos, self.sin))
            values.append(value)
            if index < len(self.layers) - 1:  # what the last layer makes of the prompt is seen by nobody
                query, key = rotate(query, self.cos, self.sin), rotate(key, self.cos, self.sin)
                x = x + attn.to_out(attend(query, key, value, causal=True))
                x = x + layer.mlp(layer.post_attention_layernorm(x))
        return torch.stack(keys), torch.stack(values)


class Generator(nn.Module):
    """The network alone: a chunk's noisy latents and its actions to their velocities."""

    def __init__(self, transformer: Any, settings: Settings, chunk: Chunk) -> None:
        """Wrap a `Cosmos3OmniTransformer` for one size of chunk and one body; the first latent frame is given."""
        super().__init__()
        use_exact_norms(transformer)
        config = transformer.config
        self.transformer, self.chunk, self.patch = transformer, chunk, config.latent_patch_size
        self.policy, self.domain, self.scale = settings.policy, settings.domain, config.timestep_scale
        self.padding, self.action_width = config.action_dim - settings.action_width, settings.action_width
        cos, sin = tabulate(transformer, place_chunk(settings, config, chunk))
        self.cos, self.sin = nn.Buffer(cos, persistent=False), nn.Buffer(sin, persistent=False)
        half = transformer.time_proj.num_channels // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half)
        self.frequencies = nn.Buffer(frequencies.float(), persistent=False)

    def forward(
        self, latents: Tensor, actions: Tensor, timestep: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, ...]:
        """One look at a chunk.

        Args:
            latents: (1, T, C, h, w), the first frame clean.
            actions: (1, A, action width).
            timestep: (1,), the noise level in thousandths.
            keys: (layers, key heads, prompt tokens, head width), as `Reader` tells them.
            values: the shape of `keys`.

        Returns:
            Velocities of all but the first latent frame, (1, T - 1, C, h, w), and, where actions are made, of them.
        """
        network = self.transformer
        phase = timestep * self.scale * self.frequencies
        time = network.time_embedder(torch.cat([phase.cos(), phase.sin()])[None])
        frames = network.proj_in(self._patch(latents[0]))
        frames = torch.cat([frames[:1], frames[1:] + time]).flatten(0, 1)
        given = F.pad(actions[0], (0, self.padding))
        moves = self._of_domain(network.action_proj_in, given) + network.action_modality_embed
        x = torch.cat([frames, moves + time if self.policy else moves])
        for index, layer in enumerate(network.layers):
            x = self._run_layer(layer, x, keys[index], values[index])
        x = network.norm_moe_gen(x)
        first, end = frames.shape[0] // self.chunk.frames, frames.shape[0]
        velocity = self._unpatch(network.proj_out(x[first:end]))[None]
        if not self.policy:
            return (velocity,)
        return velocity, self._of_domain(network.action_proj_out, x[end:])[None, :, : self.action_width]

    def _run_layer(self, layer: Any, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        attn, normed = layer.self_attn, layer.input_layernorm_moe_gen(x)
        query, key, value = (split(part(normed), attn) for part in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj))
        query = rotate(attn.norm_added_q(query), self.cos, self.sin)
        key = rotate(attn.norm_added_k(key), self.cos, self.sin)
        made = attend(query, torch.cat([keys, key], dim=1), torch.cat([values, value], dim=1), causal=False)
        x = x + attn.to_add_out(made)
        run: Tensor = x + layer.mlp_moe_gen(layer.post_attention_layernorm_moe_gen(x))
        return run

    def _of_domain(self, linear: Any, x: Tensor) -> Tensor:
        """One body's own projection of x (tokens, width)."""
        weight = linear.fc.weight[self.domain].view(linear.input_size, linear.output_size)
        projected: Tensor = x @ weight + linear.bias.weight[self.domain]
        return projected

    def _patch(self, latents: Tensor) -> Tensor:
        """(T, C, h, w) -> (T, patches, patch * patch * C)."""
        cells = latents.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))
        return cells.permute(0, 2, 4, 3, 5, 1).flatten(3, 5).flatten(1, 2)

    def _unpatch(self, tokens: Tensor) -> Tensor:
        """(frames * patches, patch * patch * C) -> (frames, C, h, w)."""
        rows, columns = self.chunk.height // self.patch, self.chunk.width // self.patch
        cells = tokens.reshape(-1, rows, columns, self.patch, self.patch, self.chunk.channels)
        return cells.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def tabulate(transformer: Any, places: Sequence[Position]) -> tuple[Tensor, Tensor]:
    """Cosines and sines (tokens, head width) of the class's own rotation."""
    positions = torch.tensor(places, dtype=torch.float32).T[:, None]
    cos, sin = transformer.rotary_emb(positions, device=positions.device, dtype=torch.float32)
    return cos[0], sin[0]


def split(x: Tensor, attn: Any) -> Tensor:
    """(tokens, heads * head width) -> (heads, tokens, head width)."""
    return x.unflatten(1, (-1, attn.head_dim)).transpose(0, 1)


def attend(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
    """query (heads, n, d), key and value (key heads, m, d), each shared by neighbouring heads -> (n, heads * d)."""
    shared = query.shape[0] // key.shape[0]
    key, value = key.repeat_interleave(shared, dim=0), value.repeat_interleave(shared, dim=0)
    made = F.scaled_dot_product_attention(query[None], key[None], value[None], is_causal=causal)
    return made[0].transpose(0, 1).flatten(1)
