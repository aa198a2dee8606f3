"""The report as Markdown, for a pull request or a terminal: verdicts, checks and tables, no pictures."""

import html
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from porting.record import LADDER, PortRecord
from porting.report import targets, view
from porting.report.html import shared_filters
from porting.report.limits import list_limits

_SPECIAL = re.compile(r"[\\`*\[\]|#~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def render_markdown(record: PortRecord, bundle: Path, templates: Path) -> str:
    """The report as GitHub-flavoured Markdown.

    Args:
        record: what is shown.
        bundle: folder of the record; only its name is used, for how to look further.
        templates: folder of the page templates, `reports/`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        finalize=escape_markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(shared_filters(), code=indent_code)
    return environment.get_template("report.md.j2").render(
        record=record, ladder=LADDER, limits=list_limits(record), view=view, targets=targets, bundle=bundle.name
    )


def escape_markdown(value: Any) -> Any:
    """Text that Markdown and HTML show as it is, on one line, and that is no link; marked-up text is left alone."""
    if isinstance(value, Markup):
        return value
    text = html.escape(" ".join(str(value).split()), quote=False).replace("://", "&#58;//")
    return Markup(_SPECIAL.sub(r"\\\g<0>", text))


def indent_code(text: str) -> Markup:
    """A block of code; indented, as a fence could be ended by the text."""
    lines = [f"    {line}" for line in text.splitlines() if line.strip()]
    return Markup("\n".join(lines))
