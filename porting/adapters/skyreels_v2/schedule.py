"""When which latent frame is denoised how far, and what each step adds up: numbers alone, no tensors.

Source: diffusers, SkyReelsV2DiffusionForcingPipeline.generate_timestep_matrix and UniPCMultistepScheduler with its
solver of order 2 over flows; Zhao et al., arXiv 2302.04867.
"""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from porting.adapters.wan.config import LEVELS

WAITING, DONE = 999, 0
"""Timesteps of frames whose turn has not come, and of those that are clean."""
NEARLY = 1e-6
"""What is left of the picture at the first level: its logarithm is taken."""


@dataclass(frozen=True)
class Step:
    """One step of one latent frame: what the corrected sample and the next one are sums of."""

    sigma: float
    """Noise level that the step begins at."""
    correct_sample: float
    correct_last: float
    """Of the corrected sample of the step before."""
    correct_previous: float
    """Of the clean latents that the step before made."""
    correct_older: float
    """Of those of the step before that."""
    correct_clean: float
    """Of those that this step makes."""
    predict_sample: float
    """Of the corrected sample."""
    predict_clean: float
    predict_previous: float

    @property
    def values(self) -> tuple[float, ...]:
        """In the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))


REST = Step(0, 1, 0, 0, 0, 0, 1, 0, 0)
"""Leaves a frame as it is."""


class Call(NamedTuple):
    """One run of the denoiser: for each new latent frame its timestep and its step."""

    timesteps: tuple[int, ...]
    steps: tuple[Step, ...]


def list_sigmas(steps: int, shift: float) -> tuple[float, ...]:
    """Noise levels where steps begin, in float32 as the published scheduler keeps them, then 0."""
    levels = np.linspace(1, 1 / LEVELS, steps + 1)[:-1]
    pushed = shift * levels / (1 + (shift - 1) * levels)
    pushed[0] = min(pushed[0], 1 - NEARLY)
    return (*(float(sigma) for sigma in pushed.astype(np.float32)), 0.0)


def list_timesteps(steps: int, shift: float) -> tuple[int, ...]:
    """What the transformer is told of each level: whole thousandths, rounded down, of the level before it is cut."""
    levels = np.linspace(1, 1 / LEVELS, steps + 1)[:-1]
    pushed = shift * levels / (1 + (shift - 1) * levels)
    pushed[0] = min(pushed[0], 1 - NEARLY)
    return tuple(int(timestep) for timestep in pushed * LEVELS)


def list_steps(sigmas: tuple[float, ...]) -> tuple[Step, ...]:
    """The sums of every step: first order at both ends, second between them."""
    count = len(sigmas) - 1
    orders = [min(2, index + 1, count - index) for index in range(count)]
    return tuple(_step(sigmas, index, orders) for index in range(count))


def list_calls(frames: int, block: int, steps: int, shift: float, lag: int) -> tuple[Call, ...]:
    """Every run of the denoiser that a chunk takes.

    Args:
        frames: new latent frames, those that are given before them not counted.
        block: latent frames that go in step; divides `frames`.
        steps: of each frame.
        shift: of the noise levels.
        lag: steps that a block is behind the block before it.
    """
    timesteps = (WAITING, *list_timesteps(steps, shift), DONE)
    sums = list_steps(list_sigmas(steps, shift))
    calls, before = [], [0] * (frames // block)
    while any(reached < steps for reached in before):
        reached = _advance(before, steps, lag)
        moving = [now != then and now <= steps for now, then in zip(reached, before, strict=True)]
        calls.append(
            Call(
                tuple(timesteps[now] for now in reached for _ in range(block)),
                tuple(
                    sums[now - 1] if moves else REST
                    for now, moves in zip(reached, moving, strict=True)
                    for _ in range(block)
                ),
            )
        )
        before = reached
    return tuple(calls)


def _advance(before: list[int], steps: int, lag: int) -> list[int]:
    """The step that each block comes to, from 1 on; 0 waits, one more than there are steps is done."""
    reached: list[int] = []
    for index, step in enumerate(before):
        leads = index == 0 or before[index - 1] >= steps
        reached.append(step + 1 if leads else reached[index - 1] - lag)
    return [min(max(step, 0), steps + 1) for step in reached]


def _step(sigmas: tuple[float, ...], index: int, orders: list[int]) -> Step:
    sample, last, previous, older, clean = 1.0, 0.0, 0.0, 0.0, 0.0
    if index > 0:
        last, previous, older, clean = _correct(sigmas, index, orders[index - 1])
        # Before its first step a frame was corrected by nothing: the published pipeline then keeps a view of it, which
        # holds the second step's sample by the time that it is looked at.
        sample, last = (last, 0.0) if index == 1 else (0.0, last)
    return Step(sigmas[index], sample, last, previous, older, clean, *_predict(sigmas, index, orders[index]))


def _predict(sigmas: tuple[float, ...], index: int, order: int) -> tuple[float, float, float]:
    """Of the sample, the clean latents of this step and those of the step before."""
    start, end = sigmas[index], sigmas[index + 1]
    width = _signal(end) - _signal(start)
    growth = -(1 - end) * math.expm1(-width)
    if order == 1:
        return end / start, growth, 0.0
    ratio = (_signal(sigmas[index - 1]) - _signal(start)) / width
    return end / start, growth * (1 - 0.5 / ratio), growth * 0.5 / ratio


def _correct(sigmas: tuple[float, ...], index: int, order: int) -> tuple[float, float, float, float]:
    """Of the last corrected sample, the clean latents before, those before them, and those of this step."""
    start, end = sigmas[index - 1], sigmas[index]
    width = _signal(end) - _signal(start)
    growth = -(1 - end) * math.expm1(-width)
    if order == 1:
        return end / start, growth * 0.5, 0.0, growth * 0.5
    ratio = (_signal(sigmas[index - 2]) - _signal(start)) / width
    first = math.expm1(-width) / -width - 1
    second = first / -width - 0.5
    wanted = first / math.expm1(-width), second * 2 / math.expm1(-width)
    # Two equations: older + newest = wanted[0], ratio * older + newest = wanted[1].
    older = (wanted[1] - wanted[0]) / (ratio - 1)
    newest = wanted[0] - older
    return end / start, growth * (1 - newest - older / ratio), growth * older / ratio, growth * newest


def _signal(sigma: float) -> float:
    """Logarithm of the picture's share over the noise's; infinite where there is no noise."""
    return math.log(1 - sigma) - math.log(sigma) if sigma > 0 else math.inf
