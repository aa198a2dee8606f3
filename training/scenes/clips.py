"""What the trainer asks of a scene maker: clips of pictures with the conditioning that leads to each.

It knows no scene; `worlds`, `robotics` and `avatars` make them.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp] | slice

IMAGE_SIZE = 64


class Clips(Protocol):
    """N clips of T frames of 64x64 RGB, drawn when they are asked for."""

    @property
    def actions(self) -> Float32Array:
        """(N, T, A); actions[:, t] is what leads to frame t."""

    def frame(self, t: int) -> Float32Array:
        """Frame t of every clip: (N, 3, 64, 64) in [0, 1]."""

    def moving(self, t: int, frame: Float32Array) -> BoolArray:
        """Where `frame`, which is frame t, shows what the conditioning moves: (N, 1, 64, 64)."""

    def drifted(self, rng: np.random.Generator) -> Float32Array:
        """Every frame as a rollout that drifts shows it: (N, T, 3, 64, 64)."""

    def subset(self, indices: Indices) -> Self:
        """The chosen clips."""


class MakeClips(Protocol):
    """Makes `count` clips of `frames` frames, the same ones for the same arguments."""

    def __call__(self, count: int, frames: int, seed: int) -> Clips: ...


def draw_frames(clips: Clips, frames: range) -> Float32Array:
    """The frames of every clip: (N, len(frames), 3, 64, 64) in [0, 1], 48 KiB a frame."""
    return np.stack([clips.frame(t) for t in frames], axis=1)


def pixel_centres() -> tuple[Float32Array, Float32Array]:
    """x (1, 64) and y (64, 1) of the pixel centres."""
    centres = np.arange(IMAGE_SIZE, dtype=np.float32) + np.float32(0.5)
    return centres[None, :], centres[:, None]


def mix(picture: Float32Array, colour: FloatArray, coverage: FloatArray) -> Float32Array:
    """Lay a colour (N, 3) or (N, 3, 64, 64) over pictures (N, 3, 64, 64) where coverage (N, 64, 64) says so."""
    laid = colour if colour.ndim == 4 else colour[:, :, None, None]
    return np.asarray(picture + coverage[:, None] * (laid - picture), np.float32)
