"""`gate` and `baseline`: a bundle's evidence against what the model once came to, for people and for CI systems."""

import os
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from porting.bundle import Bundle
from porting.cli import options, show
from porting.cli.app import command
from porting.errors import UsageError
from porting.escaping import one_line
from porting.gate import GateCheck, GateVerdict, Limits, format_baseline, read_baseline
from porting.gate.bencher import format_bencher
from porting.gate.github import commands_stopped, format_annotations
from porting.gate.junit import format_junit
from porting.gate.markdown import format_markdown
from porting.pipeline.gating import baseline_of, gate_bundle
from porting.record import Outcome, Step

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
ACTIONS_VARIABLE = "GITHUB_ACTIONS"


def _file(name: str, help: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(name, metavar="FILE", help=help)
    return option


@command("gate")
def gate(
    bundle: options.BundleArgument,
    baseline: Annotated[Path, typer.Option("--baseline", metavar="FILE", help="What to judge by.")],
    target: options.TargetsOption = None,
    require: Annotated[
        Step | None, typer.Option("--require", metavar="STEP", help="Exit 3 if a target stays below this step.")
    ] = None,
    ratios_only: Annotated[
        bool,
        typer.Option("--ratios-only", help="Leave out what holds on the baseline's machine only: fps, p99, memory."),
    ] = False,
    junit: Annotated[Path | None, _file("--junit", "Write JUnit XML here.")] = None,
    markdown: Annotated[Path | None, _file("--markdown", "Write Markdown for a pull request here.")] = None,
    bencher: Annotated[Path | None, _file("--bencher", "Write the figures in Bencher Metric Format here.")] = None,
    report_url: Annotated[
        str | None, typer.Option("--report-url", metavar="URL", help="Where the report can be read, for the Markdown.")
    ] = None,
    as_json: options.JsonOption = False,
) -> int:
    """Judge a bundle's evidence against a baseline; needs neither torch nor a device."""
    start = time.monotonic()
    judged = options.name_targets(bundle, target) or []
    limits = Limits(require=require, ratios_only=ratios_only, targets=tuple(judged))
    verdict = gate_bundle(bundle, read_baseline(baseline), limits)
    text = format_markdown(verdict, _find_links(bundle, report_url))
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    if junit is not None:
        _write(junit, format_junit(verdict, time.monotonic() - start, stamp))
    if markdown is not None:
        _write(markdown, text)
    if bencher is not None:
        _write(bencher, format_bencher(Bundle(bundle).read_record(), verdict))
    _tell(verdict, text, as_json, os.environ)
    return verdict.exit_code


@command("baseline")
def baseline(
    bundle: options.BundleArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The baseline to write.")],
    again: Annotated[
        list[Path] | None,
        typer.Option(
            "--again",
            metavar="BUNDLE",
            help="A further port of the same on this machine, for what runs differ by; repeat it for several.",
        ),
    ] = None,
) -> int:
    """Make a baseline of a bundle that passed, to be reviewed and kept beside the code."""
    made = baseline_of((bundle, *(again or ())))
    _write(out, format_baseline(made))
    console = show.make_console()
    for name, target in made.targets.items():
        timed = target.throughput
        if timed is None:
            console.print(one_line(f"{name} {target.precision}: up to {target.reached}, no frame rate"))
            continue
        rows = dict(timed.tolerances)
        told = [f"{figure.replace('_', ' ')} {t.relative:.1%} ({t.basis})" for figure, t in rows.items() if t]
        console.print(one_line(f"{name} {target.precision}: {timed.frames_per_second:.4g} fps; allowed are"))
        for line in told:
            console.print(f"  {one_line(line)}")
        if timed.disturbances:
            console.print(
                one_line(f"  the machine was disturbed, better make it anew: {'; '.join(timed.disturbances)}")
            )
    console.print(f"baseline: {out}")
    return 0


def _find_links(bundle: Path, report_url: str | None) -> list[tuple[str, str]]:
    """What the Markdown leads to: the report where it was put, and the run that made it."""
    links = []
    if report_url is not None:
        if not report_url.startswith(("https://", "http://")):
            raise UsageError(f"--report-url {report_url!r}: is no address; write https://...")
        links.append(("report", report_url))
    server, repository, run = (
        os.environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    )
    if server and repository and run:
        links.append(("run and artifacts", f"{server}/{repository}/actions/runs/{run}"))
    return links


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _tell(verdict: GateVerdict, markdown: str, as_json: bool, environment: Mapping[str, str]) -> None:
    """Stdout for whoever looks, and GitHub's own places where it runs this."""
    on_github = environment.get(ACTIONS_VARIABLE) == "true"
    commands = sys.stderr if as_json else sys.stdout
    if as_json:
        show.print_json(verdict)
    else:
        with commands_stopped(sys.stdout.write) if on_github else nullcontext():
            _print_verdict(verdict)
    if on_github:
        commands.writelines(f"{line}\n" for line in format_annotations(verdict))
    summary = environment.get(SUMMARY_VARIABLE)
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown + "\n")


def _print_verdict(verdict: GateVerdict) -> None:
    """The verdict, every check that did not pass, those that have a figure, and what could not have been seen."""
    console = show.make_console()
    heading = Text(verdict.outcome.value.upper(), style=f"bold {show.COLOURS[verdict.outcome]}")
    told = one_line(f"  {verdict.model}, {len(verdict.checks)} checks against {verdict.against}")
    console.print(heading + Text(f" {told}"))
    quiet = [check for check in verdict.checks if check.outcome is Outcome.PASSED and check.value is None]
    figures = [check for check in verdict.checks if check.outcome is Outcome.PASSED and check.value is not None]
    for check in (*verdict.troubles, *figures):
        _print_check(check)
    if quiet:
        console.print(f"  passed        {len(quiet)} more without a figure")
    for text in verdict.unseen:
        console.print(f"  not seen      {one_line(text)}")
    for text in verdict.left_out:
        console.print(f"  left out      {one_line(text)}")


def _print_check(check: GateCheck) -> None:
    word = Text(f"  {check.outcome.value:<13} ", style=show.COLOURS[check.outcome])
    show.make_console().print(word + Text(one_line(f"{check.title}: {check.reason}")))
