"""The report as Markdown, for a pull request or a terminal: verdict first, at most one screen, and where to read on.

The page beside it, `report.html`, has every check, chart and frame; nothing of that is repeated here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from porting.escaping import markdown_text, one_line
from porting.record import LADDER, Outcome, PortRecord, Step, TargetRecord
from porting.report import floor, view
from porting.report.html import shared_filters
from porting.report.limits import list_limits
from porting.report.numbers import number, plural, times

MOST_TARGETS = 14
"""Rows of the table."""
MOST_REASONS = 6
"""Targets that did not pass and are told why."""
MOST_FIGURES = 4
"""Measured targets that are told in figures."""
LONGEST_TEXT = 400
"""Characters of a sentence: a compiler's last words can be a page."""
_WORST_FIRST = (Outcome.FAILED, Outcome.NOT_MEASURED, Outcome.PASSED)


@dataclass(frozen=True)
class Row:
    """One target of the table."""

    name: str
    precision: str
    outcome: Outcome
    cells: tuple[str, ...]
    """One a step of the ladder: a mark, and a figure or word where it says more."""

    @property
    def mark(self) -> str:
        """Of the outcome."""
        return view.MARKS[self.outcome]


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
    rows = list_rows(record)
    return environment.get_template("report.md.j2").render(
        record=record,
        ladder=LADDER,
        rows=rows[:MOST_TARGETS],
        hidden=len(rows) - MOST_TARGETS,
        verdict=say_outcome(rows, sum(target.parity is not None for target in record.targets.values())),
        reasons=list_reasons(record, rows),
        figures=list_figures(record, rows),
        broken=[stage.name for stage in record.stages if stage.error is not None],
        unproved=say_unproved(record),
        bundle=bundle.name,
    )


def list_rows(record: PortRecord) -> list[Row]:
    """Every target, those that failed first."""
    rows = [
        Row(name, target.precision, view.outcome_of(target), tuple(_make_cells(target)))
        for name, target in record.targets.items()
    ]
    return sorted(rows, key=lambda row: _WORST_FIRST.index(row.outcome))


def _make_cells(target: TargetRecord) -> list[str]:
    """Marks; beside them the worst ratio to PyTorch's error, the frame rate, and words for what did not pass."""
    found = []
    for cell in view.make_cells(target):
        text = cell.mark
        if cell.word != Outcome.PASSED.value:
            text += f" {cell.word}"
        elif cell.step is Step.PARITY and (worst := view.find_worst(view.split_outputs(target)[0])):
            text += f" {times(worst.ratio)} PyTorch's error"
        elif cell.step is Step.THROUGHPUT and target.throughput is not None:
            text += f" {number(target.throughput.frames_per_second)} fps"
        found.append(text)
    return found


def say_outcome(rows: Sequence[Row], ran: int) -> str:
    """The verdict on all targets: "✓ passed on 9 targets, of which 1 was run", "✕ failed on 1 of 9 targets"."""
    if not rows:
        return f"{view.MARKS[Outcome.NOT_MEASURED]} not measured: the record holds no target"
    worst = rows[0].outcome
    alike = sum(row.outcome is worst for row in rows)
    share = plural(len(rows), "target") if alike == len(rows) else f"{alike} of {plural(len(rows), 'target')}"
    told = f"{view.MARKS[worst]} {worst.value} on {share}"
    return told if ran == len(rows) else f"{told}, of which {ran or 'none'} {'was' if ran < 2 else 'were'} run"


def list_reasons(record: PortRecord, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Name and reason of each target that did not pass, as many as there is room for; then how many more."""
    bad = [row for row in rows if row.outcome is not Outcome.PASSED]
    found = [(row.name, _shorten(view.say_verdict(record.targets[row.name]))) for row in bad[:MOST_REASONS]]
    if len(bad) > MOST_REASONS:
        found.append((plural(len(bad) - MOST_REASONS, "more target"), "did not pass; the page says why."))
    return found


def list_figures(record: PortRecord, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Name and figures of the targets that were timed."""
    timed = [row for row in rows if record.targets[row.name].throughput is not None]
    told = [(row.name, _say_figures(record.targets[row.name])) for row in timed[:MOST_FIGURES]]
    limits = {row.name: limit for row in rows if (limit := record.targets[row.name].limit) is not None}
    # What was held against its floor comes first; a projection is told as one.
    known = sorted(limits, key=lambda name: limits[name].achieved is None)
    return told + [(f"{name}, limit", _shorten(f"{floor.say_limit(limits[name])}.")) for name in known[:MOST_FIGURES]]


def _say_figures(target: TargetRecord) -> str:
    evidence = target.throughput
    if evidence is None:
        return "no frame was timed."
    said = [
        f"{number(evidence.frames_per_second)} frames/s",
        f"p99 {number(evidence.frame_ms.p99, 'ms')} of {number(evidence.deadline_ms, 'ms')}",
        f"{evidence.paced.missed} of {evidence.paced.frames} paced frames late",
    ]
    port = next((driver for driver in evidence.drivers if driver.name == "port"), None)
    if port is not None and any(driver.name == "eager" for driver in evidence.drivers):
        low, high = number(port.ratio_low), number(port.ratio_high)
        said.insert(1, f"{times(port.ratio_to_eager)} PyTorch eager ({low} to {high})")
    free = target.parity.free_running if target.parity else None
    if free is not None:
        first = free.first_failing_frame
        frames = plural(len(free.psnr_db), "frame")
        said.append(f"none of {frames} drifts away" if first is None else f"drifts away at frame {first}")
    else:
        said.append("drift not measured")
    valid = "" if evidence.valid else f" Not valid: {'; '.join(evidence.disturbances) or 'the machine was disturbed'}."
    return _shorten(f"{', '.join(said)}; on {evidence.host.cpu}, {plural(evidence.host.threads, 'thread')}.{valid}")


def say_unproved(record: PortRecord) -> str:
    """What nobody should read into the verdict, in one sentence or two."""
    unseen = [name for name, target in record.targets.items() if target.parity is None]
    untimed = [name for name, target in record.targets.items() if target.throughput is None]
    said = [f"parity on {', '.join(unseen)}"] if unseen else []
    said += [f"any frame rate on {', '.join(untimed)}"] if untimed and untimed != unseen else []
    if untimed and untimed == unseen:
        said = [f"parity and any frame rate on {', '.join(unseen)}"]
    said.append("that the model is any good, as it is compared with itself in PyTorch")
    return _shorten(f"{'; '.join(said)}. The page lists all {len(list_limits(record))} limits.")


def _shorten(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST_TEXT else flat[: LONGEST_TEXT - 1] + "…"


def escape_markdown(value: Any) -> Any:
    """Text that Markdown and HTML show as it is, on one line, and that is no link; marked-up text is left alone."""
    return value if isinstance(value, Markup) else Markup(markdown_text(str(value)))


def indent_code(text: str) -> Markup:
    """A block of code on one line; indented, as a fence could be ended by the text."""
    return Markup(f"    {one_line(text)}")
