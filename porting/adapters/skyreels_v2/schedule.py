"""When which latent frame is denoised how far, and what each step adds up: numbers alone, no tensors.

Source: diffusers, SkyReelsV2DiffusionForcingPipeline.generate_timestep_matrix and UniPCMultistepScheduler with its
solver of order 2 over flows.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from porting.adapters import unipc
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
    orders = unipc.list_orders(len(sigmas) - 1)
    return tuple(_step(sigmas, index, orders) for index in range(len(orders)))


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


def _step(sigmas: tuple[float, ...], index: int, orders: tuple[int, ...]) -> Step:
    sample, last, previous, older, clean = 1.0, 0.0, 0.0, 0.0, 0.0
    if index > 0:
        last, previous, older, clean = unipc.correct(sigmas, index, orders[index - 1])
        # Before its first step a frame was corrected by nothing: the published pipeline then keeps a view of it, which
        # holds the second step's sample by the time that it is looked at.
        sample, last = (last, 0.0) if index == 1 else (0.0, last)
    return Step(sigmas[index], sample, last, previous, older, clean, *unipc.predict(sigmas, index, orders[index]))
