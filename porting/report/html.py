"""One HTML file that needs nothing else: `port.json` and the files it names, as a page.

Every name, path and reason goes through autoescape; what scripts read goes through JSON that no tag can end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from porting.record import LADDER, FreeRunning, PortRecord, TargetRecord
from porting.record.history import TargetTrend
from porting.report import emulated, floor, matrix, numbers, targets, view
from porting.report import trends as drawing
from porting.report.charts import Chart, draw_drift, draw_ratios
from porting.report.files import Missing
from porting.report.frames import Film, read_film
from porting.report.limits import list_limits
from porting.report.timing import draw_timing
from porting.report.waterfall import draw_waterfalls

FILM_BUDGET_BYTES = 3_600_000
"""For the frames of all targets together, so that a page stays under 6 MB."""
MOST_ROWS = 12
"""Rows of parity that are shown without asking."""


@dataclass(frozen=True)
class TargetPage:
    """All that the page says of one target."""

    key: str
    name: str
    target: TargetRecord
    drift: tuple[Chart | Missing, ...]
    ratios: Chart | Missing
    timing: tuple[Chart | Missing, ...]
    film: Film | Missing


def render_html(record: PortRecord, bundle: Path, templates: Path, trends: Sequence[TargetTrend] = ()) -> str:
    """The report as one self-contained page.

    Args:
        record: what is shown.
        bundle: folder that the record's paths are relative to; only files that the record names are read.
        templates: folder of the page templates, `reports/`.
        trends: the same targets over commits, from a history; none are shown by default.
    """
    environment = make_environment(templates)
    shown = sum(bool(target.parity and target.parity.free_running) for target in record.targets.values())
    budget = FILM_BUDGET_BYTES // max(1, shown)
    pages = [
        _make_page(f"t{index}", name, target, record, bundle, budget)
        for index, (name, target) in enumerate(record.targets.items())
    ]
    return environment.get_template("report.html.j2").render(
        record=record,
        pages=pages,
        ladder=LADDER,
        limits=list_limits(record),
        groups=matrix.group_targets(record),
        matrix=matrix,
        most_rows=MOST_ROWS,
        view=view,
        floor=floor,
        targets=targets,
        emulated=emulated,
        trend_pages=drawing.make_pages(trends),
        drawing=drawing,
        films={page.key: _describe_film(page) for page in pages if isinstance(page.film, Film)},
    )


def make_environment(templates: Path) -> jinja2.Environment:
    """Templates that escape whatever they are given and know the figures' filters; a name that is missing raises."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(shared_filters())
    environment.tests["missing"] = lambda value: isinstance(value, Missing)
    return environment


def shared_filters() -> dict[str, Any]:
    """Figures as text, for every template."""
    return {
        "number": numbers.number,
        "count": numbers.count,
        "bytes": numbers.nbytes,
        "times": numbers.times,
        "percent": numbers.percent,
        "plural": numbers.plural,
    }


def _make_page(
    key: str, name: str, target: TargetRecord, record: PortRecord, bundle: Path, film_budget: int
) -> TargetPage:
    free = target.parity.free_running if target.parity else None
    forced = target.parity.teacher_forced if target.parity else ()
    nothing = Missing("no parity was measured for this target")
    ratios: Chart | Missing = Missing("no frame was run from the reference's state") if target.parity else nothing
    drift: tuple[Chart | Missing, ...] = (Missing("no free rollout was run") if target.parity else nothing,)
    film: Film | Missing = drift[0] if isinstance(drift[0], Missing) else nothing
    timing: tuple[Chart | Missing, ...] = (Missing("no throughput was measured for this target"),)
    if forced:
        ratios = draw_ratios(forced, target.profile.parity.error_budget_ratio, f"{key}-ratios")
    if free is not None:
        drift = _draw_drifts(free, target, key)
        film = read_film(record, bundle, free, film_budget)
    if target.throughput is not None:
        timing = (
            *draw_timing(record, bundle, target.throughput, f"{key}-timing"),
            *draw_waterfalls(target.throughput, f"{key}-timing"),
        )
    return TargetPage(key, name, target, drift, ratios, timing, film)


def _draw_drifts(free: FreeRunning, target: TargetRecord, key: str) -> tuple[Chart | Missing, ...]:
    if not free.psnr_db:
        return (Missing("the free rollout has no frames"),)
    budget = target.profile.parity
    return (
        draw_drift(free, "psnr", view.find_psnr_limits(free, budget), f"{key}-psnr", budget.psnr_cap_db),
        draw_drift(free, "ssim", view.find_ssim_limits(free, budget), f"{key}-ssim", budget.psnr_cap_db),
    )


def _describe_film(page: TargetPage) -> dict[str, Any]:
    """What the player's script reads; figures as text, as JSON has no NaN."""
    film, parity = page.film, page.target.parity
    free = parity.free_running if parity else None
    if not isinstance(film, Film) or free is None:
        return {}
    return {
        **pack_film(film),
        "failing": free.first_failing_frame,
        "labels": {"psnr": "PSNR", "envelope": "envelope", "ssim": "SSIM"},
        "psnr": [numbers.number(value, "dB") for value in free.psnr_db],
        "ssim": [f"{value:.4f}" for value in free.ssim],
        "envelope": [numbers.number(value, "dB") for value in free.envelope_psnr_db],
    }


def pack_film(film: Film) -> dict[str, Any]:
    """The pictures of a film as the player's script takes them."""
    return {
        "width": film.width,
        "height": film.height,
        "columns": film.columns,
        "frames": film.frames,
        "sessions": {
            str(session.number): {kind: getattr(session, kind) for kind in ("reference", "port", "difference")}
            for session in film.sessions
        },
    }
