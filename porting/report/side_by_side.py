"""Two bundles on one page: verdicts, checks and figures before and now, and their frames beside each other.

Every name, path and reason goes through autoescape. It judges nothing; `changes` does the subtracting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porting.record import LADDER, FreeRunning, PortRecord, TargetRecord
from porting.report import changes, matrix, numbers, view
from porting.report.charts import Chart, Series, draw_distribution, draw_two
from porting.report.files import Missing
from porting.report.frames import Film, pair_film, read_sheet
from porting.report.html import FILM_BUDGET_BYTES, make_environment, pack_film
from porting.report.timing import CLOSED_LOOP, PORT, read_frames

NAMES = ("before", "now")


@dataclass(frozen=True)
class Side:
    """One of the two bundles."""

    record: PortRecord
    folder: Path


@dataclass(frozen=True)
class ChangePage:
    """All that the page says of one target."""

    key: str
    change: changes.TargetChange
    hosts: tuple[changes.Change, ...]
    charts: tuple[Chart | Missing, ...]
    film: Film | Missing
    gain: float
    figures: dict[str, Any]
    """What the player's script reads beside the pictures."""


def render_side_by_side(before: Side, now: Side, templates: Path) -> str:
    """The page.

    Args:
        before: what is held against; only files that its record names are read.
        now: what is looked at.
        templates: folder of the page templates, `reports/`.
    """
    found = changes.compare_targets(before.record, now.record)
    shown = sum(all(_free(target) for target in (change.before, change.now)) for change in found)
    budget = FILM_BUDGET_BYTES // max(1, shown)
    pages = [_make_page(f"t{index}", change, before, now, budget) for index, change in enumerate(found)]
    return (
        make_environment(templates)
        .get_template("side_by_side.html.j2")
        .render(
            before=before,
            now=now,
            pages=pages,
            origins=changes.compare_origins(before.record, now.record),
            same_trace=changes.same_trace(before.record, now.record),
            groups={name: matrix.group_targets(side.record) for name, side in zip(NAMES, (before, now), strict=True)},
            ladder=LADDER,
            view=view,
            matrix=matrix,
            films={page.key: {**pack_film(page.film), **page.figures} for page in pages if isinstance(page.film, Film)},
        )
    )


def _free(target: TargetRecord | None) -> FreeRunning | None:
    return target.parity.free_running if target and target.parity else None


def _make_page(key: str, change: changes.TargetChange, before: Side, now: Side, budget: int) -> ChangePage:
    old, new = change.before, change.now
    if old is None or new is None:
        nothing = Missing(f"only one of the two bundles has {change.name}")
        return ChangePage(key, change, (), (), nothing, 0.0, {})
    hosts = tuple(changes.compare_hosts(old, new))
    free = [_free(target) for target in (old, new)]
    film: Film | Missing = Missing("no free rollout was run on both sides")
    gain, charts, figures = 0.0, list[Chart | Missing](), dict[str, Any]()
    if free[0] is not None and free[1] is not None:
        cap = new.profile.parity.psnr_cap_db
        charts.append(draw_two(tuple(free[0].psnr_db), tuple(free[1].psnr_db), cap, f"{key}-psnr"))
        film, gain = _make_film(before, now, (free[0], free[1]), budget)
        figures = _describe(free[0], free[1])
    charts += _draw_times(before, now, (old, new), key)
    return ChangePage(key, change, hosts, tuple(charts), film, gain, figures)


def _make_film(
    before: Side, now: Side, free: tuple[FreeRunning, FreeRunning], budget: int
) -> tuple[Film | Missing, float]:
    if not changes.same_trace(before.record, now.record):
        return Missing("the two bundles were held against different traces, so their frames show different things"), 0.0
    sheets = []
    for side, rollout in zip((before, now), free, strict=True):
        sheet = read_sheet(side.record, side.folder, rollout, "port")
        if isinstance(sheet, Missing):
            return sheet, 0.0
        sheets.append(sheet)
    return pair_film(sheets[0], sheets[1], free[1].first_failing_frame, budget)


def _describe(before: FreeRunning, now: FreeRunning) -> dict[str, Any]:
    frames = min(len(before.psnr_db), len(now.psnr_db))
    failing = now.first_failing_frame
    return {
        "failing": failing if failing is not None and failing < frames else None,
        "labels": {"psnr": "PSNR now", "envelope": "PSNR before", "ssim": "SSIM before, now"},
        "psnr": [numbers.number(value, "dB") for value in now.psnr_db[:frames]],
        "envelope": [numbers.number(value, "dB") for value in before.psnr_db[:frames]],
        "ssim": [f"{a:.4f}, {b:.4f}" for a, b in zip(before.ssim[:frames], now.ssim[:frames], strict=False)],
    }


def _draw_times(before: Side, now: Side, targets: Sequence[TargetRecord], key: str) -> list[Chart | Missing]:
    """The distribution of the port's own frame times on either side."""
    lines = []
    for name, side, target in zip(NAMES, (before, now), targets, strict=True):
        if target.throughput is None:
            return []
        rows = read_frames(side.record, side.folder, target.throughput.frames_file)
        if isinstance(rows, Missing):
            return [rows]
        own = [row for row in rows if (row.driver, row.mode, row.round) == (PORT, CLOSED_LOOP, 0) and not row.warmup]
        lines.append(Series(name, tuple(row.ms for row in own)))
    timed = targets[1].throughput
    # The one looked at first: it has the port's own colour on every chart.
    return [draw_distribution(lines[::-1], timed.deadline_ms, f"{key}-times")] if timed else []
