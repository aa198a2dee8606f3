"""Hands a port's record to an MLflow server: parameters, figures as `target/metric`, tags and the report itself.

It talks to the server that was named and to nobody else. A figure that is absent is not sent; `points.json` says why.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from porting.errors import BundleError, HistoryError, UsageError
from porting.record import PortRecord, exit_code
from porting.record.history import HistoryPoint

if TYPE_CHECKING:
    from mlflow import MlflowClient

RECORD_TAG = "worldport.record"
REPORTS = ("report.html", "report.md", "port.json")
POINTS = "points.json"
MOST_AT_ONCE = 90
"""Tags and parameters of one request; MLflow takes 100."""
LONGEST_TAG = 4000
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Unless the user says otherwise: nothing is told to others or printed, and a server that is away fails in seconds."""
CREDENTIALS = re.compile(r"(?<=//)[^/@\s]*@")


@dataclass(frozen=True)
class ExportedRun:
    """Where a record is in MLflow."""

    run_id: str
    new: bool
    """False where it was there already."""
    where: str
    """The server, without a password."""


def hide_credentials(text: str) -> str:
    """The text with user names and passwords of its URLs replaced."""
    return CREDENTIALS.sub("***@", text)


def export_record(
    record: PortRecord, points: Sequence[HistoryPoint], bundle: Path, tracking_uri: str, experiment: str
) -> ExportedRun:
    """Make one finished run of a record, unless the experiment has it.

    Args:
        record: the port.
        points: what a history keeps of it, one a target.
        bundle: its folder, for the report's files.
        tracking_uri: the server's URL.
        experiment: its name; it is made where there is none.

    Raises:
        UsageError: MLflow is not installed, or the URL is none.
        BundleError: the bundle has no report.
        HistoryError: the server cannot be reached or refuses.
    """
    if find_spec("mlflow") is None:
        raise UsageError("history mlflow: MLflow is not installed; pip install 'worldport[mlflow]'")
    if "://" not in tracking_uri:
        # MLflow would take it for a folder, and make it.
        raise UsageError(f"--tracking-uri {tracking_uri}: is no URL; give http://host:port of a server")
    for name in REPORTS:
        if not (bundle / name).is_file():
            raise BundleError(f"{bundle / name}: is not there; worldport report {bundle} writes the reports")
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    where = hide_credentials(tracking_uri)
    with _explained(where):
        client = MlflowClient(tracking_uri=tracking_uri)
        experiment_id = _find_experiment(client, experiment)
        if (run_id := _find_run(client, experiment_id, points[0].record)) is not None:
            return ExportedRun(run_id, False, where)
        started = int(points[0].when.timestamp() * 1000)
        name = f"{record.checkpoint.name} {points[0].commit[:9]}"
        run_id = client.create_run(experiment_id, start_time=started, run_name=name).info.run_id
        finished = False
        try:
            _log(client, run_id, record, points, bundle)
            finished = True
        finally:
            # What broke off half-way is told from a whole record, and is sent anew the next time.
            client.set_terminated(run_id, "FINISHED" if finished else "FAILED")
    return ExportedRun(run_id, True, where)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn what MLflow or the network refuses into a sentence that says where.

    Raises:
        HistoryError: it does.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as cause:
        said = hide_credentials(" ".join(str(cause).split()))
        raise HistoryError(f"{where}: MLflow did not take the record: {said}; see whether the server runs") from cause


def _find_experiment(client: "MlflowClient", name: str) -> str:
    """The experiment's id; another process may make it at the same moment."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _find_run(client: "MlflowClient", experiment_id: str, record: str) -> str | None:
    """The finished run of a record, by its digest."""
    asked = f"tags.`{RECORD_TAG}` = '{record}' and attributes.status = 'FINISHED'"
    runs = client.search_runs([experiment_id], filter_string=asked, max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _log(client: "MlflowClient", run_id: str, record: PortRecord, points: Sequence[HistoryPoint], bundle: Path) -> None:
    from mlflow.entities import Metric, Param, RunTag

    when = int(points[0].when.timestamp() * 1000)
    metrics = [Metric(f"{p.target}/{name}", value, when, 0) for p in points for name, value in p.values.items()]
    params = [Param(name, value[:LONGEST_TAG]) for name, value in make_params(record, points).items()]
    tags = [RunTag(name, value[:LONGEST_TAG]) for name, value in make_tags(points).items()]
    for start in range(0, max(len(metrics), len(params), len(tags)), MOST_AT_ONCE):
        part = slice(start, start + MOST_AT_ONCE)
        client.log_batch(run_id, metrics=metrics[part], params=params[part], tags=tags[part], synchronous=True)
    for name in REPORTS:
        client.log_artifact(run_id, str(bundle / name))
    listed = ",\n".join(point.model_dump_json(indent=2) for point in points)
    client.log_text(run_id, f"[{listed}]\n", POINTS)


def make_params(record: PortRecord, points: Sequence[HistoryPoint]) -> dict[str, str]:
    """What was ported, with what."""
    return {
        "model": record.checkpoint.name,
        "family": record.checkpoint.family,
        "checkpoint": record.checkpoint.digest,
        "program": points[0].program,
        "worldport": record.worldport,
        **{f"{point.target}/precision": point.precision for point in points},
        **{f"{point.target}/machine": point.machine for point in points},
    }


def make_tags(points: Sequence[HistoryPoint]) -> dict[str, str]:
    """Of which commit, and what every target came to."""
    first = points[0]
    words = {0: "passed", 1: "failed", 3: "not measured"}
    return {
        RECORD_TAG: first.record,
        "mlflow.source.git.commit": first.commit,
        **({"mlflow.source.git.branch": first.branch} if first.branch else {}),
        "worldport.outcome": words[exit_code({point.outcome for point in points})],
        **{f"{point.target}/outcome": point.outcome.value for point in points},
        **{f"{point.target}/reached": point.reached.value if point.reached else "no step" for point in points},
        **{f"{p.target}/disturbed": "; ".join(p.disturbances) for p in points if p.disturbances},
    }
