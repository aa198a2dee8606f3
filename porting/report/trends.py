"""Trends of a port's figures over commits: pictures, sentences and tables. It finds no change; it shows those found."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from porting.record import Outcome
from porting.record.history import (
    METRIC_OF,
    ChangePoint,
    HistoryPoint,
    Metric,
    MetricTrend,
    TargetTrend,
)
from porting.report import view
from porting.report.charts import DASHES, SERIES, Chart, Key, open_axes
from porting.report.numbers import number, percent, plural
from porting.report.svg import Ink, inline_svg

SHORT = 9
"""Letters of a commit that are shown."""
MOST_TICKS = 5
LEAST_SPAN = 0.02
"""Share of the level that a chart shows at least: a figure that stands still is a flat line."""
INKS = {True: Ink.FAILED, False: Ink.THIRD}
"""Of a change for the worse and for the better."""


@dataclass(frozen=True)
class ChangeLine:
    """One change of level as a sentence."""

    worse: bool
    sentence: str


@dataclass(frozen=True)
class Machine:
    """One fingerprint: machine and versions."""

    number: int
    words: str
    records: int


@dataclass(frozen=True)
class TrendPage:
    """All that a page says of one target over commits."""

    key: str
    trend: TargetTrend
    outcomes: str
    machines: tuple[Machine, ...]
    changes: tuple[ChangeLine, ...]
    judged: str
    """Which figures a change was looked for in."""
    unjudged: tuple[str, ...]
    """A sentence for each figure and machine in which none could have been seen."""
    charts: tuple[Chart, ...]

    @property
    def columns(self) -> tuple[Metric, ...]:
        """The figures that the table has."""
        return tuple(METRIC_OF[found.metric] for found in self.trend.metrics)

    def cell(self, point: HistoryPoint, metric: Metric) -> str:
        """The figure in the table; where there is none, that it was not measured."""
        return number(point.values.get(metric.name))

    def machine_of(self, point: HistoryPoint) -> int:
        """The number that its machine has on the page."""
        return 1 + self.trend.fingerprints.index(point.fingerprint)


def make_pages(trends: Sequence[TargetTrend], prefix: str = "h") -> tuple[TrendPage, ...]:
    """One page a trend; `prefix` begins every id, which are to be unique in a document."""
    return tuple(_make_page(trend, f"{prefix}{index}") for index, trend in enumerate(trends))


def _make_page(trend: TargetTrend, key: str) -> TrendPage:
    changes = [change for found in trend.metrics for change in found.changes]
    return TrendPage(
        key=key,
        trend=trend,
        outcomes=say_outcomes(trend.points),
        machines=tuple(_list_machines(trend)),
        changes=tuple(ChangeLine(c.worse, say_change(trend, c)) for c in sorted(changes, key=lambda c: -c.after)),
        judged=_say_judged(trend),
        unjudged=tuple(_list_unjudged(trend)),
        charts=tuple(draw_trend(trend, found, f"{key}-{found.metric}") for found in trend.metrics),
    )


def _list_machines(trend: TargetTrend) -> list[Machine]:
    counts = Counter(point.fingerprint for point in trend.points)
    words = {point.fingerprint: point.machine for point in trend.points}
    return [Machine(i, words[name], counts[name]) for i, name in enumerate(trend.fingerprints, start=1)]


def say_outcomes(points: Sequence[HistoryPoint]) -> str:
    """How many records passed, and the last one that did not."""
    counts = Counter(point.outcome for point in points)
    said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
    bad = [point for point in points if point.outcome is Outcome.FAILED]
    last = f"; the last one that failed is of {bad[-1].commit[:SHORT]}" if bad else ""
    return f"{plural(len(points), 'record')}: {said}{last}."


def say_change(trend: TargetTrend, change: ChangePoint) -> str:
    """What changed by how much, between which commits, and on how many records that rests."""
    metric = METRIC_OF[change.metric]
    old, new = trend.points[change.before].commit[:SHORT], trend.points[change.after].commit[:SHORT]
    where = f"between {old} and {new}" if old != new else f"between two records of {new}"
    also = f" The {' and the '.join(change.also)} changed there too." if change.also else ""
    levels = f"{number(change.level_before)} to {number(change.level_after, metric.unit)}"
    return (
        f"{metric.title}: {say_step(change)} for the {'worse' if change.worse else 'better'}, {levels}, {where}."
        f" Medians of {plural(change.count_before, 'record')} before and {change.count_after} after.{also}"
    )


def say_step(change: ChangePoint) -> str:
    """The step with its sign: in percent of the old level, or in the figure's own unit."""
    metric = METRIC_OF[change.metric]
    rise = change.level_after - change.level_before
    sign = "+" if rise > 0 else ""
    if metric.additive or not change.level_before:
        return f"{sign}{number(rise, metric.unit)}"
    return f"{sign}{percent(rise / change.level_before)}"


def _say_judged(trend: TargetTrend) -> str:
    prints = set(trend.fingerprints)
    judged = [METRIC_OF[found.metric].title for found in trend.metrics if prints - found.unjudged.keys()]
    if not judged:
        return ""
    return f"A change of level was looked for in: {'; '.join(map(_in_sentence, judged))}."


def _list_unjudged(trend: TargetTrend) -> list[str]:
    """Why nothing can be said; figures of one machine that share the reason share the sentence."""
    reasons: dict[tuple[int, str], list[str]] = {}
    for found in trend.metrics:
        for place, name in enumerate(trend.fingerprints, start=1):
            if name in found.unjudged:
                title = METRIC_OF[found.metric].title
                reasons.setdefault((place, found.unjudged[name]), []).append(_in_sentence(title))
    return [f"machine {place}, {'; '.join(titles)}: {reason}" for (place, reason), titles in sorted(reasons.items())]


