"""`worldport history`: port records over commits; kept, shown, searched for changes, handed on to MLflow.

What talks to databases and draws is imported when it is asked for: a help text should not wait for it.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from porting import content
from porting.bundle import Bundle
from porting.cli import options, show
from porting.cli.app import app, command
from porting.errors import UsageError
from porting.record import PortRecord
from porting.record.history import METRIC_OF, METRICS, HistoryPoint, TargetTrend
from porting.report import numbers

DEFAULT_DATABASE = ".worldport/history.sqlite"
DATABASE_VARIABLE = "WORLDPORT_HISTORY"
NOT_MEASURED = 3
SHORT = 9
"""Letters of a commit that are printed."""

history = typer.Typer(
    name="history",
    no_args_is_help=True,
    help="Port records over commits: keep them, show them, find what changed.",
    epilog="A file is a SQLite database; a team gives postgresql+psycopg://user@host/database.",
)
app.add_typer(history)

DatabaseOption = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="FILE|URL",
        envvar=DATABASE_VARIABLE,
        show_default=False,
        help=f"Where the history is; a URL with a password belongs into the variable. [default: {DEFAULT_DATABASE}]",
    ),
]
CommitOption = Annotated[
    str | None,
    typer.Option("--commit", metavar="SHA", help="[default: as the CI system's variables or git tell]"),
]
TargetOption = Annotated[str | None, typer.Option("--target", metavar="NAME", help="[default: all]")]
ModelOption = Annotated[str | None, typer.Option("--model", metavar="NAME", help="[default: all]")]
BranchOption = Annotated[str | None, typer.Option("--branch", metavar="NAME", help="[default: all]")]
MetricOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help=f"Repeat it for several: {', '.join(metric.name for metric in METRICS)}. [default: all]",
    ),
]
LastOption = Annotated[int, typer.Option("--last", metavar="N", min=1, help="The newest records of each target.")]


@command("add", history)
def add(
    bundle: options.BundleArgument, database: DatabaseOption = DEFAULT_DATABASE, commit: CommitOption = None
) -> int:
    """Keep a bundle's record under its commit; a record that is there already stays as it is."""
    points = _make_points(Bundle(bundle).read_record(), commit)
    from porting.history import open_history

    with open_history(database, writing=True) as opened:
        new = opened.add(points)
        first = points[0]
        where = f"{first.commit[:SHORT]}{f' ({first.branch})' if first.branch else ''}"
        said = "added" if new else "already there"
        show.make_console().print(f"{said}: {where}, {numbers.plural(len(points), 'target')}, in {opened.name}")
    return 0


