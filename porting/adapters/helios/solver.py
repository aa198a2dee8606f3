"""UniPC's steps as weights: of a step's latents, estimates and earlier latents, in the corrected and the next latents.

Source: diffusers, HeliosScheduler, which is UniPC of order 2. Needs no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from porting.adapters import unipc


@dataclass(frozen=True)
class Weights:
    """Of one step."""

    correct: tuple[float, float, float, float, float]
    """Of the corrected latents before, the newest estimate before, the one before that, this step's estimate, and this
    step's latents: they make the corrected latents of this step."""
    predict: tuple[float, float, float]
    """Of the corrected latents, this step's estimate, and the one before: they make the next step's latents."""


def weigh_steps(sigmas: tuple[float, ...]) -> Iterator[Weights]:
    """Every step's weights.

    Args:
        sigmas: noise levels where steps begin, below 1, then 0.
    """
    orders = unipc.list_orders(len(sigmas) - 1)
    for step, order in enumerate(orders):
        correct = (*unipc.correct(sigmas, step, orders[step - 1]), 0.0) if step else (0.0, 0.0, 0.0, 0.0, 1.0)
        yield Weights(correct, unipc.predict(sigmas, step, order))
