"""What a measure asks of a model: rollouts and reconstructions as pictures. It knows no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from training.scenes.clips import Clips, Float32Array


class Model(Protocol):
    """A world model whose sessions were opened with the first frames of some clips."""

    context_frames: int
    """True frames that it was given."""

    def roll_out(self, actions: Float32Array) -> Float32Array:
        """Frames (N, H, 3, 64, 64) in [0, 1] of a free rollout under actions (N, context_frames + H, A)."""

    def reconstruct(self, pictures: Float32Array) -> Float32Array:
        """Still pictures (N, 3, 64, 64) as its autoencoder shows them."""


MakeModel = Callable[[Clips], Model]
"""Opens sessions with the first frames of clips."""


class Quality(Protocol):
    """What was measured."""

    def summary(self) -> dict[str, float]:
        """The figures that the bars are set on; NaN is 'not measured'."""
