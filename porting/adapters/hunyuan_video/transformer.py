"""HunyuanVideo's diffusion transformer, run from the parts of diffusers' class without casts and boolean masks.

Source: diffusers, HunyuanVideoTransformer3DModel.forward: the rotations of a fixed clip are constants here, and a
prompt's missing tokens are left out of attention by what is added to scores.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.conditioning import Sinusoid, exclude, keep_tokens
from porting.adapters.exact import use_exact_norms
from porting.adapters.wan.transformer import join_heads, rotate, split


class Attend:
    """An attention processor over latents and prompt together: latents' queries and keys are turned alone."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """hidden_states (B, latents, width), encoder_hidden_states (B, tokens, width) -> both, of the same shapes."""
        own = project(attn, hidden_states, ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"))
        if image_rotary_emb is not None:
            own = (rotate(own[0], *image_rotary_emb), rotate(own[1], *image_rotary_emb), own[2])
        if attn.add_q_proj is None:
            prompts = project(attn, encoder_hidden_states, ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"))
        else:
            names = ("add_q_proj", "add_k_proj", "add_v_proj")
            prompts = project(attn, encoder_hidden_states, names, ("norm_added_q", "norm_added_k"))
        query, key, value = (torch.cat(pair, dim=2) for pair in zip(own, prompts, strict=True))
        made = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        joined = made.transpose(1, 2).flatten(2, 3)
        latents, prompt = joined.split((hidden_states.shape[1], encoder_hidden_states.shape[1]), dim=1)
        if getattr(attn, "to_out", None) is not None:
            latents = attn.to_out[0](latents)
        if getattr(attn, "to_add_out", None) is not None:
            prompt = attn.to_add_out(prompt)
        return latents, prompt


class Refiner(nn.Module):
    """A prompt's embedding, of a language model, to the transformer's own tokens."""

    def __init__(self, refiner: Any, sinusoid: Sinusoid) -> None:
        super().__init__()
        self.refiner, self.sinusoid = refiner, sinusoid

    def forward(self, prompt: Tensor, kept: Tensor, timestep: Tensor) -> Tensor:
        """prompt (B, tokens, prompt width), kept (B, tokens) of zeros and ones, timestep (1,) -> (B, tokens, width)."""
        embed = self.refiner.time_text_embed
        pooled = (prompt * kept[..., None]).sum(dim=1) / kept.sum(dim=1, keepdim=True)
        embedded = embed.timestep_embedder(self.sinusoid(timestep)) + embed.text_embedder(pooled)
        # A missing token sees the first one alone, so that it sees any.
        seen = kept[:, None, :, None] * kept[:, None, None, :]
        seen = torch.cat([torch.ones_like(seen[..., :1]), seen[..., 1:]], dim=-1)
        x = self.refiner.proj_in(prompt)
        for block in self.refiner.token_refiner.refiner_blocks:
            gate, wide_gate = block.norm_out(embedded)
            query, key, value = project(block.attn, block.norm1(x), ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"))
            made = F.scaled_dot_product_attention(query, key, value, attn_mask=exclude(seen))
            x = x + gate * join_heads(block.attn, made)
            x = x + wide_gate * block.ff(block.norm2(x))
        return x


class Transformer(nn.Module):
    """The network alone: noisy latents to their velocity."""

    def __init__(self, transformer: Any, latents_shape: tuple[int, ...], guidance_scale: float) -> None:
        """Wrap a `HunyuanVideoTransformer3DModel` for latents (1, T, C, h, w); it is changed in place."""
        super().__init__()
        use_exact_norms(transformer)
        for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
            block.attn.set_processor(Attend())
        _, time, channels, height, width = latents_shape
        cos, sin = transformer.rope(torch.zeros(1, channels, time, height, width))
        # Each angle is there twice, for both of a pair.
        self.cos = nn.Buffer(cos[:, ::2].contiguous(), persistent=False)
        self.sin = nn.Buffer(sin[:, ::2].contiguous(), persistent=False)
        self.guidance = nn.Buffer(torch.tensor([guidance_scale * 1000]), persistent=False)
        self.transformer, self.sinusoid = transformer, Sinusoid()
        self.refiner = Refiner(transformer.context_embedder, self.sinusoid)

    def forward(self, latents: Tensor, timestep: Tensor, prompt: Tensor, mask: Tensor, pooled: Tensor) -> Tensor:
        """One answer.

        Args:
            latents: (1, T, C, h, w).
            timestep: (1,), the noise level in thousandths.
            prompt: (1, tokens, prompt width), of the language model.
            mask: (1, tokens), 1 where the prompt has a token: the first ones.
            pooled: (1, pooled width), the prompt as CLIP sees it.

        Returns:
            (1, T, C, h, w).
        """
        network, embed = self.transformer, self.transformer.time_text_embed
        embedded = embed.timestep_embedder(self.sinusoid(timestep)) + embed.text_embedder(pooled)
        if embed.guidance_embedder is not None:
            embedded = embedded + embed.guidance_embedder(self.sinusoid(self.guidance))
        patches = network.x_embedder.proj(latents.transpose(1, 2))
        grid = tuple(patches.shape[2:])
        x, kept = patches.flatten(2).transpose(1, 2), keep_tokens(mask)
        tokens = self.refiner(prompt, kept, timestep)
        seen = torch.cat([torch.ones_like(x[..., 0]), kept], dim=1)
        excluded, rotation = exclude(seen)[:, None, None], (self.cos, self.sin)
        for block in (*network.transformer_blocks, *network.single_transformer_blocks):
            x, tokens = block(x, tokens, embedded, excluded, rotation)
        x = network.proj_out(network.norm_out(x, embedded))
        deep, wide = network.config.patch_size_t, network.config.patch_size
        x = x.unflatten(2, (-1, deep, wide, wide)).unflatten(1, grid).permute(0, 1, 5, 4, 2, 6, 3, 7)
        return x.flatten(6, 7).flatten(4, 5).flatten(1, 2)


def project(
    attn: Any, x: Tensor, layers: tuple[str, str, str], norms: tuple[str, str]
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value (B, heads, tokens, head width), queries and keys normalised where there are norms."""
    query, key, value = (split(getattr(attn, layer)(x), attn.heads) for layer in layers)
    for_query, for_key = (getattr(attn, norm) for norm in norms)
    return (query if for_query is None else for_query(query)), (key if for_key is None else for_key(key)), value
