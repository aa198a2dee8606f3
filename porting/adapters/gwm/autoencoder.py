"""The causal convolutional video autoencoder: frames to latents for a session's context, latents to frames for ever.

A frame's latent depends on that frame and those before it. The decoder streams: `DecoderFirst` opens the session and
makes the feature caches, `DecoderSteady` takes and returns them. It does not know how latents come about.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.gwm.config import AutoencoderConfig

EPS = 1e-6
"""Added to the mean square before its root."""
LATENT_BOUND = 2.0
"""Raw latents lie in (-2, 2): bounded, so that noise of a fixed size means the same everywhere."""

Remember = Callable[[Tensor], Tensor]
"""Takes one layer's features of the current frames, returns them with the features before them, stacked as channels."""


class CausalConv(nn.Module):
    """A causal (time, 3, 3) convolution, computed as a 2-D one over frames stacked along the channels.

    Equal to a 3-D convolution whose weight (O, C, time, 3, 3) is laid out as (O, time * C, 3, 3), oldest frame first.
    Runtimes have far better 2-D kernels than 3-D ones, and one new frame a step is all that streaming asks for.
    """

    def __init__(self, in_channels: int, out_channels: int, temporal_kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels * temporal_kernel, out_channels, 3, padding=1)

    def forward(self, x: Tensor, remember: Remember) -> Tensor:
        """x (N, C, H, W) -> (N, O, H, W)."""
        return self.conv(remember(x))


class RmsSilu(nn.Module):
    """RMS norm over the channels of every cell, then SiLU: y = silu(x / rms(x) * weight). x (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPS) * self.weight)


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(causal_conv(silu(norm(x)))))); the causal convolution is the only one that looks back."""

    def __init__(self, channels: int, temporal_kernel: int) -> None:
        super().__init__()
        self.norm_in = RmsSilu(channels)
        self.causal = CausalConv(channels, channels, temporal_kernel)
        self.norm_out = RmsSilu(channels)
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.spatial.weight)

    def forward(self, x: Tensor, remember: Remember) -> Tensor:
        hidden = self.causal(self.norm_in(x), remember)
        return x + self.spatial(self.norm_out(hidden))


