"""Where the time of single frames went: a lane for each component, for copies and for the host."""

from collections.abc import Sequence

from porting.record import ThroughputEvidence, Waterfall
from porting.report.charts import SERIES, WIDTH_INCHES, Chart, Key, open_axes
from porting.report.files import Missing
from porting.report.numbers import number, plural
from porting.report.svg import Ink, inline_svg

COPY, HOST = "copy", "host"
BAR_HEIGHT = 0.62
INCHES_PER_LETTER = 0.105
"""Room for a lane's name, at the size that charts are lettered in."""


def draw_waterfalls(evidence: ThroughputEvidence, key: str) -> tuple[Chart | Missing, ...]:
    """One chart a frame that was recorded call by call, all over the same time."""
    if not evidence.waterfalls:
        return (Missing("no frame's calls were recorded one by one"),)
    span_ms = max(frame.frame_ms for frame in evidence.waterfalls)
    return tuple(
        _draw(frame, span_ms, evidence.deadline_ms, f"{key}-waterfall-{index}")
        for index, frame in enumerate(evidence.waterfalls)
    )


def list_parts(frame: Waterfall) -> list[tuple[str, int, float]]:
    """(component, "copy" or "host"; how many stretches; their ms), in the order of the frame."""
    lanes = _lanes(frame)
    return [(name, len(bars), sum(length for _, length in bars)) for name, bars in lanes.items()]


def _lanes(frame: Waterfall) -> dict[str, list[tuple[float, float]]]:
    """Start and length in ms of every stretch, by what it went into."""
    lanes: dict[str, list[tuple[float, float]]] = {}
    for span in frame.spans:
        lanes.setdefault(span.what, []).append((span.start_ms, span.duration_ms))
    gaps = [(span.start_ms - span.gap_ms, span.gap_ms) for span in frame.spans if span.gap_ms > 0]
    if frame.tail_ms > 0:
        gaps.append((frame.frame_ms - frame.tail_ms, frame.tail_ms))
    copies = lanes.pop(COPY, [])
    return {**lanes, **({COPY: copies} if copies else {}), HOST: gaps}


def _draw(frame: Waterfall, span_ms: float, deadline_ms: float, key: str) -> Chart:
    lanes, longest = _lanes(frame), max(map(len, _lanes(frame)))
    inks = _choose_inks(list(lanes))
    title = f"The {frame.which} paced frame, number {frame.frame}: {number(frame.frame_ms, 'ms')}"
    keys = [
        Key(inks[name], "", f"{name}: {number(spent, 'ms')} in {plural(amount, 'part')}")
        for name, amount, spent in list_parts(frame)
    ]
    with open_axes("ms from the frame's start", "") as (figure, axes):
        figure.subplots_adjust(left=min(0.4, 0.03 + INCHES_PER_LETTER * longest / WIDTH_INCHES))
        for lane, (name, bars) in enumerate(lanes.items()):
            axes.broken_barh(bars, (lane - BAR_HEIGHT / 2, BAR_HEIGHT), facecolors=inks[name].value, linewidth=0)
        if deadline_ms <= 1.05 * span_ms:
            axes.axvline(deadline_ms, color=Ink.LIMIT.value, linewidth=1.4, dashes=(2, 2))
            keys.append(Key(Ink.LIMIT, "2 2", f"deadline {number(deadline_ms, 'ms')} after the release"))
        axes.set_xlim(0, 1.02 * span_ms)
        axes.set_ylim(len(lanes) - 0.5, -0.5)
        axes.set_yticks(range(len(lanes)), list(lanes))
        axes.grid(visible=False, axis="y")
        svg = inline_svg(figure, title, key)
    late = f"It was begun {number(frame.late_start_ms, 'ms')} after its release." if frame.late_start_ms > 0 else ""
    return Chart(title, svg, tuple(keys), late)


def _choose_inks(names: Sequence[str]) -> dict[str, Ink]:
    """Each component its own colour, copies and the host greys; no lane rests on its colour alone."""
    components = [name for name in names if name not in {COPY, HOST}]
    inks = {name: SERIES[index % len(SERIES)] for index, name in enumerate(components)}
    return {**inks, COPY: Ink.REFERENCE, HOST: Ink.WARMUP}
