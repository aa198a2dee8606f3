"""Pages from a record: what a reader sees of a port. They read what `port.json` says and names, and judge nothing."""

from collections.abc import Sequence
from pathlib import Path

from porting.record import PortRecord
from porting.record.history import TargetTrend

__all__ = ["render_against", "render_html", "render_markdown"]


# What draws takes seconds to load: whoever only wants `numbers` or `view` should not wait for it.
def render_html(record: PortRecord, bundle: Path, templates: Path, trends: Sequence[TargetTrend] = ()) -> str:
    """The report as one self-contained page; see `porting.report.html`."""
    from porting.report import html

    return html.render_html(record, bundle, templates, trends)


def render_markdown(record: PortRecord, bundle: Path, templates: Path) -> str:
    """The report as GitHub-flavoured Markdown; see `porting.report.markdown`."""
    from porting.report import markdown

    return markdown.render_markdown(record, bundle, templates)


def render_against(before: PortRecord, before_bundle: Path, now: PortRecord, now_bundle: Path, templates: Path) -> str:
    """Two bundles on one self-contained page; see `porting.report.side_by_side`."""
    from porting.report.side_by_side import Side, render_side_by_side

    return render_side_by_side(Side(before, before_bundle), Side(now, now_bundle), templates)