class Encoder(nn.Module):
    """Context frames to normalised latents, the whole clip at once."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.temporal_kernel = config.temporal_kernel
        widths = config.widths
        self.conv_in = nn.Conv2d(3 * config.patch**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in itertools.pairwise(widths)
        )
        self.middle = ResidualBlock(widths[-1], config.temporal_kernel)
        self.conv_out = nn.Conv2d(widths[-1], config.latent_channels, 1)
        self.latent_mean = nn.Buffer(torch.zeros(config.latent_channels, 1, 1))
        self.latent_std = nn.Buffer(torch.ones(config.latent_channels, 1, 1))

    def raw(self, frames: Tensor) -> Tensor:
        """frames (B, T, 3, H, W) in [0, 1] -> latents (B, T, C, h, w) in (-2, 2), not yet normalised."""
        batch, time = frames.shape[:2]
        x = F.pixel_unshuffle(frames.flatten(0, 1) * 2 - 1, self.patch)
        x = self.conv_in(x)
        for down in self.down:
            x = down(F.silu(x))
        x = self.middle(x, lambda x: stack_clip(x, batch, self.temporal_kernel))
        x = torch.tanh(self.conv_out(F.silu(x))) * LATENT_BOUND
        return x.unflatten(0, (batch, time))

    def forward(self, frames: Tensor) -> Tensor:
        """frames (B, T, 3, H, W) in [0, 1] -> latents (B, T, C, h, w), zero mean and unit variance a channel."""
        return (self.raw(frames) - self.latent_mean) / self.latent_std


class Decoder(nn.Module):
    """Latents to frames. Which earlier features a causal layer sees is the caller's choice: `remember`."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.temporal_kernel = config.temporal_kernel
        widths = config.widths[::-1]
        self.cache_channels = (config.latent_channels, *widths)
        self.conv_in = CausalConv(config.latent_channels, widths[0], config.temporal_kernel)
        self.blocks = nn.ModuleList(ResidualBlock(w, config.temporal_kernel) for w in widths)
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine * 4, 1) for coarse, fine in itertools.pairwise(widths))
        self.norm_out = RmsSilu(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 3 * config.patch**2, 3, padding=1)
        self.latent_mean = nn.Buffer(torch.zeros(config.latent_channels, 1, 1))
        self.latent_std = nn.Buffer(torch.ones(config.latent_channels, 1, 1))

    def frames(self, latents: Tensor, remember: Remember) -> Tensor:
        """latents (N, C, h, w), normalised -> frames (N, 3, H, W), in [0, 1] but for the model's own error."""
        x = self.conv_in(latents * self.latent_std + self.latent_mean, remember)
        for level, block in enumerate(self.blocks):
            if level:
                x = F.pixel_shuffle(self.up[level - 1](F.silu(x)), 2)
            x = block(x, remember)
        x = self.conv_out(self.norm_out(x))
        return F.pixel_shuffle(x, self.patch) * 0.5 + 0.5

    def forward(self, latents: Tensor) -> Tensor:
        """A whole clip at once: latents (B, T, C, h, w) -> frames (B, T, 3, H, W), not clamped. For training."""
        batch, time = latents.shape[:2]
        frames = self.frames(latents.flatten(0, 1), lambda x: stack_clip(x, batch, self.temporal_kernel))
        return frames.unflatten(0, (batch, time))

    def cache_shapes(self, latent_height: int, latent_width: int) -> list[tuple[int, ...]]:
        """Shape (1, (temporal_kernel - 1) * C, h, w) of every causal layer's cache, in the order of the layers."""
        past = self.temporal_kernel - 1
        levels = [0, *range(len(self.blocks))]
        return [
            (1, past * channels, latent_height * 2**level, latent_width * 2**level)
            for channels, level in zip(self.cache_channels, levels, strict=True)
        ]


class DecoderFirst(nn.Module):
    """The session's first frame: no past yet, so every causal layer repeats the frame's own features."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor) -> tuple[Tensor, ...]:
        """latent (1, C, h, w) -> frame (1, 3, H, W) in [0, 1], then one feature cache a causal layer."""
        past = self.decoder.temporal_kernel - 1
        caches: list[Tensor] = []

        def remember(x: Tensor) -> Tensor:
            caches.append(x.repeat(1, past, 1, 1))
            return x.repeat(1, past + 1, 1, 1)

        frame = self.decoder.frames(latent, remember)
        return (frame.clamp(0, 1), *caches)


class DecoderSteady(nn.Module):
    """Every later frame: caches in, caches out."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """latent (1, C, h, w), caches -> frame (1, 3, H, W) in [0, 1], the same caches one frame later."""
        old = iter(caches)
        new: list[Tensor] = []

        def remember(x: Tensor) -> Tensor:
            stacked = torch.cat([next(old), x], dim=1)
            new.append(stacked[:, x.shape[1] :])
            return stacked

        frame = self.decoder.frames(latent, remember)
        return (frame.clamp(0, 1), *new)


def stack_clip(x: Tensor, batch: int, temporal_kernel: int) -> Tensor:
    """Stack every frame of a clip with the frames before it; before the first frame, the first frame repeats.

    x (B * T, C, H, W) -> (B * T, temporal_kernel * C, H, W), oldest first.
    """
    clip = x.unflatten(0, (batch, -1))
    time = torch.arange(clip.shape[1], device=x.device)
    past = range(temporal_kernel - 1, 0, -1)
    shifted = [clip[:, (time - age).clamp(min=0)] for age in past]
    return torch.cat([*shifted, clip], dim=2).flatten(0, 1)
