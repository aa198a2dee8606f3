"""`compare`: whether one bundle's frames are slower than another's, from both driven in turn on this host."""

import re
from pathlib import Path
from typing import Annotated

import typer

from porting.cli import options, show
from porting.cli.app import command
from porting.cli.progress import watch
from porting.errors import UsageError
from porting.record import Comparison, exit_code

BundlesArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The baseline.")]
CandidateArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The candidate, a port of the same.")]


@command("compare")
def compare(
    baseline: BundlesArgument,
    candidate: CandidateArgument,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="[default: the one that both have artifacts of]")
    ] = None,
    limit: Annotated[str, typer.Option("--limit", metavar="N%", help="Slowdown that is let pass.")] = "1%",
    seconds: Annotated[float, typer.Option("--seconds", metavar="N", help="Time allowed; less if it is clear.")] = 60.0,
    rebuilds: Annotated[
        int,
        typer.Option(
            "--rebuilds", metavar="K", help="Build both sides K times, where a backend's builds vary; 1 or 3 up."
        ),
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the order in which the two take turns.")] = 0,
    priority: Annotated[
        bool, typer.Option("--priority/--no-priority", help="Ask the system to let other processes wait meanwhile.")
    ] = True,
    as_json: options.JsonOption = False,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Also write the result as Markdown.")
    ] = None,
) -> int:
    """Drive two bundles in turn on this host: is the second slower than the first?"""
    share = read_share(limit)
    from porting.comparison import Settings, compare_bundles  # loads numerical libraries, which takes seconds

    settings = Settings(share, seconds, rebuilds, seed, priority)
    with watch() as observer:
        found = compare_bundles(baseline, candidate, target, settings, observer.note)
    if markdown is not None:
        from porting.report.comparison import render_comparison

        markdown.parent.mkdir(parents=True, exist_ok=True)
        markdown.write_text(render_comparison(found), encoding="utf-8")
    if as_json:
        show.print_json(found)
    else:
        print_comparison(found)
    return exit_code({found.outcome})


def read_share(text: str) -> float:
    """A share from "2%", "2 %" or "0.02".

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text)
    if match is None:
        raise UsageError(f"--limit {text!r}: is no share; give a percentage, as 2%")
    value = float(match[1]) / 100 if match[2] else float(match[1])
    if not 0 < value < 1:
        raise UsageError(f"--limit {text!r}: is {value:g} of all; give more than nothing and less than 100%")
    return value


def print_comparison(found: Comparison) -> None:
    """The verdict and its reason, then the figures in one table."""
    from porting.report.comparison import list_figures

    console = show.make_console()
    console.print(f"{found.outcome.value.upper()}", style=f"bold {show.COLOURS[found.outcome]}", end="  ")
    console.print(f"{found.target}: {found.candidate.path} against {found.baseline.path}")
    console.print(f"  {found.reason}")
    for name, value in list_figures(found):
        console.print(f"  {name:<22} {value}")
