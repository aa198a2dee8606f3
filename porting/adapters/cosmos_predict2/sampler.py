"""The samplers of Predict 2 and 2.5 as figures: what each step is told, and how it weighs what it has.

Both walk along a flow, y = (1 - level) * clean + level * noise, with levels s / (1 + s) of Karras' sigmas s.
Predict 2's pipeline works on y * (1 + s) instead, which is the same walk. It needs no torch.
"""

import itertools
from dataclasses import dataclass

from porting.adapters import unipc
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

    Source: diffusers, Cosmos2_5_PredictBasePipeline with UniPCMultistepScheduler of order 2.
    """
    levels = [*_list_levels(steps, low, high), 0.0]
    orders = unipc.list_orders(len(levels) - 1)
    planned = []
    for index, order in enumerate(orders):
        corrected = unipc.correct(levels, index, orders[index - 1]) if index else (1.0, 0.0, 0.0, 0.0)
        planned.append(Step(levels[index], (*corrected, *unipc.predict(levels, index, order))))
    return tuple(planned)


def _list_levels(steps: int, low: float, high: float) -> list[float]:
    sigmas = spread_sigmas(steps, low, high)
    return [sigma / (1 + sigma) for sigma in sigmas]
