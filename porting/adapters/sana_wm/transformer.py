"""SANA-WM's transformer, run from the parts of diffusers' class: real rotations, no bfloat16, a mask that is added.

Source: diffusers, SanaWMTransformer3DModel.forward. A prompt and its negative are two runs over the same rays.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.exact import use_exact_norms
from porting.adapters.sana_wm.attention import attend, cross_attend
from porting.adapters.sana_wm.config import Clip
from porting.adapters.sana_wm.rays import Rotations, find_rays

HIDDEN = -1e4
"""Added to what attention must not see: its share is 0 in every floating format."""
TIME_WIDTH, TIME_PERIOD = 256, 10000.0
"""Of a noise level's waves."""
EPS = 1e-6
"""Of a block's layer norms."""
UNUSED = (
    "raymap_embedder.*",
    "blocks.*.attn.recall_gate",
    "blocks.*.attn.beta_proj.*",
    "blocks.*.attn.gate_proj.*",
    "blocks.*.attn.A_log",
    "blocks.*.attn.dt_bias",
)
"""What the published class stores and never reads: the gates of softmax blocks among them."""


class Transformer(nn.Module):
    """A clip's latents, its first frame clean, to their velocity."""

    def __init__(self, transformer: Any, clip: Clip) -> None:
        """Wrap a `SanaWMTransformer3DModel`."""
        super().__init__()
        use_exact_norms(transformer)
        _drop_unused(transformer)
        self.clip, self.transformer = clip, transformer
        self.rotations = Rotations(clip, transformer.config.linear_head_dim)
        places = torch.arange(TIME_WIDTH // 2, dtype=torch.float64) / (TIME_WIDTH // 2)
        self.frequencies = nn.Buffer((-math.log(TIME_PERIOD) * places).exp().float(), persistent=False)

    def forward(
        self, latents: Tensor, timesteps: Tensor, camera: Tensor, ray_map: Tensor, prompt: Tensor, mask: Tensor
    ) -> Tensor:
        """The whole clip's velocity.

        Args:
            latents: (1, T, C, h, w).
            timesteps: (T,), each frame's noise level in thousandths.
            camera: (1, T, 20).
            ray_map: (1, T, channels, h, w), the rays of every picture that a latent frame stands for.
            prompt: (1, L, width).
            mask: (1, L), 1 for a word that is there.

        Returns:
            (1, T, C, h, w).
        """
        network, clip = self.transformer, self.clip
        x = network.x_embedder(latents.transpose(1, 2))
        seen = network.plucker_embedder(ray_map.transpose(1, 2))
        embedded, modulation = self._embed_time(timesteps)
        words = network.y_embedder(prompt)
        words = network.attention_y_norm(words) if network.config.y_norm else words
        hidden = ((1 - mask.clamp(0, 1)) * HIDDEN)[:, None, None]
        rays, whole, half = find_rays(camera, clip), self.rotations.table("whole"), self.rotations.table("half")
        for block in network.blocks:
            shift, scale, gate, wide_shift, wide_scale, wide_gate = (
                block.scale_shift_table + modulation
            ).chunk(6, dim=1)  # fmt: skip
            x = x + self._by_frame(attend(block.attn, self._scale(x, shift, scale), clip, rays, whole, half), gate)
            if hasattr(block, "plucker_proj"):
                x = x + block.plucker_proj(seen)
            x = x + cross_attend(block.cross_attn, x, words, hidden)
            x = x + self._by_frame(block.mlp(self._scale(x, wide_shift, wide_scale), HW=clip.grid), wide_gate)
        made = network.final_layer(x, embedded[None, None])
        rows, columns = clip.patch
        made = made.unflatten(2, (rows, columns, -1)).unflatten(1, clip.grid)
        return made.permute(0, 1, 6, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)

    def _embed_time(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """(T,) -> (T, width), and modulation (T, 6, width) of every block."""
        phase = timesteps[:, None] * self.frequencies
        embedded = self.transformer.t_embedder(torch.cat([phase.cos(), phase.sin()], dim=-1))
        return embedded, self.transformer.t_block(embedded).unflatten(1, (6, -1))

    def _scale(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Layer norm without weights, then each frame's own (T, 1, width)."""
        normed = F.layer_norm(x, x.shape[-1:], eps=EPS).unflatten(1, (self.clip.frames, -1))
        return (normed * (1 + scale) + shift).flatten(1, 2)

    def _by_frame(self, x: Tensor, gate: Tensor) -> Tensor:
        return (x.unflatten(1, (self.clip.frames, -1)) * gate).flatten(1, 2)


def _drop_unused(transformer: Any) -> None:
    """Take out what the published class never reads. In place."""
    del transformer.raymap_embedder
    for block in transformer.blocks:
        del block.attn.recall_gate
        if not hasattr(block.attn, "conv_k"):  # softmax
            for name in ("beta_proj", "gate_proj", "A_log", "dt_bias"):
                delattr(block.attn, name)
