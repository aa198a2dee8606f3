"""Points of a history as trends: one a model, target and precision, with every change of level that is beyond noise.

Changes are looked for among points of one fingerprint only, so another machine or another version of a runtime is a
break and never a regression.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from porting.history.changes import FEWEST, Split, find_splits
from porting.record.history import METRICS, ChangePoint, HistoryPoint, Metric, MetricTrend, TargetTrend

MOST_POINTS = 200
"""Of one trend; older ones are left out unless more are asked for."""


def make_trends(points: Iterable[HistoryPoint], last: int | None = MOST_POINTS) -> tuple[TargetTrend, ...]:
    """Trends by model, target and precision, those with figures first.

    Args:
        points: in the order in which they are drawn, the oldest first.
        last: only so many of each trend, the newest; all of them for None.
    """
    series: dict[tuple[str, str, str], list[HistoryPoint]] = {}
    for point in points:
        series.setdefault((point.model, point.target, point.precision), []).append(point)
    trends = []
    for (model, target, precision), members in sorted(series.items()):
        kept = tuple(members[-last:] if last is not None else members)
        metrics = tuple(_make_metric(kept, m) for m in METRICS if any(m.name in point.values for point in kept))
        trends.append(TargetTrend(model=model, target=target, precision=precision, points=kept, metrics=metrics))
    return tuple(sorted(trends, key=lambda trend: not trend.metrics))


def _make_metric(points: Sequence[HistoryPoint], metric: Metric) -> MetricTrend:
    changes: list[ChangePoint] = []
    unjudged: dict[str, str] = {}
    for fingerprint in dict.fromkeys(point.fingerprint for point in points):
        own = [index for index, point in enumerate(points) if point.fingerprint == fingerprint]
        judged = [index for index in own if points[index].counts_for(metric)]
        if len(judged) < FEWEST:
            unjudged[fingerprint] = _say_too_few(points, own, len(judged), metric)
            continue
        values = np.array([points[index].values[metric.name] for index in judged])
        changes += [_make_change(points, judged, split, metric) for split in find_splits(values, metric)]
    return MetricTrend(
        metric=metric.name, changes=tuple(sorted(changes, key=lambda change: change.after)), unjudged=unjudged
    )


def _say_too_few(points: Sequence[HistoryPoint], own: Sequence[int], judged: int, metric: Metric) -> str:
    disturbed = sum(metric.name in points[i].values and not points[i].counts_for(metric) for i in own)
    beside = f"; {disturbed} more were timed beside other load" if disturbed else ""
    return f"{judged} of the {FEWEST} figures that it takes to tell a change from noise{beside}"


def _make_change(points: Sequence[HistoryPoint], judged: Sequence[int], split: Split, metric: Metric) -> ChangePoint:
    after, before = judged[split.at], judged[split.at - 1]
    new, old = points[after], points[before]
    also = [name for name in ("checkpoint", "program") if getattr(new, name) != getattr(old, name)]
    return ChangePoint(
        metric=metric.name, fingerprint=new.fingerprint, after=after, before=before,
        level_before=split.level_before, level_after=split.level_after,
        count_before=split.before, count_after=split.after,
        worse=(split.rise < 0) == (metric.better == "higher"), also=tuple(also),
    )  # fmt: skip
