"""UniPC of order 2 along a flow, as weights: numbers alone, no tensors.

A sample at noise level s is (1 - s) * clean + s * noise. What a step makes is linear in the samples and in the clean
latents that the denoiser told of, so that its weights are constants of a frame program.

Source: Zhao et al., UniPC, arXiv 2302.04867, with B(h) = exp(h) - 1; diffusers, UniPCMultistepScheduler.
"""

import math
from collections.abc import Sequence


def list_orders(steps: int) -> tuple[int, ...]:
    """First order at both ends, second between them."""
    return tuple(min(2, index + 1, steps - index) for index in range(steps))


def predict(levels: Sequence[float], index: int, order: int) -> tuple[float, float, float]:
    """The sample at the level after `index`: of the one at `index`, its clean latents, and those of the step before.

    Args:
        levels: noise levels where steps begin, below 1, then the last step's end.
        index: of the step.
        order: 1 or 2.
    """
    kept, growth, width = _stride(levels, index)
    if order == 1:
        return kept, growth, 0.0
    ratio = (_signal(levels[index - 1]) - _signal(levels[index])) / width
    return kept, growth * (1 - 0.5 / ratio), growth * 0.5 / ratio


def correct(levels: Sequence[float], index: int, order: int) -> tuple[float, float, float, float]:
    """The sample at `index` made again, with what is known there.

    Of the sample before, the clean latents of the step before, those of the step before that, and those at `index`.

    Args:
        levels: as for `predict`.
        index: of the step that begins there, 1 or more.
        order: of the step that led there.
    """
    kept, growth, width = _stride(levels, index - 1)
    if order == 1:
        return kept, growth * 0.5, 0.0, growth * 0.5
    ratio = (_signal(levels[index - 2]) - _signal(levels[index - 1])) / width
    grown = math.expm1(-width)
    first = grown / -width - 1
    second = first / -width - 0.5
    # Two equations: older + newest = first / grown, ratio * older + newest = 2 * second / grown.
    older = (2 * second - first) / grown / (ratio - 1)
    newest = first / grown - older
    return kept, growth * (1 - newest - older / ratio), growth * older / ratio, growth * newest


def _stride(levels: Sequence[float], index: int) -> tuple[float, float, float]:
    """What is kept of a step's sample, how much clean latents it adds, and its length; infinite where it ends at 0."""
    start, end = levels[index], levels[index + 1]
    return end / start, 1 - end / start, _signal(end) - _signal(start)


def _signal(level: float) -> float:
    """Logarithm of the picture's share over the noise's, in the literature lambda."""
    return math.log(1 - level) - math.log(level) if level > 0 else math.inf
