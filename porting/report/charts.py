"""The charts of a report: from evidence to inline SVG and a legend that does not rest on colour alone."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from porting.record import FreeRunning, TeacherForced
from porting.report.numbers import number
from porting.report.svg import STYLE, Ink, inline_svg

WIDTH_INCHES, HEIGHT_INCHES = 5.8, 3.1
MOST_POINTS = 1500
SERIES = (Ink.PORT, Ink.SECOND, Ink.THIRD, Ink.FOURTH, Ink.FIFTH)
DASHES = ("", "7 3", "2 2", "8 2 2 2", "4 1 1 1 1 1")


@dataclass(frozen=True)
class Key:
    """One entry of a legend: a line's colour, its dashes (SVG's stroke-dasharray) and its words."""

    ink: Ink
    dashes: str
    label: str


@dataclass(frozen=True)
class Chart:
    """One picture with what is needed to read it."""

    title: str
    svg: Markup
    keys: tuple[Key, ...]
    note: str = ""


@dataclass(frozen=True)
class Series:
    """Values of one driver, in ms and in the order in which they were made."""

    label: str
    values: tuple[float, ...]
    warmup: tuple[bool, ...] = ()


@contextmanager
def open_axes(x_label: str, y_label: str) -> Iterator[tuple[Figure, Axes]]:
    """An empty chart of a report's size and style, for the length of the block."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES))
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.tick_params(length=3)
        yield figure, axes


def _draw(axes: Axes, values: Sequence[float], key: Key, width: float = 1.8) -> None:
    """One line over frame numbers; a value that is no number leaves a gap, a lone value is a dot."""
    finite = np.array([v if math.isfinite(v) else np.nan for v in values], dtype=float)
    lone = len(finite) == 1
    line = axes.plot(np.arange(len(finite)), finite, color=key.ink.value, linewidth=width, marker="o" if lone else "")[
        0
    ]
    if key.dashes and not lone:
        line.set_dashes([float(part) for part in key.dashes.split()])


def _frame_axis(axes: Axes, frames: int) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlim(-0.5 if frames == 1 else 0, max(frames - 1, 0.5))


def _mark_frame(axes: Axes, frame: int, frames: int) -> None:
    axes.axvline(frame, color=Ink.FAILED.value, linewidth=1.4)
    late = frame > 0.75 * frames
    axes.annotate(
        f"frame {frame}", (frame, 1), (-3 if late else 3, -3), xycoords=("data", "axes fraction"),
        textcoords="offset points", color=Ink.FAILED.value, va="top", ha="right" if late else "left",
        annotation_clip=False,
    )  # fmt: skip


def draw_drift(free: FreeRunning, measure: str, limits: Sequence[float], key: str, cap_db: float) -> Chart:
    """PSNR ("psnr") or SSIM ("ssim") per frame of the free rollout, with the envelope and where frames fail.

    A frame without any difference has no finite PSNR; it is drawn above all others. Above `cap_db` all count alike.
    """
    psnr = measure == "psnr"
    port, envelope = (free.psnr_db, free.envelope_psnr_db) if psnr else (free.ssim, free.envelope_ssim)
    name = "PSNR" if psnr else "SSIM"
    keys = [
        Key(Ink.PORT, "", "port, worst session"),
        Key(Ink.REFERENCE, "7 3", "envelope: PyTorch against itself"),
        Key(Ink.LIMIT, "2 2", "lowest that passes"),
    ]
    lines = [port, envelope, tuple(limits)]
    identical = sum(v == math.inf for v in port)
    if psnr:
        top = max([cap_db, *(v + 3 for line in lines for v in line if math.isfinite(v))])
        lines = [tuple(top if v == math.inf else v for v in line) for line in lines]
    with open_axes("frame", "PSNR, dB" if psnr else "SSIM") as (figure, axes):
        for line, entry in zip(lines[::-1], keys[::-1], strict=True):
            _draw(axes, line, entry)
        _frame_axis(axes, len(port))
        _shade_failing(axes, lines[2])
        if free.first_failing_frame is not None:
            _mark_frame(axes, free.first_failing_frame, len(port))
            keys.append(Key(Ink.FAILED, "", f"first failing frame: {free.first_failing_frame}"))
        svg = inline_svg(figure, f"{name} per frame of the free-running rollout", key)
    gaps = sum(not math.isfinite(v) for v in lines[0])
    notes = ["In the shaded part a frame fails."]
    if psnr:
        notes.append(f"Above {number(cap_db, 'dB')} all frames count alike.")
    if psnr and identical:
        notes.append(f"{identical} of {len(port)} frames are identical (∞ dB) and drawn at the top.")
    if gaps:
        notes.append(f"{gaps} of {len(port)} values are not numbers and leave gaps.")
    return Chart(f"Free-running: {name} per frame", svg, tuple(keys), " ".join(notes))


