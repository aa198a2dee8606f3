"""UniPC's steps as weights: of a step's latents, estimates and earlier latents, in the corrected and the next latents.

Source: Zhao et al., UniPC, arXiv 2302.04867, with B(h) = exp(h) - 1 and order 2; diffusers, HeliosScheduler. All of it
is linear in what the transformer says, so that a step's weights are constants of the program. Needs no torch.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

ORDER = 2
SMALLEST = 1e-8
"""Stands for a noise level of 0, whose logarithm is taken."""


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
    steps = len(sigmas) - 1
    before = 0
    for step in range(steps):
        correct = (0.0, 0.0, 0.0, 0.0, 1.0) if step == 0 else _correct(sigmas, step, before)
        before = min(ORDER, steps - step, step + 1)
        yield Weights(correct, _predict(sigmas, step, before))


def _correct(sigmas: tuple[float, ...], step: int, order: int) -> tuple[float, float, float, float, float]:
    """The step that led here, done again with what is known here."""
    h, alpha, ratio, grown = _stride(sigmas, step - 1)
    first, last = 0.0, 0.5
    back = 1.0
    if order == ORDER:
        back = (_signal(sigmas[step - 2]) - _signal(sigmas[step - 1])) / h
        one = (grown / -h - 1) / grown
        two = ((grown / -h - 1) / -h - 0.5) * 2 / grown
        first = (two - one) / (back - 1)
        last = one - first
    newest = -alpha * grown * (1 - first / back - last)
    return (ratio, newest, -alpha * grown * first / back, -alpha * grown * last, 0.0)


def _predict(sigmas: tuple[float, ...], step: int, order: int) -> tuple[float, float, float]:
    h, alpha, ratio, grown = _stride(sigmas, step)
    if order == 1:
        return (ratio, -alpha * grown, 0.0)
    back = (_signal(sigmas[step - 1]) - _signal(sigmas[step])) / h
    share = 0.5 / back
    return (ratio, -alpha * grown * (1 - share), -alpha * grown * share)


def _stride(sigmas: tuple[float, ...], step: int) -> tuple[float, float, float, float]:
    """Of the step from one level to the next: its length, the signal at its end, its noise ratio, exp(-length) - 1."""
    start, end = (max(sigma, SMALLEST) for sigma in sigmas[step : step + 2])
    h = _signal(sigmas[step + 1]) - _signal(sigmas[step])
    return h, 1 - sigmas[step + 1], end / start, math.expm1(-h)


def _signal(sigma: float) -> float:
    """Half the logarithm of the signal to noise ratio."""
    return math.log(1 - sigma) - math.log(max(sigma, SMALLEST))
