"""The refiner's components: the sink's taking in, noise on a block, a step of its sampler, its recording, a view."""

import torch
from torch import Tensor, nn

from porting.adapters.latent_view import LatentView
from porting.adapters.sana_wm_refiner.config import Stream
from porting.adapters.sana_wm_refiner.transformer import Past, Transformer


class Sink(nn.Module):
    """The frames that open a session, to keys and values that every block sees."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, first_latents: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """first_latents (1, S, C, h, w), prompt (1, tokens, width) -> as `Transformer.record`."""
        return self.transformer.record(first_latents, prompt, None)


class Mixer(nn.Module):
    """A block of the first stage with noise on it, where refining begins."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, coarse: Tensor, noise: Tensor) -> Tensor:
        """Both (1, B, C, h, w) -> the same shape."""
        return (1 - self.sigma) * coarse + self.sigma * noise


class Denoiser(nn.Module):
    """One Euler step along the flow from a noise level to the next."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, latents: Tensor, sigma: Tensor, step: Tensor, prompt: Tensor, *past: Tensor) -> Tensor:
        """As `Transformer.denoise`, and `step` (1,), the next noise level less this one -> latents there."""
        return latents + step * self.transformer.denoise(latents, sigma, prompt, Past(*past))


class Recorder(nn.Module):
    """A refined block, to keys and values of the history."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, latents: Tensor, prompt: Tensor, *past: Tensor) -> tuple[Tensor, Tensor]:
        """latents (1, B, C, h, w) -> as `Transformer.record`."""
        return self.transformer.record(latents, prompt, Past(*past))


class View(nn.Module):
    """A block's latents as pictures, one below the other: the published pipeline decodes with whatever it is given."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.frames, self.view = stream.block, LatentView((stream.height, stream.width), stream.channels)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(1, 3, frames * rows, columns)."""
        batch, colours, height, width = self.view.frame_shape
        return (batch, colours, self.frames * height, width)

    def forward(self, latents: Tensor) -> Tensor:
        """latents (1, B, C, h, w) -> the pictures."""
        tokens = latents.permute(0, 1, 3, 4, 2).flatten(2, 3)
        return torch.cat([self.view(tokens[:, frame]) for frame in range(self.frames)], dim=2)
