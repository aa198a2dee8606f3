"""The record of a comparison from what was driven. It drives nothing and reads no clock."""

import math

import numpy as np

from porting.comparison import tail
from porting.comparison.decision import BASELINE, CANDIDATE, FALSE_ALARM, FALSE_PASS, LEAST_TURNS, TWIN, Look
from porting.comparison.intervals import Middle, bootstrap_95
from porting.comparison.measure import Measured, Settings
from porting.comparison.sides import Side
from porting.comparison.slowed import ONE_IN, SLOWED
from porting.record import Comparison, ComponentRatio, Host, Interval, Outcome, SlowFrame, SlowShare


def say_unmeasured(first: Side, second: Side, host: Host, settings: Settings, reason: str) -> Comparison:
    """The record of a comparison that could not begin."""
    return Comparison.model_validate(
        {
            **_describe(first, second, host, settings),
            "seconds_used": 0.0,
            "turns": 0,
            "frames": 0,
            "looks": 0,
            "outcome": Outcome.NOT_MEASURED,
            "reason": f"Not measured: {reason}.",
        }
    )


def summarise(found: Measured, first: Side, second: Side, host: Host, settings: Settings, granted: str) -> Comparison:
    """The record of what was driven.

    Args:
        found: turns and the last look.
        first: the baseline.
        second: the candidate.
        host: this one.
        settings: what was asked.
        granted: what the system said to the wish for priority.
    """
    look = found.look if found.fault is None else None
    outcome = look.outcome if look is not None else Outcome.NOT_MEASURED
    figures = {} if look is None else _figures(found, look, settings, _names(first))
    return Comparison.model_validate(
        {
            **_describe(first, second, host, settings),
            "seconds_used": found.seconds,
            "turns": len(found.turns),
            "frames": sum(turn.seconds.shape[1] for turn in found.turns),
            "looks": found.looks,
            "priority": granted,
            "disturbances": found.disturbances,
            "outcome": outcome,
            "reason": _say(found, look, settings),
            **figures,
        }
    )


def _describe(first: Side, second: Side, host: Host, settings: Settings) -> dict[str, object]:
    return {
        "baseline": first.describe(),
        "candidate": second.describe(),
        "target": first.target,
        "host": host,
        "limit": settings.limit,
        "seconds_allowed": settings.seconds,
        "seed": settings.seed,
        "rebuilds": settings.rebuilds,
        "false_alarm_rate": FALSE_ALARM,
        "false_pass_rate": FALSE_PASS,
    }


def _names(side: Side) -> list[str]:
    return [component.name for component in side.record.program.components]


def _figures(found: Measured, look: Look, settings: Settings, names: list[str]) -> dict[str, object]:
    times_ms = found.times * 1e3
    low, high = bootstrap_95(look.telling_ratios, settings.seed)
    needed = max(math.log1p(settings.limit), look.seen_floor) + float(look.telling.reach)
    return {
        "baseline_ms": float(np.median(times_ms[:, [BASELINE, TWIN]])),
        "candidate_ms": float(np.median(times_ms[:, CANDIDATE])),
        "ratio": math.exp(look.telling.estimate),
        "interval": Interval(low=math.exp(low), high=math.exp(high), level=0.95),
        "low": math.exp(look.telling.low),
        "high": math.exp(look.telling.high),
        "noise_floor": math.expm1(look.floor),
        "noise_seen": math.expm1(look.seen_floor),
        "twin_ratio": math.exp(look.twin.estimate),
        "smallest_slowdown": math.expm1(needed),
        "slowed": _record_share(SLOWED, look.slowed),
        "late": _record_share(tail.FAR, look.late),
        "slow_frame": _record_frame(look),
        "components": _compare_components(found, settings.seed, names),
    }


def _record_share(slowdown: float, found: Middle) -> SlowShare:
    return SlowShare(
        slowdown=slowdown,
        share=float(found.estimate),
        low=float(found.low),
        high=float(found.high),
        limit=tail.SHARE_LIMIT,
        matters=1 / ONE_IN,
    )


def _record_frame(look: Look) -> SlowFrame | None:
    found = look.recurring
    if found is None:
        return None
    return SlowFrame(frame=found.frame, ratio=math.exp(found.estimate), low=math.exp(found.low))


def _compare_components(found: Measured, seed: int, names: list[str]) -> tuple[ComponentRatio, ...]:
    """Ratios of each component that frames call, where its times are times."""
    spent = found.component_seconds
    ratios = []
    for index, name in enumerate(names):
        seconds = spent[:, :, index]
        if not np.all(np.isfinite(seconds) & (seconds > 0)):
            continue
        logs = np.log(seconds)
        against = logs[:, CANDIDATE] - logs[:, [BASELINE, TWIN]].mean(axis=1)
        low, high = bootstrap_95(against, seed)
        ratios.append(
            ComponentRatio(
                component=name, ratio=math.exp(float(np.median(against))), low=math.exp(low), high=math.exp(high)
            )
        )
    return tuple(ratios)


def _say(found: Measured, look: Look | None, settings: Settings) -> str:
    """The reason, a sentence."""
    if found.fault is not None:
        return f"Not measured: {found.fault}."
    turns, seconds = len(found.turns), found.seconds
    if look is None:
        # A turn more than the least, so that the last one does not end just past the time.
        enough = math.ceil(seconds / max(turns, 1) * (LEAST_TURNS + 1))
        return (
            f"Not measured: {turns} turns fitted into {settings.seconds:g} s, and {LEAST_TURNS} are needed;"
            f" allow {enough} s."
        )
    held = f"in {seconds:.1f} s, {turns} turns, {turns * found.turns[0].seconds.shape[1]:,} frames of each"
    if look.outcome is Outcome.FAILED:
        return f"Slower: {'; '.join(look.causes)} ({held})."
    if look.outcome is Outcome.PASSED:
        high, floor = (100 * math.expm1(float(bound)) for bound in (look.telling.high, look.floor))
        return (
            f"No slower: the ratio is {math.exp(look.telling.estimate):.4f}, a slowdown above {max(high, 0.0):.2f} %"
            f" would have been seen, as would a fifth on one frame in {ONE_IN} or on the same frame each time;"
            f" the baseline differs from itself by less than {floor:.2f} % ({held})."
        )
    return f"Not measured: {'; '.join(look.causes)} ({held}); allow more time or a quieter machine."