def draw_two(before: Sequence[float], now: Sequence[float], cap_db: float, key: str) -> Chart:
    """PSNR per frame of two free rollouts; a frame without any difference is drawn above all others."""
    keys = (Key(Ink.SECOND, "7 3", "before"), Key(Ink.PORT, "", "now"))
    top = max([cap_db, *(v + 3 for line in (before, now) for v in line if math.isfinite(v))])
    with open_axes("frame", "PSNR, dB") as (figure, axes):
        for line, entry in zip((before, now), keys, strict=True):
            _draw(axes, [top if v == math.inf else v for v in line], entry)
        _frame_axis(axes, max(len(before), len(now)))
        svg = inline_svg(figure, "PSNR per frame of the free-running rollout, before and now", key)
    return Chart("Free-running: PSNR per frame", svg, keys, f"Above {number(cap_db, 'dB')} all frames count alike.")


def _shade_failing(axes: Axes, limits: Sequence[float]) -> None:
    """What lies under the limits, down to the end of the axis."""
    low, high = axes.get_ylim()
    known = np.array([v if math.isfinite(v) else np.nan for v in limits], dtype=float)
    if len(known) and np.isfinite(known).any():
        low = min(low, float(np.nanmin(known)) - 0.06 * (high - low))
        frames = np.arange(len(known))
        if len(known) == 1:
            frames, known = np.array([-0.5, 0.5]), np.repeat(known, 2)
        axes.fill_between(frames, known, low, color=Ink.LIMIT.value, alpha=0.1, linewidth=0)
    axes.set_ylim(low, high)


def draw_ratios(outputs: Sequence[TeacherForced], limit: float, key: str) -> Chart:
    """Error budget ratio per frame, teacher-forced: the worst outputs by name, the others in grey."""
    ranked = sorted(outputs, key=_worst_ratio, reverse=True)
    named, others = ranked[:3], ranked[3:]
    keys = [Key(ink, dashes, output.output) for output, ink, dashes in zip(named, SERIES, DASHES, strict=False)]
    with open_axes("frame", "error of port / error of eager") as (figure, axes):
        for output in others:
            _draw(axes, output.ratio, Key(Ink.GRID, "", ""), width=1.0)
        for output, entry in zip(named[::-1], keys[::-1], strict=True):
            _draw(axes, output.ratio, entry)
        axes.axhline(limit, color=Ink.LIMIT.value, linewidth=1.4, dashes=(2, 2))
        finite = [r for output in outputs for r in output.ratio if math.isfinite(r)]
        if finite and max(finite) > 20 * limit and min(finite) > 0:
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, 1.08 * max([limit, *finite]))
        _frame_axis(axes, max((len(output.ratio) for output in outputs), default=1))
        svg = inline_svg(figure, f"Error budget ratio per frame of {', '.join(o.output for o in named)}", key)
    if others:
        keys.append(Key(Ink.GRID, "", f"{len(others)} other output{'s' if len(others) > 1 else ''}"))
    keys.append(Key(Ink.LIMIT, "2 2", f"limit {number(limit)}"))
    return Chart("Teacher-forced: error budget ratio per frame", svg, tuple(keys))


def _worst_ratio(output: TeacherForced) -> float:
    return max((r if math.isfinite(r) else math.inf for r in output.ratio), default=math.inf)


