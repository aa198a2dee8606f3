"""The frame-causal denoiser: one step of rectified flow for a new frame, given the cached keys and values of the past.

Everything a step computes is inside the graph, the sampler's arithmetic and the temporal rotation of cached keys too.
Nothing is remembered here: the ring of keys and values and the history of latents come in and go out.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.gwm.config import GwmConfig

EPS = 1e-6
"""Of every norm."""
NOISE_FEATURES = 16
"""Sine-cosine pairs that describe the noise level."""


class RotaryAngles(nn.Module):
    """Real-valued 3-D RoPE, relative in time.

    Of a head's width, half turns with time and a quarter each with height and width. Cached keys are stored turned in
    space and *not* in time; they are turned by their age when they are read. Ages are small integers for ever, so frame
    1,000,000 is as exact as frame 1,000.
    Sources: RoFormer, arXiv 2104.09864, section 3.2; positions within the cache: StreamingLLM, arXiv 2309.17453, 3.2.
    """

    def __init__(self, config: GwmConfig) -> None:
        super().__init__()
        denoiser = config.denoiser
        self.temporal_width = denoiser.head_width // 2
        pairs = denoiser.head_width // 8
        spatial = denoiser.spatial_rope_base ** (-torch.arange(pairs) / pairs)
        temporal = denoiser.temporal_rope_base ** (-torch.arange(2 * pairs) / (2 * pairs))
        _, height, width = config.latent_shape
        rows = torch.arange(height // denoiser.patch).repeat_interleave(width // denoiser.patch)
        columns = torch.arange(width // denoiser.patch).repeat(height // denoiser.patch)
        place = torch.cat([rows[:, None] * spatial, columns[:, None] * spatial], dim=-1)
        self.place_cos = nn.Buffer(place.cos(), persistent=False)
        self.place_sin = nn.Buffer(place.sin(), persistent=False)
        # One row an age, computed once: a session never asks for a sine again.
        ages = torch.arange(denoiser.window + 1)[:, None] * temporal
        self.age_cos = nn.Buffer(ages.cos(), persistent=False)
        self.age_sin = nn.Buffer(ages.sin(), persistent=False)

    def turn_in_space(self, x: Tensor) -> Tensor:
        """x (B, heads, tokens, head_width): the spatial half turned by each token's row and column."""
        time, place = x.split([self.temporal_width, x.shape[-1] - self.temporal_width], dim=-1)
        return torch.cat([time, rotate(place, self.place_cos, self.place_sin)], dim=-1)

    def turn_back_in_time(self, keys: Tensor, age: Tensor) -> Tensor:
        """keys (B, heads, window, tokens, head_width), age (window,) int64 in [0, window]: turned by -age.

        The query stands at age 0 and is not turned at all.
        """
        time, place = keys.split([self.temporal_width, keys.shape[-1] - self.temporal_width], dim=-1)
        cos, sin = self.age_cos[age][:, None], -self.age_sin[age][:, None]
        return torch.cat([rotate(time, cos, sin), place], dim=-1)


