"""HunyuanVideo's components: one step of the sampler around the transformer, the decoder of a piece, and the joiner."""

from typing import Any

import torch
from torch import Tensor, nn

from porting.adapters.hunyuan_video.config import Piece
from porting.adapters.hunyuan_video.transformer import Transformer


class Denoiser(nn.Module):
    """One Euler step along the flow from a noise level to the next.

    Source: diffusers, HunyuanVideoPipeline and FlowMatchEulerDiscreteScheduler.
    """

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self, latents: Tensor, timestep: Tensor, step: Tensor, prompt: Tensor, mask: Tensor, pooled: Tensor
    ) -> Tensor:
        """See `Transformer.forward`; step: (1,), next noise level less this one -> latents at the next noise level."""
        velocity: Tensor = self.transformer(latents, timestep, prompt, mask, pooled)
        return latents + step * velocity


class Decoder(nn.Module):
    """The latent frames of a piece to its pictures."""

    def __init__(self, vae: Any) -> None:
        """Wrap an `AutoencoderKLHunyuanVideo`."""
        super().__init__()
        self.decoder, self.post_quant_conv = vae.decoder, vae.post_quant_conv
        self.scale = vae.config.scaling_factor

    def forward(self, *latents: Tensor) -> Tensor:
        """Each (1, C, h, w) -> (1, 3, pictures * H, W), around 0: not yet in [0, 1], as what is blended is not cut."""
        video: Tensor = self.decoder(self.post_quant_conv(torch.stack(latents, dim=2) / self.scale))
        return video.flatten(2, 3)


class Joiner(nn.Module):
    """The pictures of all pieces, each piece fading into the next.

    Source: diffusers, AutoencoderKLHunyuanVideo._temporal_tiled_decode and blend_t.
    """

    def __init__(self, pieces: list[Piece], time_scale: int, stride: int, overlap: int) -> None:
        """`stride` pictures are kept of a piece, `overlap` are blended over; the first piece has one picture more."""
        super().__init__()
        self.pieces, self.time_scale, self.stride, self.overlap = pieces, time_scale, stride, overlap

    def forward(self, *made: Tensor) -> Tensor:
        """Each (1, 3, its pictures * H, W) -> frame (1, 3, pictures * H, W) in [0, 1]."""
        kept, before = [], None
        for piece, stacked in zip(self.pieces, made, strict=True):
            video = stacked.unflatten(2, (piece.count_pictures(self.time_scale), -1))
            if before is None:
                kept.append(video if len(self.pieces) == 1 else video[:, :, : self.stride + 1])
            else:
                video = self._fade(before, video[:, :, 1:])
                kept.append(video[:, :, : self.stride])
            before = video
        last = self.pieces[-1]
        pictures = (last.first + last.frames - 1) * self.time_scale + 1
        whole = torch.cat(kept, dim=2)[:, :, :pictures]
        return (whole / 2 + 0.5).clamp(0, 1).flatten(2, 3)

    def _fade(self, before: Tensor, video: Tensor) -> Tensor:
        overlap = min(before.shape[2], video.shape[2], self.overlap)
        if overlap == 0:
            return video
        share = (torch.arange(overlap, dtype=video.dtype, device=video.device) / overlap).view(1, 1, -1, 1, 1)
        faded = before[:, :, -overlap:] * (1 - share) + video[:, :, :overlap] * share
        return torch.cat([faded, video[:, :, overlap:]], dim=2)
