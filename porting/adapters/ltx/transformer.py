"""LTX-Video's diffusion transformer, run from the parts of diffusers' class without its casts and run-time tables.

Source: diffusers, LTXVideoTransformer3DModel.forward. Its rotations turn by up to 15,708 radians, where neighbouring
float32 numbers lie a thousandth apart: any other rounding of a frequency is another rotation. So they are computed
once, by the published code, and are constants here.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.conditioning import Sinusoid, exclude, keep_tokens
from porting.adapters.exact import use_exact_norms
from porting.adapters.ltx.norms import use_exact_plain_norms
from porting.adapters.wan.transformer import join_heads, project, rotate, split


class Transformer(nn.Module):
    """The network alone: noisy latents to their velocity."""

    def __init__(self, transformer: Any, latents_shape: tuple[int, ...], scales: tuple[float, float, float]) -> None:
        """Wrap an `LTXVideoTransformer3DModel`.

        Args:
            transformer: changed in place.
            latents_shape: (1, T, C, h, w).
            scales: seconds and pixels that a latent stands for, in time, height and width.
        """
        super().__init__()
        use_exact_norms(transformer)
        use_exact_plain_norms(transformer)
        _, self.time, _, self.height, self.width = latents_shape
        grid = {"num_frames": self.time, "height": self.height, "width": self.width}
        cos, sin = transformer.rope(torch.zeros(1, 1, 1), **grid, rope_interpolation_scale=scales)
        heads = transformer.config.num_attention_heads
        # Each angle is there twice, for both of a pair; angles go through all heads.
        self.cos = nn.Buffer(split(cos[..., ::2], heads).contiguous(), persistent=False)
        self.sin = nn.Buffer(split(sin[..., ::2], heads).contiguous(), persistent=False)
        self.transformer, self.sinusoid = transformer, Sinusoid()

    def forward(self, latents: Tensor, timestep: Tensor, prompts: Tensor, masks: Tensor) -> Tensor:
        """One answer a prompt.

        Args:
            latents: (1, T, C, h, w).
            timestep: (1,), the noise level in thousandths.
            prompts: (B, tokens, prompt width).
            masks: (B, tokens), 1 where a prompt has a token.

        Returns:
            (B, T, C, h, w).
        """
        network = self.transformer
        tokens = latents.permute(0, 1, 3, 4, 2).flatten(1, 3)
        x = network.proj_in(tokens).expand(prompts.shape[0], -1, -1)
        embedded = network.time_embed.emb.timestep_embedder(self.sinusoid(timestep))
        modulation = network.time_embed.linear(F.silu(embedded)).unflatten(1, (6, -1))
        prompts = network.caption_projection(prompts)
        excluded = exclude(keep_tokens(masks))[:, None, None]
        for block in network.transformer_blocks:
            x = self._run_block(block, x, modulation, prompts, excluded)
        shift, scale = (network.scale_shift_table + embedded[:, None]).chunk(2, dim=1)
        x = network.proj_out(network.norm_out(x) * (1 + scale) + shift)
        return x.unflatten(1, (self.time, self.height, self.width)).permute(0, 1, 4, 2, 3)

    def _run_block(self, block: Any, x: Tensor, modulation: Tensor, prompts: Tensor, excluded: Tensor) -> Tensor:
        """One block: attention over all tokens, over the prompt, and the feed-forward."""
        shift, scale, gate, wide_shift, wide_scale, wide_gate = (block.scale_shift_table + modulation).chunk(6, dim=1)
        query, key, value = project(block.attn1, block.norm1(x) * (1 + scale) + shift)
        query, key = rotate(query, self.cos, self.sin), rotate(key, self.cos, self.sin)
        x = x + gate * join_heads(block.attn1, F.scaled_dot_product_attention(query, key, value))
        query, key, value = project(block.attn2, x, prompts)
        made = F.scaled_dot_product_attention(query, key, value, attn_mask=excluded)
        x = x + join_heads(block.attn2, made)
        widened: Tensor = block.ff(block.norm2(x) * (1 + wide_scale) + wide_shift)
        return x + wide_gate * widened