class GatedMlp(nn.Module):
    """down(silu(gate(x)) * up(x)), gate and up in one matrix. Source: GLU variants, arXiv 2002.05202."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class RingAttention(nn.Module):
    """A frame's tokens attend to the ring of past frames and to one another."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_query = nn.RMSNorm(width // heads, eps=EPS)
        self.norm_key = nn.RMSNorm(width // heads, eps=EPS)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, angles: RotaryAngles, past: "Past", layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, tokens, width) -> the same shape, and this frame's key and value (B, heads, tokens, head_width)."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        query = angles.turn_in_space(self.norm_query(query))
        key = angles.turn_in_space(self.norm_key(key))
        past_keys = angles.turn_back_in_time(past.keys[layer], past.age)
        attended = F.scaled_dot_product_attention(
            query,
            torch.cat([past_keys.flatten(2, 3), key], dim=2),
            torch.cat([past.values[layer].flatten(2, 3), value], dim=2),
            attn_mask=past.mask,
        )
        return self.out(attended.transpose(1, 2).reshape(batch, tokens, width)), key, value


class Past:
    """What a step may look at: keys and values per layer (B, heads, window, tokens, head_width), ages, mask."""

    def __init__(self, config: GwmConfig, age: Tensor, rings: tuple[Tensor, ...]) -> None:
        """age (slots,) int64: frames since a slot was written, 1 = the frame before this one, 0 = never written.

        A sink's age stops at the place that it holds before the ring: window - slot. A session has `window` slots;
        training passes only those that are written.
        rings: key and value of layer 0, of layer 1, ...
        """
        window, sink, tokens = config.denoiser.window, config.denoiser.sink, config.tokens_per_frame
        self.keys, self.values = rings[0::2], rings[1::2]
        slot = torch.arange(age.shape[0], device=age.device)
        oldest = torch.where(slot < sink, window - slot, window)
        self.age = torch.minimum(age, oldest)
        written = (age > 0).repeat_interleave(tokens)
        visible = torch.cat([written, written.new_ones(tokens)])
        bias = torch.zeros(visible.shape, dtype=rings[0].dtype, device=age.device)
        bias = bias.masked_fill(~visible, -math.inf)
        self.mask = bias.expand(1, 1, tokens, -1)


class Block(nn.Module):
    """Pre-norm attention and gated MLP, both modulated by the noise level and the action (adaLN, shared projection)."""

    def __init__(self, config: GwmConfig) -> None:
        super().__init__()
        denoiser = config.denoiser
        self.attention = RingAttention(denoiser.width, denoiser.heads)
        self.mlp = GatedMlp(denoiser.width, denoiser.mlp_width)
        self.modulation = nn.Parameter(torch.zeros(6, denoiser.width))

    def forward(
        self, x: Tensor, modulation: Tensor, angles: RotaryAngles, past: Past, layer: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, tokens, width), modulation (B, 6, width) -> x, this frame's key, this frame's value."""
        parts = (modulation + self.modulation).unsqueeze(2).unbind(1)
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = parts
        attended, key, value = self.attention(modulate(x, scale_1, shift_1), angles, past, layer)
        x = x + (1 + gate_1) * attended
        x = x + (1 + gate_2) * self.mlp(modulate(x, scale_2, shift_2))
        return x, key, value


class Denoiser(nn.Module):
    """One rectified-flow step of one frame.

    The network predicts the clean latent as the previous latent plus a change; the velocity follows from it.
    Source: rectified flow, arXiv 2209.03003; adaLN, DiT, arXiv 2212.09748, section 3.2.
    """

    def __init__(self, config: GwmConfig) -> None:
        super().__init__()
        self.config = config
        denoiser = config.denoiser
        width, stem, patch = denoiser.width, denoiser.stem_width, denoiser.patch
        channels = config.latent_shape[0]
        self.patch = patch
        self.grid = tuple(side // patch for side in config.latent_shape[1:])
        self.stem_in = nn.Conv2d(3 * channels, stem, 3, padding=1)
        self.stem_out = nn.Conv2d(stem, stem, 3, padding=1)
        self.tokens_in = nn.Linear(stem * patch**2, width)
        self.position = nn.Parameter(torch.randn(config.tokens_per_frame, width) * 0.02)
        self.noise_embedding = _embedding(2 * NOISE_FEATURES, width)
        self.action_embedding = _embedding(config.action_width, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.modulation_out = nn.Linear(width, 2 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(denoiser.depth))
        self.tokens_out = nn.Linear(width, stem * patch**2)
        self.head_in = nn.Conv2d(stem, stem, 3, padding=1)
        self.head_out = nn.Conv2d(stem, channels, 3, padding=1)
        for layer in (self.modulation, self.modulation_out, self.head_out):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        frequencies = torch.exp(torch.linspace(0, math.log(100.0), NOISE_FEATURES)) * 3
        self.noise_frequencies = nn.Buffer(frequencies, persistent=False)
        self.angles = RotaryAngles(config)

    def forward(
        self,
        latent: Tensor,
        history: Tensor,
        noise_level: Tensor,
        next_noise_level: Tensor,
        action: Tensor,
        age: Tensor,
        *rings: Tensor,
    ) -> tuple[Tensor, ...]:
        """One step from `noise_level` to `next_noise_level`.

        Args:
            latent: (B, C, h, w), the frame at `noise_level`.
            history: (B, 2, C, h, w), the latents one and two frames before.
            noise_level: (B,) in (0, 1].
            next_noise_level: (B,) in [0, 1), lower than `noise_level`.
            action: (B, action_width), what leads to this frame.
            age: (window,) int64, see `Past`.
            rings: key and value (B, heads, window, tokens, head_width) of every layer.

        Returns:
            The latent at `next_noise_level`, the history one frame later (meaningful once the latent is clean), and
            every layer's key and value of this frame, (B, heads, tokens, head_width), turned in space only.
        """
        features, conditioning, stem, keys_values = self.trunk(
            latent, history, noise_level, action, Past(self.config, age, rings)
        )
        clean = history[:, 0] + self.head(features, conditioning, stem)
        level = noise_level.view(-1, 1, 1, 1)
        velocity = (latent - clean) / level
        stepped = latent + (next_noise_level.view(-1, 1, 1, 1) - level) * velocity
        return (stepped, torch.stack([latent, history[:, 0]], dim=1), *keys_values)

    def embed(
        self, latent: Tensor, history: Tensor, noise_level: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, tokens, width), the conditioning (B, width), the stem's features (B, stem_width, h, w)."""
        previous, before = history.unbind(1)
        stem = self.stem_in(torch.cat([latent, previous, (previous - before) * 2], dim=1))
        stem = self.stem_out(F.silu(stem))
        tokens = F.pixel_unshuffle(F.silu(stem), self.patch).flatten(2).transpose(1, 2)
        phase = noise_level[:, None] * self.noise_frequencies
        noise = self.noise_embedding(torch.cat([phase.cos(), phase.sin()], dim=-1))
        conditioning = F.silu(noise + self.action_embedding(action))
        return self.tokens_in(tokens) + self.position, conditioning, stem

    def trunk(
        self, latent: Tensor, history: Tensor, noise_level: Tensor, action: Tensor, past: Past
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Tokens after the last block, the conditioning, the stem's features, and this frame's keys and values."""
        x, conditioning, stem = self.embed(latent, history, noise_level, action)
        modulation = self.modulation(conditioning).unflatten(-1, (6, -1))
        keys_values: list[Tensor] = []
        for layer, block in enumerate(self.blocks):
            x, key, value = block(x, modulation, self.angles, past, layer)
            keys_values += [key, value]
        return x, conditioning, stem, keys_values

    def head(self, features: Tensor, conditioning: Tensor, stem: Tensor) -> Tensor:
        """The change from the previous latent, (B, C, h, w)."""
        scale, shift = self.modulation_out(conditioning).unsqueeze(1).chunk(2, dim=-1)
        return self.draw(modulate(features, scale, shift), stem)

    def draw(self, features: Tensor, stem: Tensor) -> Tensor:
        """The change from modulated features (B, tokens, width)."""
        tokens = self.tokens_out(features)
        x = F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, self.grid), self.patch)
        x = F.silu(stem + x)
        return self.head_out(F.silu(self.head_in(x)) + x)


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Layer norm without weights, then (1 + scale) and shift; x (B, tokens, width)."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale) + shift


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x[i], x[i + n/2]) of the last axis; cos and sin hold n/2 values on theirs."""
    real, imaginary = x.chunk(2, dim=-1)
    return torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)


def _embedding(in_features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_features, width), nn.SiLU(), nn.Linear(width, width))
