"""A history as a page of its own: every trend, on one self-contained HTML file. It judges nothing."""

from collections.abc import Sequence
from pathlib import Path

import jinja2

from porting import __version__
from porting.record.history import TargetTrend
from porting.report import trends as drawing
from porting.report import view
from porting.report.files import Missing
from porting.report.html import shared_filters


def render_trends(found: Sequence[TargetTrend], source: str, templates: Path) -> str:
    """The page.

    Args:
        found: what is shown, in this order.
        source: where the history is kept, without a password.
        templates: folder of the page templates, `reports/`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(shared_filters())
    environment.tests["missing"] = lambda value: isinstance(value, Missing)
    return environment.get_template("trends.html.j2").render(
        trend_pages=drawing.make_pages(found), source=source, drawing=drawing, view=view, version=__version__
    )
