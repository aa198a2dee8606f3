"""CogVideoX's decoder as a stream: two latent frames a call, what its convolutions look back at passed in and out.

Source: diffusers, AutoencoderKLCogVideoX._decode, which takes three latent frames first and two at a time after them:
its norms look at all moments of a call, so the same grouping is part of the model. A cache is two moments in front of a
convolution over time; what the published decoder also hands on for convolutions over one moment is never read.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

FIRST, LATER = 3, 2
"""Latent frames of the call that opens a clip, and of every later one."""
OF_ONE_MOMENT = ("conv_y", "conv_b")
Path = tuple[str, ...]


class StreamingDecoder(nn.Module):
    """What both graphs are made of: the published decoder, the latents' scale, and the caches' shapes."""

    def __init__(self, vae: Any, latent_shape: tuple[int, ...]) -> None:
        """Wrap an `AutoencoderKLCogVideoX` whose parameters are on the meta device, for latents (1, C, h, w)."""
        super().__init__()
        self.decoder, self.post_quant_conv = vae.decoder, vae.post_quant_conv
        self.scale = vae.config.scaling_factor
        self.paths: tuple[Path, ...] = ()
        with torch.no_grad():
            _, caches = self._run([torch.empty(latent_shape, device="meta")] * FIRST, {})
        found = dict(list_caches(caches))
        self.paths = tuple(found)
        self.cache_shapes = [tuple(cache.shape) for cache in found.values()]

    def decode(self, latents: list[Tensor], caches: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Latents (1, C, h, w) each, no caches or all -> (1, 3, pictures * H, W) in [0, 1], the caches after it."""
        past: dict[str, Any] = {}
        for path, cache in zip(self.paths, caches, strict=True) if caches else ():
            place(past, path, cache)
        video, kept = self._run(latents, past)
        found = dict(list_caches(kept))
        return (video / 2 + 0.5).clamp(0, 1).flatten(2, 3), [found[path] for path in self.paths]

    def _run(self, latents: list[Tensor], past: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        stacked = torch.stack(latents, dim=2) / self.scale
        if self.post_quant_conv is not None:
            stacked = self.post_quant_conv(stacked)
        video, kept = self.decoder(stacked, conv_cache=past)
        return video, kept


class FirstDecoder(nn.Module):
    """The graph that opens a clip."""

    def __init__(self, stream: StreamingDecoder) -> None:
        super().__init__()
        self.stream = stream

    def forward(self, *latents: Tensor) -> tuple[Tensor, ...]:
        """Three latents (1, C, h, w) -> pictures (1, 3, (2 * time scale + 1) * H, W), and the caches after them."""
        pictures, caches = self.stream.decode(list(latents), [])
        return (pictures, *caches)


class SteadyDecoder(nn.Module):
    """The graph of every later pair of latent frames."""

    def __init__(self, stream: StreamingDecoder) -> None:
        super().__init__()
        self.stream = stream

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Two latents (1, C, h, w), the caches -> pictures (1, 3, 2 * time scale * H, W), and the next caches."""
        pictures, caches = self.stream.decode(list(given[:LATER]), list(given[LATER:]))
        return (pictures, *caches)


def list_caches(nested: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """The caches that are read again, each with the names of the modules around it."""
    for name, found in nested.items():
        if isinstance(found, Mapping):
            yield from list_caches(found, (*path, name))
        elif isinstance(found, Tensor) and name not in OF_ONE_MOMENT:
            yield (*path, name), found


def place(nested: dict[str, Any], path: Path, cache: Tensor) -> None:
    """Put a cache where the published decoder looks for it; `nested` is changed."""
    *around, name = path
    for module in around:
        nested = nested.setdefault(module, {})
    nested[name] = cache
