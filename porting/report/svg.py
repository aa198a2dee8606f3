"""Charts as inline SVG that follows the page's colours. Knows nothing of what a chart shows.

matplotlib writes fixed colours, a style sheet that would reach the whole page, and ids that repeat from chart to chart;
`inline_svg` turns them into CSS variables, nothing, and ids of their own.
"""

import io
import re
import xml.etree.ElementTree as ET
from enum import StrEnum
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
LINK = "http://www.w3.org/1999/xlink"


class Ink(StrEnum):
    """What a colour is for. The value is only a mark in the SVG; `report.css` says what it looks like."""

    TEXT = "#010101"
    MUTED = "#020202"
    GRID = "#030303"
    PORT = "#040404"
    REFERENCE = "#050505"
    LIMIT = "#060606"
    FAILED = "#070707"
    WARMUP = "#080808"
    SECOND = "#090909"
    THIRD = "#0a0a0a"
    FOURTH = "#0b0b0b"
    FIFTH = "#0c0c0c"

    @property
    def css(self) -> str:
        """The page's own colour for it."""
        return f"var(--chart-{self.name.lower()})"


STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11,
    "text.color": Ink.TEXT.value,
    "axes.labelcolor": Ink.MUTED.value,
    "axes.edgecolor": Ink.MUTED.value,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "grid.color": Ink.GRID.value,
    "grid.linewidth": 0.7,
    "xtick.color": Ink.MUTED.value,
    "ytick.color": Ink.MUTED.value,
    "xtick.direction": "out",
    "figure.subplot.left": 0.15,
    "figure.subplot.right": 0.985,
    "figure.subplot.bottom": 0.155,
    "figure.subplot.top": 0.965,
}


def inline_svg(figure: Figure, title: str, key: str) -> Markup:
    """The figure as one <svg> element that scales to the page's width; the same bytes for the same figure.

    Args:
        figure: what to draw, with colours from `Ink` only.
        title: what a screen reader says; may hold names from a model.
        key: unique on the page, as ids are made from it.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": key, "svg.fonttype": "none"}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        # savefig would draw twice, to measure what this does not need.
        FigureCanvasSVG(figure).print_svg(buffer, metadata=metadata)  # type: ignore[no-untyped-call]
    root = ET.fromstring(buffer.getvalue())
    _drop_page_wide_parts(root)
    _rename_ids(root, key)
    for element in root.iter():
        _recolour(element)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    label = ET.Element(f"{{{SVG}}}title")
    label.text = title
    root.insert(0, label)
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", LINK)
    # ElementTree escapes every text and attribute, so names from a model stay text.
    return Markup(ET.tostring(root, encoding="unicode"))


def _drop_page_wide_parts(root: ET.Element) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{SVG}}}metadata", f"{{{SVG}}}style"}:
                parent.remove(child)


def _rename_ids(root: ET.Element, key: str) -> None:
    """Keep the ids that something refers to, made unique to this chart; drop the others."""
    text = ET.tostring(root, encoding="unicode")
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    for element in root.iter():
        name = element.get("id")
        if name is not None and name not in used:
            del element.attrib["id"]
        elif name is not None:
            element.set("id", f"{key}-{name}")
        for attribute, value in list(element.attrib.items()):
            if attribute.endswith("href") and value.startswith("#"):
                # HTML parsers know plain href; the old prefix is not needed.
                del element.attrib[attribute]
                element.set("href", f"#{key}-{value[1:]}")
            elif "url(#" in value:
                element.set(attribute, value.replace("url(#", f"url(#{key}-"))


def _recolour(element: ET.Element) -> None:
    style = element.get("style", "")
    if element.tag == f"{{{SVG}}}text":
        # The page's own font, and a size that does not depend on the printed one.
        size = re.search(r"font-size:\s*([\d.]+)px|font:\s*([\d.]+)px", style)
        anchor = re.search(r"text-anchor:\s*\w+", style)
        colour = re.search(r"fill:\s*#\w+", style)
        parts = [f"font-size: {next(g for g in size.groups() if g)}px" if size else "font-size: 11px"]
        parts += [match.group() for match in (anchor, colour) if match]
        style = "; ".join(parts)
    for ink in Ink:
        style = style.replace(ink.value, ink.css)
    if style:
        element.set("style", style)