def draw_distribution(drivers: Sequence[Series], deadline_ms: float, key: str) -> Chart:
    """Share of frames done within a time, after warm-up, one line a driver, with the deadline."""
    keys = []
    with open_axes("frame time, ms (log scale)", "share of frames") as (figure, axes):
        for index, driver in enumerate(drivers):
            entry = Key(SERIES[index % len(SERIES)], DASHES[index // len(SERIES) % len(DASHES)], driver.label)
            times = np.sort([v for v in driver.values if math.isfinite(v) and v > 0])
            if not len(times):
                continue
            keys.append(entry)
            line = axes.step(*_thin_steps(times), where="post", color=entry.ink.value, linewidth=1.8)[0]
            if entry.dashes:
                line.set_dashes([float(part) for part in entry.dashes.split()])
        axes.axvline(deadline_ms, color=Ink.LIMIT.value, linewidth=1.4, dashes=(2, 2))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(float(value))))
        low, high = axes.get_xlim()
        labelled = {2, 3, 4, 5, 7} if high < 10 * low else {2, 5}
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: _minor_label(float(value), labelled)))
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
        svg = inline_svg(figure, "Distribution of frame times of each driver, with the deadline", key)
    keys.append(Key(Ink.LIMIT, "2 2", f"deadline {number(deadline_ms, 'ms')}"))
    return Chart("Frame times: share done within a time", svg, tuple(keys))


def _minor_label(value: float, labelled: set[int]) -> str:
    """Labels for a few of the marks between two powers of ten."""
    return number(value) if round(value / 10 ** math.floor(math.log10(value))) in labelled else ""


def _thin_steps(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted times and the share of frames done by each; quantiles stand for very many."""
    shares = np.arange(1, len(times) + 1) / len(times)
    if len(times) > MOST_POINTS:
        kept = np.unique(np.linspace(0, len(times) - 1, MOST_POINTS).astype(int))
        times, shares = times[kept], shares[kept]
    return np.concatenate([times[:1], times]), np.concatenate([[0.0], shares])


def draw_frame_times(series: Series, deadline_ms: float, title: str, key: str) -> Chart:
    """Time of every frame in order, warm-up greyed, with the deadline."""
    values = np.array([v if math.isfinite(v) else np.nan for v in series.values])
    warm = np.array(series.warmup or (False,) * len(values))
    keep = _kept_points(values)
    keys = [Key(Ink.PORT, "", series.label)]
    with open_axes("frame", "ms") as (figure, axes):
        frames = np.arange(len(values))
        axes.plot(frames[keep], values[keep], color=Ink.PORT.value, linewidth=1.0, marker="o", markersize=1.8)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], warm.astype(int), [0]])))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            axes.axvspan(start - 0.5, end - 0.5, color=Ink.WARMUP.value, alpha=0.25, linewidth=0)
        axes.axhline(deadline_ms, color=Ink.LIMIT.value, linewidth=1.4, dashes=(2, 2))
        finite = values[np.isfinite(values)]
        axes.set_ylim(0, 1.08 * max([deadline_ms, *finite.tolist()]))
        _frame_axis(axes, len(values))
        svg = inline_svg(figure, title, key)
    if warm.any():
        keys.append(Key(Ink.WARMUP, "", f"warm-up, {int(warm.sum())} frames, not counted"))
    keys.append(Key(Ink.LIMIT, "2 2", f"deadline {number(deadline_ms, 'ms')}"))
    note = f"{int(keep.sum())} of {len(values)} points drawn, every extreme among them." if not keep.all() else ""
    return Chart(title, svg, tuple(keys), note)


def _kept_points(values: np.ndarray) -> np.ndarray:
    """Which points to draw: all, or the least and the greatest of each of many equal stretches."""
    if len(values) <= MOST_POINTS:
        return np.ones(len(values), dtype=bool)
    keep = np.zeros(len(values), dtype=bool)
    for part in np.array_split(np.arange(len(values)), MOST_POINTS // 2):
        known = part[np.isfinite(values[part])]
        if len(known):
            keep[known[[values[known].argmin(), values[known].argmax()]]] = True
    return keep


def draw_memory(resident_bytes: Sequence[int], key: str) -> Chart:
    """Resident memory after every frame of the port's own run."""
    values = np.array(resident_bytes, dtype=float) / 2**20
    keep = _kept_points(values)
    title = "Resident memory, closed loop"
    with open_axes("frame", "MiB") as (figure, axes):
        axes.plot(
            np.arange(len(values))[keep],
            values[keep],
            color=Ink.PORT.value,
            linewidth=1.4,
            marker="o" * (len(values) == 1),
        )
        middle, half = (values.max() + values.min()) / 2, (values.max() - values.min()) / 2
        # At least 2 % of the whole: a page more or less is no slope.
        axes.set_ylim(middle - max(1.2 * half, 0.01 * middle), middle + max(1.2 * half, 0.01 * middle))
        _frame_axis(axes, len(values))
        svg = inline_svg(figure, title, key)
    return Chart(title, svg, (Key(Ink.PORT, "", "port and whatever else the process holds"),))
