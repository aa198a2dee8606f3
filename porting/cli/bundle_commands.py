"""Commands that need the bundle alone: compile, verify, bench, attest, report.

What measures is imported when it is asked for: a help text should not wait for numerical libraries.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from porting import content
from porting.bundle import Bundle
from porting.cli import options, show
from porting.cli.app import command
from porting.cli.history_commands import read_trends_of
from porting.cli.progress import watch
from porting.errors import UsageError
from porting.pipeline.request import count_threads
from porting.record import ArtifactRecord, PortRecord, Step
from porting.record.history import TargetTrend
from porting.report import render_against, render_html, render_markdown
from porting.report.view import say_counts

LEAST_SOAK_FRAMES = 1000
"""What a soak takes at least, known here so that a help text need not load numerical libraries."""
SoakOption = Annotated[
    int | None,
    typer.Option(
        "--soak",
        metavar="N",
        min=LEAST_SOAK_FRAMES,
        help="Then drive one rollout for N frames: memory slope, and what a late frame costs over an early one.",
    ),
]
SessionsOption = Annotated[
    int | None,
    typer.Option(
        "--sessions",
        metavar="N",
        min=1,
        help="Then find how many sessions, up to N, hold the frame rate together on one device.",
    ),
]


class Format(StrEnum):
    """What a report can be written as."""

    HTML = "html"
    MARKDOWN = "markdown"
    JSON = "json"


@command("compile")
def compile_bundle(
    bundle: options.BundleArgument,
    target: options.TargetsOption = None,
    jobs: options.JobsOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Compile a bundle's components anew; evidence of the old artifacts is dropped."""
    from porting.pipeline import again

    threads, target = count_threads(), options.name_targets(bundle, target)
    with watch() as observer:
        record = again.compile_again(bundle, tuple(target or ()), threads, jobs or threads, observer)
    return _finish(record, bundle, target, Step.COMPILED, as_json)


@command("verify")
def verify(
    bundle: options.BundleArgument, target: options.TargetsOption = None, as_json: options.JsonOption = False
) -> int:
    """Prove a bundle's artifacts anew on this host, from the bundle alone."""
    from porting.pipeline import again

    target = options.name_targets(bundle, target)
    with watch() as observer:
        record = again.verify(bundle, tuple(target or ()), count_threads(), observer)
    return _finish(record, bundle, target, Step.PARITY, as_json)


@command("bench")
def bench(
    bundle: options.BundleArgument,
    target: options.TargetsOption = None,
    soak: SoakOption = None,
    sessions: SessionsOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Time a bundle's chosen artifacts anew on this host."""
    from porting.pipeline import again

    target = options.name_targets(bundle, target)
    with watch() as observer:
        record = again.bench(bundle, tuple(target or ()), count_threads(), observer, soak, sessions)
    return _finish(record, bundle, target, Step.THROUGHPUT, as_json)


def _finish(record: PortRecord, bundle: Path, target: list[str] | None, upto: Step, as_json: bool) -> int:
    targets = tuple(target or sorted(record.targets))
    if as_json:
        show.print_json(record)
    else:
        show.print_port(record, bundle, targets, upto)
    return show.judge_exit(record, targets, upto, None)


@command("attest")
def attest(
    bundle: options.BundleArgument, target: options.TargetsOption = None, as_json: options.JsonOption = False
) -> int:
    """Print what is really in a bundle's artifacts, as read back from the compiled files."""
    from porting.pipeline import again

    record = again.open_intact(Bundle(bundle))
    targets = again.choose_targets(record, tuple(options.name_targets(bundle, target) or ()))
    if as_json:
        show.print_json(record)
    else:
        rows = [(name, *_describe_artifact(a)) for name in targets for a in record.targets[name].artifacts]
        columns = ("target", "component (* chosen)", "backend", "asked", "precisions", "placement", "read from")
        show.make_console().print(show.make_table(*columns, rows=rows))
    return show.judge_exit(record, targets, Step.ATTESTED, None)


def _describe_artifact(artifact: ArtifactRecord) -> tuple[str, ...]:
    start = (artifact.component + " *" * artifact.chosen, artifact.backend, artifact.precision)
    found = artifact.attestation
    if found is None:
        return (*start, "not attested", "", artifact.error or "")
    return (*start, say_counts(found.layers_by_precision), say_counts(found.layers_by_backend), found.read_from)


@command("report")
def report(
    bundle: options.BundleArgument,
    format: Annotated[
        Format | None, typer.Option("--format", help="[default: HTML and Markdown, into the bundle]")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="[default: stdout]")] = None,
    history: Annotated[
        str | None,
        typer.Option("--history", metavar="FILE|URL", help="Show these targets over commits too; HTML only."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="OTHER", help="Put this bundle beside an earlier one; HTML only."),
    ] = None,
) -> int:
    """Render a bundle's record for people."""
    from porting.pipeline import again

    opened = Bundle(bundle)
    if format is None and out is not None:
        format = {".md": Format.MARKDOWN, ".json": Format.JSON, ".html": Format.HTML}.get(out.suffix)
        if format is None:
            raise UsageError(f"--out {out}: cannot tell the format from the name; give --format")
    if history is not None and format not in {None, Format.HTML}:
        raise UsageError(f"--history: is drawn, which {format} cannot hold; give --format html")
    if against is not None:
        if format not in {None, Format.HTML}:
            raise UsageError(f"--against: is a page of two bundles, which {format} cannot hold; give --format html")
        if history is not None:
            raise UsageError("--against: compares two bundles, and --history many commits; give one of them")
        return _write(_render_two(Bundle(against), opened), out)
    trends = read_trends_of(opened.read_record(), history) if history is not None else ()
    if format is None:
        for path in again.report_again(opened, trends):
            sys.stdout.write(f"{path}\n")
        return 0
    return _write(_render(opened, format, trends), out)


def _write(text: str, out: Path | None) -> int:
    if out is None:
        sys.stdout.write(text)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    return 0


def _render_two(before: Bundle, now: Bundle) -> str:
    return render_against(before.read_record(), before.path, now.read_record(), now.path, content.folder("reports"))


def _render(bundle: Bundle, format: Format, trends: tuple[TargetTrend, ...]) -> str:
    record, templates = bundle.read_record(), content.folder("reports")
    match format:
        case Format.HTML:
            return render_html(record, bundle.path, templates, trends)
        case Format.MARKDOWN:
            return render_markdown(record, bundle.path, templates)
        case Format.JSON:
            return record.model_dump_json(indent=2, by_alias=True) + "\n"
