"""How far a figure moves when nothing changed, from what a run recorded of itself; and the smallest effect that shows.

A run tells the lowest and the highest of its interleaved rounds, and the quantiles of its frames. Nothing here knows
what is done with a tolerance. All spreads are of logarithms, as times are late by factors.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Annotated

from pydantic import Field

from porting.record import Distribution
from porting.tensor_spec import Model

FALSE_ALARMS = 1 / 800
"""Of one check. Four figures of a target are noisy, so together they cry wolf once in 200 gates."""
FOUND = 0.95
"""Share of trials in which the smallest effect is to be found."""
RATIO_FLOOR = 0.03
"""Two runs of the same files differ by this much however quiet they are: where memory and code happen to lie."""
RATE_FLOOR = 0.10
"""Absolute rates move with clock and neighbours, over hours that no single run sees."""
TAIL_FLOOR = 0.25
"""A run with few late frames says little of how late they come: seen to be needed in simulated tails."""
MEMORY_FLOOR = 0.10
LEAST_FREEDOM = 0.9
"""Degrees of freedom of a spread taken from the range of two."""


class Tolerance(Model):
    """How much worse a figure may be; written into a baseline, where a reviewer sees it and may change it."""

    relative: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Share of the baseline's figure."""
    smallest_effect: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Least worsening, as a share, that is found 19 times in 20."""
    basis: str
    """Where it comes from, with the figures."""


def find_ratio_tolerance(rounds: Sequence[tuple[float, float, float, int]]) -> Tolerance:
    """For the median over rounds of a ratio of two times, both taken in the same round.

    Args:
        rounds: of each run, the median ratio, the lowest, the highest, and how many rounds there were.

    Returns:
        A share that one more run falls below the median by chance once in `1 / FALSE_ALARMS`.
    """
    spreads = [(_round_spread(low, high, n), n) for _, low, high, n in rounds]
    freedom = sum(max(LEAST_FREEDOM, 0.83 * (n - 1)) for _, n in spreads)
    per_round = math.sqrt(fmean(spread**2 for spread, _ in spreads))
    error = per_round * math.sqrt(math.pi / (2 * min(n for _, n in spreads)))
    # Both the baseline and the run that is held against it have this error.
    within = _student(freedom) * math.sqrt(2) * error
    between = _between([median for median, *_ in rounds])
    floor = -math.log(1 - RATIO_FLOOR)
    log_tolerance = max(within, between, floor)
    why = {within: "the spread of its rounds", between: "what runs differed by", floor: "the least assumed"}
    basis = (
        f"{why[log_tolerance]}; {sum(n for _, n in spreads)} interleaved rounds of {len(spreads)} run(s), one round"
        f" varies by {per_round:.1%}"
    )
    return _worse_by_less(log_tolerance, max(math.sqrt(2) * error, between / 3, floor / 3), basis)


def find_rate_tolerance(rates: Sequence[float], times: Sequence[Distribution], again: Sequence[float]) -> Tolerance:
    """For frames per second on one machine.

    Args:
        rates: of each run.
        times: of its frames.
        again: the same rate as the same run measured it once more, between other drivers; may be empty.
    """
    spread = max(math.log(t.p90 / t.p50) for t in times)
    drift = max((abs(math.log(a / b)) for a, b in zip(rates, again, strict=False)), default=0.0)
    found = {
        "how far frames spread (p90 over median)": spread,
        "what one run's two measurements differed by": drift,
        "what runs differed by": _between(rates),
        "the least assumed of a machine that others use too": -math.log(1 - RATE_FLOOR),
    }
    basis = max(found, key=lambda key: found[key])
    return _worse_by_less(found[basis], found[basis] / 3, basis)


def find_tail_tolerance(times: Sequence[Distribution]) -> Tolerance:
    """For the 99th percentile of frame times, which rests on a hundredth of the frames.

    Beyond p90 times are taken to fall off like a power. Two estimates of p99 then differ as two sums of as many
    exponential variables as there are frames beyond it. A tail that begins later than p90 hides from that power, and
    shows in the latest frame: how far that one lies behind p99 is allowed on top.
    """
    from scipy import special

    frames = min(t.frames for t in times)
    beyond = max(1.0, frames / 100)
    index = max(math.log(t.p99 / t.p90) / math.log(10) for t in times)
    chance = index * math.log(float(special.fdtri(2 * beyond, 2 * beyond, 1 - FALSE_ALARMS)))
    latest = max(math.log(t.max / t.p99) for t in times)
    found = {
        f"p99 rests on {beyond:.1f} of {frames} frames, the latest of which is {math.exp(latest):.3g} times as late":
            chance + latest,
        "what runs differed by": _between([t.p99 for t in times]),
    }  # fmt: skip
    basis = max(found, key=lambda key: found[key])
    # The machine's pace moves the tail with everything else.
    log_tolerance = found[basis] + math.log(1 + TAIL_FLOOR) - math.log(1 - RATE_FLOOR)
    relative = math.expm1(log_tolerance)
    effect = math.expm1(log_tolerance + _normal(FOUND) * max(index, log_tolerance / 3))
    return Tolerance(relative=round(relative, 4), smallest_effect=round(effect, 4), basis=basis)


def find_memory_tolerance(most_bytes: Sequence[int]) -> Tolerance:
    """For the most memory in use, which hangs on what else the process happened to load."""
    spread = max(_between([float(b) for b in most_bytes]), math.log(1 + MEMORY_FLOOR))
    basis = f"what {len(most_bytes)} run(s) differed by, at least {MEMORY_FLOOR:.0%}"
    relative = math.expm1(spread)
    return Tolerance(relative=round(relative, 4), smallest_effect=round(1.1 * relative, 4), basis=basis)


def _worse_by_less(log_tolerance: float, error: float, basis: str) -> Tolerance:
    """For figures of which less is worse; `error` is the standard error of the logarithm's change."""
    relative = -math.expm1(-log_tolerance)
    effect = -math.expm1(-(log_tolerance + _normal(FOUND) * error))
    return Tolerance(relative=round(relative, 4), smallest_effect=round(effect, 4), basis=basis)


def _round_spread(low: float, high: float, rounds: int) -> float:
    """Standard deviation of one round's logarithm, from the range over all: normal variables' mean range is known."""
    return math.log(high / low) / _mean_range(rounds)


def _mean_range(amount: int) -> float:
    """Expected range of so many standard normal variables; at least that of two."""
    from scipy import integrate, special

    n = max(amount, 2)
    value, _ = integrate.quad(lambda x: 1 - special.ndtr(x) ** n - special.ndtr(-x) ** n, -math.inf, math.inf)
    return float(value)


def _between(values: Sequence[float]) -> float:
    """How far one more run may lie from these, as a logarithm: 0 for one run, their range for a few."""
    logs = [math.log(value) for value in values]
    if len(logs) < 2:
        return 0.0
    predicted = _student(len(logs) - 1) * stdev(logs) * math.sqrt(1 + 1 / len(logs)) if len(logs) > 3 else 0.0
    return max(max(logs) - min(logs), predicted)


def _student(freedom: float) -> float:
    """The quantile that Student's variable exceeds in a share `FALSE_ALARMS` of cases."""
    from scipy import special

    return float(special.stdtrit(freedom, 1 - FALSE_ALARMS))


def _normal(share: float) -> float:
    from scipy import special

    return float(special.ndtri(share))
