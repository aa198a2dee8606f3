"""Wan's decoder as a stream: one latent frame a call, what its causal convolutions look back at passed in and out.

Source: diffusers, AutoencoderKLWan._decode. The first latent frame makes one picture, each later one as many as the
time scale, so there are two graphs. What the first leaves behind is filled up with the zeros that causal padding stands
for, so that both have caches of one shape.
"""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify
from torch import Tensor, nn
from torch.nn import functional as F

PAST = 2
"""Moments that a causal convolution looks back at."""


class StreamingDecoder(nn.Module):
    """What both graphs are made of: the published decoder, the latents' statistics, and the caches' shapes."""

    def __init__(self, vae: Any, latent_shape: tuple[int, ...]) -> None:
        """Wrap an `AutoencoderKLWan` for latents (1, C, h, w)."""
        super().__init__()
        use_exact_upsampling(vae.decoder)
        self.decoder, self.post_quant_conv = vae.decoder, vae.post_quant_conv
        self.patch_size = vae.config.patch_size or 1
        self.mean = nn.Buffer(torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor(vae.config.latents_std).view(1, -1, 1, 1), persistent=False)
        self.slots = vae._cached_conv_counts["decoder"]
        self.cache_shapes = self._measure(latent_shape)

    def decode(self, latent: Tensor, caches: list[Any], *, first: bool) -> tuple[Tensor, list[Any]]:
        """latent (1, C, h, w), a cache a convolution -> (1, 3, pictures * H, W) in [0, 1], the caches after it."""
        x = self.post_quant_conv((latent * self.std + self.mean)[:, :, None])
        kept, index = list(caches), [0]
        video = unpatchify(self.decoder(x, feat_cache=kept, feat_idx=index, first_chunk=first), self.patch_size)
        return (video.clamp(-1, 1) / 2 + 0.5).flatten(2, 3), kept[: index[0]]

    def open(self, latent: Tensor) -> tuple[Tensor, list[Any]]:
        """The first latent frame: no past; a slot then holds one moment, or the mark of a layer that did not run."""
        return self.decode(latent, [None] * self.slots, first=True)

    def _measure(self, latent_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Shape (1, C, 2, h, w) of every cache, found by decoding two latent frames of no values."""
        empty = torch.zeros(latent_shape, device="meta")
        meta = {name: buffer.to("meta") for name, buffer in self.named_buffers()}
        state = {name: parameter.to("meta") for name, parameter in self.named_parameters()} | meta
        with torch.no_grad():
            seen = torch.func.functional_call(_Opening(self), {f"stream.{name}": t for name, t in state.items()}, empty)
        return [tuple(cache.shape) for cache in seen]


class _Opening(nn.Module):
    """Two latent frames in a row, for the caches that they leave."""

    def __init__(self, stream: StreamingDecoder) -> None:
        super().__init__()
        self.stream = stream

    def forward(self, latent: Tensor) -> list[Tensor]:
        """latent (1, C, h, w) -> the caches."""
        _, caches = self.stream.open(latent)
        return self.stream.decode(latent, caches, first=False)[1]


class FirstDecoder(nn.Module):
    """The graph that opens a clip."""

    def __init__(self, stream: StreamingDecoder) -> None:
        super().__init__()
        self.stream = stream

    def forward(self, latent: Tensor) -> tuple[Tensor, ...]:
        """latent (1, C, h, w) -> picture (1, 3, H, W), and the caches that the next call takes."""
        picture, caches = self.stream.open(latent)
        filled = [
            F.pad(cache, (0, 0, 0, 0, PAST - cache.shape[2], 0))
            if isinstance(cache, Tensor)
            else latent.new_zeros(shape)
            for cache, shape in zip(caches, self.stream.cache_shapes, strict=True)
        ]
        return (picture, *filled)


class SteadyDecoder(nn.Module):
    """The graph of every later latent frame."""

    def __init__(self, stream: StreamingDecoder) -> None:
        super().__init__()
        self.stream = stream

    def forward(self, latent: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """latent (1, C, h, w) and the caches -> pictures (1, 3, time scale * H, W), and the next caches."""
        pictures, kept = self.stream.decode(latent, list(caches), first=False)
        return (pictures, *kept)


class Joiner(nn.Module):
    """The pictures of a clip, one below the other."""

    def forward(self, *pictures: Tensor) -> Tensor:
        """Each (1, 3, some * H, W) -> (1, 3, all * H, W)."""
        return torch.cat(pictures, dim=2)


def use_exact_upsampling(decoder: nn.Module) -> None:
    """Replace upsampling that rounds to float32 by torch's own: at twice the size both copy every value. In place."""
    for part in list(decoder.modules()):
        for name, child in part.named_children():
            if type(child).__name__ == "WanUpsample":
                setattr(part, name, nn.Upsample(scale_factor=2.0, mode="nearest"))