@command("show", history)
def show_records(
    database: DatabaseOption = DEFAULT_DATABASE,
    target: TargetOption = None,
    metric: MetricOption = None,
    last: LastOption = 20,
    model: ModelOption = None,
    branch: BranchOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Print the newest records of each target and every change of level among them, or exit 3 if there are none."""
    names = _choose_metrics(metric)
    trends, where = _read_trends(database, model, target, branch, None)
    if as_json:
        listed = [_shorten(trend, names, last) for trend in trends]
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
    elif trends:
        for trend in trends:
            _print_trend(trend, names, last)
    else:
        show.make_console().print(f"not measured: {where} holds no such record")
    return 0 if trends else NOT_MEASURED


@command("trends", history)
def trends(
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html")],
    database: DatabaseOption = DEFAULT_DATABASE,
    last: LastOption = 200,
    target: TargetOption = None,
    model: ModelOption = None,
    branch: BranchOption = None,
) -> int:
    """Draw every figure over commits, with changes of level, on one self-contained page; exit 3 without a record."""
    found, where = _read_trends(database, model, target, branch, last)
    if not found:
        show.make_console().print(f"not measured: {where} holds no such record; nothing was drawn")
        return NOT_MEASURED
    from porting.report.trends_page import render_trends

    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render_trends(found, where, content.folder("reports")), encoding="utf-8")
    sys.stdout.write(f"{out}\n")
    return 0


@command("mlflow", history)
def mlflow(
    bundle: options.BundleArgument,
    tracking_uri: Annotated[
        str, typer.Option("--tracking-uri", metavar="URL", envvar="MLFLOW_TRACKING_URI", show_default=False)
    ],
    experiment: Annotated[str, typer.Option("--experiment", metavar="NAME")] = "worldport",
    commit: CommitOption = None,
) -> int:
    """Hand a bundle's record to an MLflow server, as one run; a record that is there already stays as it is."""
    record = Bundle(bundle).read_record()
    points = _make_points(record, commit)
    from porting.history.mlflow_export import export_record

    run = export_record(record, points, bundle, tracking_uri, experiment)
    said = "added" if run.new else "already there"
    show.make_console().print(f"{said}: run {run.run_id} of experiment {experiment}, {run.where}")
    return 0


def read_trends_of(record: PortRecord, database: str) -> tuple[TargetTrend, ...]:
    """What a history holds of a record's model and targets, for its report.

    Raises:
        HistoryError: it cannot be read.
        UsageError: it holds nothing of them.
    """
    found, where = _read_trends(database, record.checkpoint.name, None, None, 200)
    own = tuple(
        trend
        for trend in found
        if trend.target in record.targets and trend.precision == record.targets[trend.target].precision
    )
    if not own:
        raise UsageError(f"{where}: holds no record of {record.checkpoint.name}; worldport history add adds one")
    return own


def _make_points(record: PortRecord, asked: str | None) -> tuple[HistoryPoint, ...]:
    from porting.history.commit import find_commit
    from porting.history.entry import make_points

    return make_points(record, find_commit(asked))


def _read_trends(
    database: str, model: str | None, target: str | None, branch: str | None, last: int | None
) -> tuple[tuple[TargetTrend, ...], str]:
    """Trends, and where the history is."""
    from porting.history import open_history
    from porting.history.trends import make_trends

    with open_history(database) as opened:
        return make_trends(opened.read(model, target, branch), last), opened.name


def _choose_metrics(asked: list[str] | None) -> tuple[str, ...]:
    for name in asked or ():
        if name not in METRIC_OF:
            raise UsageError(f"--metric {name}: no such figure; there are {', '.join(METRIC_OF)}")
    return tuple(dict.fromkeys(asked)) if asked else tuple(METRIC_OF)


def _shorten(trend: TargetTrend, names: tuple[str, ...], last: int) -> dict[str, object]:
    """A trend as JSON: its newest points with the figures asked for, and the changes of all of its points."""
    kept = trend.points[-last:]
    points = [
        {
            **point.model_dump(mode="json", exclude={"values", "absent", "model", "target", "precision"}),
            "values": {name: point.values[name] for name in names if name in point.values},
            "absent": {name: point.absent[name] for name in names if name in point.absent},
        }
        for point in kept
    ]
    metrics = [found.model_dump(mode="json") for found in trend.metrics if found.metric in names]
    for found in metrics:
        for change in found["changes"]:
            for side in ("before", "after"):
                change[f"commit_{side}"] = trend.points[change.pop(side)].commit
    return {
        "model": trend.model, "target": trend.target, "precision": trend.precision, "points": points,
        "metrics": metrics,
    }  # fmt: skip


def _print_trend(trend: TargetTrend, names: tuple[str, ...], last: int) -> None:
    from porting.report.trends import say_change, say_outcomes

    console = show.make_console()
    shown = [found.metric for found in trend.metrics if found.metric in names]
    console.print(f"{trend.target} {trend.precision} of {trend.model}: {say_outcomes(trend.points)}")
    machines = {name: str(place) for place, name in enumerate(trend.fingerprints, start=1)}
    rows = [
        (
            point.commit[:SHORT],
            point.when.strftime("%Y-%m-%d %H:%M"),
            point.branch or "not known",
            machines[point.fingerprint],
            point.outcome.value,
            point.reached.value if point.reached else "no step",
            *(numbers.number(point.values.get(name)) for name in shown),
            "disturbed" if point.disturbances else "",
        )
        for point in trend.points[-last:]
    ]
    columns = ("commit", "when", "branch", "machine", "outcome", "reached", *shown, "")
    console.print(show.make_table(*columns, rows=rows))
    for found in trend.metrics:
        if found.metric in names:
            for change in found.changes:
                console.print(f"  {say_change(trend, change)}")
    unjudged = sorted(found.metric for found in trend.metrics if found.metric in names and found.unjudged)
    if unjudged:
        reason = next(iter(next(f for f in trend.metrics if f.metric == unjudged[0]).unjudged.values()))
        console.print(f"  not judged for change: {', '.join(unjudged)}; {reason}")
