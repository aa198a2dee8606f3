"""Where the time of frames went: components, copies and the host between them, over all frames and in single ones."""

import numpy as np

from porting.record import CallSpan, ComponentTime, Waterfall
from porting.rollout import COPY
from porting.throughput.frame_log import FrameLog, Rows
from porting.throughput.statistics import are_times

HOST = "host"
"""Time that is neither a component's nor a copy's: the loop itself, and whatever interrupts it."""


def share_out(log: FrameLog, rows: Rows) -> tuple[ComponentTime, ...]:
    """Mean time per frame of every component, of copies and of the host; nothing where a time is no time."""
    frame_ms = log.frame_ms(rows)
    if not are_times(frame_ms):
        return ()
    whole = float(frame_ms.mean())
    # Components that only priming runs cost a frame nothing.
    names = [*(name for name in log.components if name in log.span_names), COPY]
    taken = {name: log.spent_ms(rows, name) for name in names}
    taken[HOST] = frame_ms - np.sum(list(taken.values()), axis=0)
    return tuple(
        ComponentTime(
            what=name,
            calls_per_frame=float(log.span_names.count(name)),
            ms_per_frame=float(ms.mean()),
            share=float(ms.mean()) / whole,
            median_ms=float(np.median(ms)),
        )
        for name, ms in taken.items()
    )


def find_waterfalls(log: FrameLog, rows: Rows) -> tuple[Waterfall, ...]:
    """The frame whose time is the median, and the one that took longest; nothing where a time is no time."""
    frame_ms = log.frame_ms(rows)
    if not are_times(frame_ms):
        return ()
    order = np.argsort(frame_ms, kind="stable")
    picked = {"median": rows[order[(rows.size - 1) // 2]], "worst": rows[order[-1]]}
    return tuple(_describe(log, which, int(row)) for which, row in picked.items())


def _describe(log: FrameLog, which: str, row: int) -> Waterfall:
    """One frame, stretch by stretch."""
    one = np.array([row])
    frame_ms = float(log.frame_ms(one)[0])
    spans: list[CallSpan] = []
    calls: dict[str, int] = {}
    ended = 0.0
    for name, (start, finish) in zip(log.span_names, log.spans_ms(row).tolist(), strict=True):
        call = None if name == COPY else calls.get(name, 0)
        calls[name] = calls.get(name, 0) + 1
        spans.append(
            CallSpan(what=name, call=call, start_ms=start, duration_ms=finish - start, gap_ms=max(start - ended, 0.0))
        )
        ended = finish
    return Waterfall(
        which=which,
        frame=log.frame_number(row),
        frame_ms=frame_ms,
        late_start_ms=max(float(log.latency_ms(one)[0]) - frame_ms, 0.0),
        spans=tuple(spans),
        tail_ms=max(frame_ms - ended, 0.0),
    )
