"""Pages from a record: what a reader sees of a port. They read `port.json` and files that it names, and judge nothing."""

from porting.report.html import render_html
from porting.report.markdown import render_markdown

__all__ = ["render_html", "render_markdown"]
