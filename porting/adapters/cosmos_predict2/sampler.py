"""The samplers of Predict 2 and 2.5 as figures: what each step is told, and how it weighs what it has.

Both walk along a flow, y = (1 - level) * clean + level * noise, with levels s / (1 + s) of Karras' sigmas s.
Predict 2's pipeline works on y * (1 + s) instead, which is the same walk. It needs no torch.
"""

import itertools
import math
from dataclasses import dataclass

from porting.adapters.cosmos_predict.config import spread_sigmas


@dataclass(frozen=True)
class Step:
    """One run of the denoiser."""

    level: float
    """Noise level that it begins at."""
    weights: tuple[float, ...]
    """See `EulerStep` and `MultistepStep`."""


def plan_euler(steps: int, low: float, high: float) -> tuple[Step, ...]:
    """Predict 2's steps from sigma `high` to `low`, weights (seen, kept, added); the last one ends there, not at 0.

    The published pipeline runs its transformer once more there, for a step of no length, which is left out. The first
    step is given noise of deviation 1, and the last one hands on what the pipeline decodes, y * (1 + s).

    Source: diffusers, Cosmos2VideoToWorldPipeline with FlowMatchEulerDiscreteScheduler.
    """
    levels = _list_levels(steps, low, high)
    planned = []
    for index, (level, following) in enumerate(itertools.pairwise(levels)):
        seen = level if index == 0 else 1.0
        scale = 1 + low if index == len(levels) - 2 else 1.0
        kept = following / level
        planned.append(Step(level, (seen, scale * kept, scale * (1 - kept))))
    return tuple(planned)


def plan_multistep(steps: int, low: float, high: float) -> tuple[Step, ...]:
    """Predict 2.5's steps: the predictor of order 2 and its corrector, weights (four of the corrector, three more).

    Source: Zhao et al., arXiv 2302.04867, with B(h) = e^h - 1; diffusers, UniPCMultistepScheduler of order 2.
    """
    levels = [*_list_levels(steps, low, high), 0.0]
    count = len(levels) - 1
    orders = [min(2, index + 1, count - index) for index in range(count)]
    planned = []
    for index, order in enumerate(orders):
        corrected = _correct(levels, index, orders[index - 1]) if index else (1.0, 0.0, 0.0, 0.0)
        planned.append(Step(levels[index], (*corrected, *_predict(levels, index, order))))
    return tuple(planned)


def _list_levels(steps: int, low: float, high: float) -> list[float]:
    sigmas = spread_sigmas(steps, low, high)
    return [sigma / (1 + sigma) for sigma in sigmas]


def _predict(levels: list[float], index: int, order: int) -> tuple[float, float, float]:
    """Of the sample at `index`, its clean latents and the step's before, for the sample at the next level."""
    start, end = levels[index], levels[index + 1]
    kept = end / start
    added = 1 - kept  # (1 - end) * (1 - e^-h), also where the end is 0
    if order == 1:
        return kept, added, 0.0
    ratio = (_depth(levels[index - 1]) - _depth(start)) / (_depth(end) - _depth(start))
    return kept, added * (1 - 0.5 / ratio), added * 0.5 / ratio


def _correct(levels: list[float], index: int, order: int) -> tuple[float, float, float, float]:
    """Of the sample before, the clean latents of the step before and of that before it, and those at `index`."""
    start, end = levels[index - 1], levels[index]
    kept = end / start
    added = 1 - kept
    if order == 1:
        return kept, added * 0.5, 0.0, added * 0.5
    step = _depth(end) - _depth(start)
    ratio = (_depth(levels[index - 2]) - _depth(start)) / step
    grown = math.expm1(-step)
    first = grown / -step - 1
    second = first / -step - 0.5
    older = (first - 2 * second) / grown / (1 - ratio)
    newer = first / grown - older
    return kept, added * (1 - older / ratio - newer), added * older / ratio, added * newer


def _depth(level: float) -> float:
    """Half the logarithm of the ratio of signal to noise, in the literature lambda."""
    return math.log(1 - level) - math.log(level)
