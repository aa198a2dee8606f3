"""Batched rollouts through the modules that are ported, differentiable: for training and for judging a model.

The ring is a list here, since training needs every frame's own gradient; a test holds it against the frame program.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from porting.adapters.gwm.denoiser import Denoiser, Past

ChooseNext = Callable[[int, Tensor], Tensor]
"""(frame of the horizon, predicted latent) -> the latent that is committed; teacher forcing is a choice."""


class Session:
    """What a batch of sessions remembers: history (B, 2, C, h, w), and the keys and values of the visible frames."""

    def __init__(self, denoiser: Denoiser, batch: int) -> None:
        self.denoiser = denoiser
        self.config = denoiser.config
        self.history = torch.zeros(batch, 2, *self.config.latent_shape)
        self.frame = 0
        self._sink: list[list[Tensor]] = []
        self._recent: list[list[Tensor]] = []

    def predict(self, latent: Tensor, noise_level: Tensor, action: Tensor) -> Tensor:
        """The clean latent that the denoiser sees in `latent` (B, C, h, w) at `noise_level` (B,)."""
        features, conditioning, stem, _ = self.denoiser.trunk(latent, self.history, noise_level, action, self._past())
        return self.history[:, 0] + self.denoiser.head(features, conditioning, stem)

    def commit(self, latent: Tensor, action: Tensor) -> None:
        """Show the finished frame `latent` (B, C, h, w) to the denoiser and remember it."""
        level = torch.full((latent.shape[0],), self.config.sampler.commit_noise_level)
        keys_values = self.denoiser.trunk(latent, self.history, level, action, self._past())[3]
        sink = self.config.denoiser.sink
        if self.frame < sink:
            self._sink.append(keys_values)
        else:
            self._recent = [*self._recent, keys_values][-(self.config.denoiser.window - sink) :]
        self.history = torch.stack([latent, self.history[:, 0]], dim=1)
        self.frame += 1

    def _past(self) -> Past:
        frames = [*self._sink, *self._recent]
        recent_ages = range(len(self._recent), 0, -1)
        ages = [*(self.frame - s for s in range(len(self._sink))), *recent_ages]
        if frames:
            rings = [torch.stack(tensors, dim=2) for tensors in zip(*frames, strict=True)]
        else:
            denoiser = self.config.denoiser
            empty = torch.zeros(
                len(self.history),
                denoiser.heads,
                0,
                self.config.tokens_per_frame,
                denoiser.head_width,
            )
            rings = [empty] * (2 * denoiser.depth)
        return Past(self.config, torch.tensor(ages, dtype=torch.int64), tuple(rings))


def open_session(denoiser: Denoiser, context: Tensor, actions: Tensor) -> Session:
    """Commit the context's latents (B, T, C, h, w); actions (B, >= T, A), actions[:, t] leads to frame t."""
    session = Session(denoiser, context.shape[0])
    for t in range(context.shape[1]):
        session.commit(context[:, t], actions[:, t])
    return session


def denoise(session: Session, noise: Tensor, action: Tensor, levels: Sequence[float]) -> list[Tensor]:
    """The clean prediction (B, C, h, w) of every rectified-flow step; the last one is the frame."""
    latent, predictions = noise, []
    for level, next_level in zip(levels, [*levels[1:], 0.0], strict=True):
        clean = session.predict(latent, torch.full((len(noise),), level), action)
        predictions.append(clean)
        latent = latent + (next_level - level) * (latent - clean) / level
    return predictions


@torch.no_grad()
def roll_out(denoiser: Denoiser, context: Tensor, actions: Tensor, seed: int) -> Tensor:
    """Free-running latents (B, H, C, h, w) after context (B, T, C, h, w); actions (B, T + H, A)."""
    generator = torch.Generator().manual_seed(seed)
    session = open_session(denoiser, context, actions)
    frames = []
    for t in range(context.shape[1], actions.shape[1]):
        noise = torch.randn(context[:, 0].shape, generator=generator)
        levels = denoiser.config.sampler.noise_levels
        frames.append(denoise(session, noise, actions[:, t], levels)[-1])
        session.commit(frames[-1], actions[:, t])
    return torch.stack(frames, dim=1)
