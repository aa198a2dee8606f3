"""Floors beside published measurements, as the table of docs/plan.md: python benchmarks/plan_against_published.py.

Prints Markdown; with --write, puts it between the marks of docs/plan.md. Ends with 1 when a floor lies above what was
measured: then a peak, a formula or an input is wrong. Nothing here is fitted.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from porting import content
from porting.planning import read_racks
from porting.planning.published import ComparedFloor, PublishedResults, compare_floor, read_published
from porting.profile import read_profiles
from porting.report import numbers

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "benchmarks/published.toml"
PAGE = ROOT / "docs/plan.md"
BEGIN, END = "<!-- published: begin -->", "<!-- published: end -->"


def compare() -> tuple[PublishedResults, list[ComparedFloor]]:
    """The data, and the floor of every row."""
    folders = [content.folder("profiles")]
    profiles = {profile.name: profile for profile in read_profiles(folders)}
    racks = {rack.name: rack for rack in read_racks(folders)}
    published = read_published(DATA)
    return published, [compare_floor(system, profiles, racks) for system in published.systems]


def render(published: PublishedResults, rows: list[ComparedFloor]) -> str:
    """The table, its inputs and what is left out, as Markdown."""
    return "\n".join([*_table(rows), "", *_inputs(rows), "", "Left out, because no floor can be made honestly:", ""] + [
        f"- {gap.system}: {gap.reason}." for gap in published.left_out
    ])  # fmt: skip


def _table(rows: list[ComparedFloor]) -> Iterator[str]:
    yield "| system | on | measured | floor | bound by | measured is | floor below |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        system = row.system
        cells = (
            system.system,
            f"{system.gpus} x {system.device}",
            f"{numbers.number(system.measured_ms, 'ms')} ({system.measured})",
            numbers.number(row.floor_ms, "ms"),
            row.bound,
            f"{numbers.times(row.above)} the floor",
            "yes" if row.holds else "**NO**",
        )
        yield f"| {' | '.join(cells)} |"


def _inputs(rows: list[ComparedFloor]) -> Iterator[str]:
    yield "| system | blocks x width, MLP | tokens a latent frame | frames, keys | passes | inputs from | measured by |"
    yield "|---|---|---|---|---|---|---|"
    seen = set()
    for row in rows:
        system = row.system
        if system.system in seen:
            continue
        seen.add(system.system)
        cells = (
            system.system,
            f"{system.layers} x {system.width}, {system.mlp_width}",
            f"{system.tokens_per_frame:,}",
            f"{system.frames:g}, {system.key_frames:g}: {system.note}",
            str(system.passes),
            system.inputs_source,
            system.source,
        )
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put it into docs/plan.md")
    arguments = parser.parse_args()
    published, rows = compare()
    text = render(published, rows)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    else:
        sys.stdout.write(text + "\n")
    sys.exit(0 if rows and all(row.holds for row in rows) else 1)


if __name__ == "__main__":
    main()
