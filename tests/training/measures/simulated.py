"""Models that are the simulators themselves, in part: they see the true scene and obey their commands so far."""

from collections.abc import Callable

import numpy as np

from training.scenes.clips import Float32Array

CONTEXT = 4

Draw = Callable[[Float32Array], Float32Array]


class SimulatedModel:
    """Draws what a simulator shows under the actions, after `change` has had its way with them."""

    context_frames = CONTEXT

    def __init__(self, draw: Draw, change: Draw = lambda actions: actions) -> None:
        """draw takes actions (N, T, A) and returns every frame (N, T, 3, 64, 64); change returns other actions."""
        self.draw, self.change = draw, change

    def roll_out(self, actions: Float32Array) -> Float32Array:
        return self.draw(self.change(actions))[:, CONTEXT:]

    def reconstruct(self, pictures: Float32Array) -> Float32Array:
        return pictures


def stop(actions: Float32Array) -> Float32Array:
    """No action at all after the context."""
    return np.concatenate([actions[:, :CONTEXT], np.zeros_like(actions[:, CONTEXT:])], axis=1)


def reverse(actions: Float32Array) -> Float32Array:
    """Every action after the context the other way."""
    return np.concatenate([actions[:, :CONTEXT], -actions[:, CONTEXT:]], axis=1)