def _in_sentence(title: str) -> str:
    """A title without its capital, which an acronym keeps."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def draw_trend(trend: TargetTrend, found: MetricTrend, key: str) -> Chart:
    """One figure over the records, a line a machine, with levels, changes and breaks between machines."""
    metric = METRIC_OF[found.metric]
    title = f"{metric.title}{f', {metric.unit}' if metric.unit else ''}"
    keys: list[Key] = []
    with open_axes("record, by commit", metric.unit or "share") as (figure, axes):
        if not metric.unit:
            axes.set_ylabel("ratio" if metric.name == "budget_ratio" else "share")
        for place, fingerprint in enumerate(trend.fingerprints):
            keys += _draw_machine(axes, trend, metric, place, fingerprint)
        for at in trend.breaks:
            axes.axvline(at - 0.5, color=Ink.MUTED.value, linewidth=1.2, dashes=(4, 3))
        if trend.breaks:
            keys.append(Key(Ink.MUTED, "4 3", "another machine or version from here on: figures do not compare"))
        for change in found.changes:
            keys.append(_draw_change(axes, trend, change))
        _mark_commits(axes, trend.points)
        values = [point.values[metric.name] for point in trend.points if metric.name in point.values]
        give_room(axes, values, metric)
        svg = inline_svg(figure, f"{metric.title} of {trend.target} over {plural(len(trend.points), 'record')}", key)
    gaps = sum(metric.name not in point.values for point in trend.points)
    note = f"Not measured in {gaps} of {plural(len(trend.points), 'record')}." if gaps else ""
    return Chart(title, svg, tuple(keys), note)


def _draw_machine(axes: Axes, trend: TargetTrend, metric: Metric, place: int, fingerprint: str) -> list[Key]:
    """Points of one machine: those that count joined by a line, disturbed ones hollow and apart."""
    ink, dashes = SERIES[place % len(SERIES)], DASHES[place % len(DASHES)]
    own = [i for i, p in enumerate(trend.points) if p.fingerprint == fingerprint and metric.name in p.values]
    calm = [i for i in own if trend.points[i].counts_for(metric)]
    loud = [i for i in own if i not in set(calm)]
    keys = []
    if calm:
        values = [trend.points[i].values[metric.name] for i in calm]
        line = axes.plot(calm, values, color=ink.value, linewidth=1.1, marker="o", markersize=3.2)[0]
        if dashes:
            line.set_dashes([float(part) for part in dashes.split()])
        keys.append(Key(ink, dashes, f"machine {place + 1}, {plural(len(calm), 'record')}"))
    if loud:
        values = [trend.points[i].values[metric.name] for i in loud]
        axes.plot(loud, values, linestyle="", marker="x", markersize=4.5, color=Ink.REFERENCE.value)
        said = f"{plural(len(loud), 'record')} timed beside other load, shown as crosses: no judgement rests on them"
        keys.append(Key(Ink.REFERENCE, "1 5", f"machine {place + 1}, {said}"))
    return keys


def _draw_change(axes: Axes, trend: TargetTrend, change: ChangePoint) -> Key:
    """Both levels, and a line where one ends."""
    ink = INKS[change.worse]
    counted = [
        i
        for i, point in enumerate(trend.points)
        if point.fingerprint == change.fingerprint and point.counts_for(METRIC_OF[change.metric])
    ]
    at = counted.index(change.after)
    old, new = counted[at - change.count_before : at], counted[at : at + change.count_after]
    axes.hlines(change.level_before, old[0], old[-1], color=Ink.TEXT.value, linewidth=1.6)
    axes.hlines(change.level_after, new[0], new[-1], color=Ink.TEXT.value, linewidth=1.6)
    axes.axvline((change.before + change.after) / 2, color=ink.value, linewidth=1.4)
    late = change.after > 0.75 * len(trend.points)
    axes.annotate(
        say_step(change), ((change.before + change.after) / 2, 1), (-3 if late else 3, -3),
        xycoords=("data", "axes fraction"), textcoords="offset points", color=ink.value, va="top",
        ha="right" if late else "left", annotation_clip=False,
    )  # fmt: skip
    word = "worse" if change.worse else "better"
    return Key(ink, "", f"{word} from {trend.points[change.after].commit[:SHORT]} on: {say_step(change)}")


def _mark_commits(axes: Axes, points: Sequence[HistoryPoint]) -> None:
    places = np.unique(np.linspace(0, len(points) - 1, min(MOST_TICKS, len(points))).astype(int))
    axes.set_xticks(places, [points[i].commit[:7] for i in places])
    # Centred, the last one would stand over the edge.
    axes.get_xticklabels()[-1].set_horizontalalignment("right" if len(points) > 1 else "center")
    axes.set_xlim(-0.5, len(points) - 0.5)


def give_room(axes: Axes, values: Sequence[float], metric: Metric) -> None:
    """Every value and some room around; never so close that noise fills the picture of a figure that stands still.

    Nothing below zero is shown of a figure that cannot be there.
    """
    low, high = min(values), max(values)
    middle = (low + high) / 2
    still = 2 * metric.least if metric.additive else LEAST_SPAN * abs(middle)
    half = max(0.62 * (high - low), still) or metric.least
    bottom = middle - half if low < 0 else max(middle - half, -half / 10)
    axes.set_ylim(bottom, middle + half)


def mark_of(point: HistoryPoint) -> str:
    """The outcome's sign, as everywhere in a report."""
    return view.MARKS[point.outcome]
