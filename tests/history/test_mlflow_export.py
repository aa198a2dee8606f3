"""The exporter against a real MLflow server, read back through MLflow's own client."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from porting.cli.app import load_commands
from porting.history.mlflow_export import hide_credentials
from porting.record import PortRecord
from tests.history.servers import free_port
from tests.history.test_commands import write_record
from tests.report.records import not_measured, passing

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's and its dependencies' own
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_record() -> PortRecord:
    """One target that was measured, one that was not."""
    record = passing()
    targets = {"cpu": record.targets["cpu"], "b200": not_measured().targets["cpu"]}
    return record.model_copy(update={"targets": targets})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = write_record(tmp_path / "bundle", make_record())
    for name in ("report.html", "report.md"):
        (folder / name).write_text(f"the {name}", encoding="utf-8")
    return folder


def export(bundle: Path, uri: str, experiment: str) -> Result:
    arguments = ["history", "mlflow", str(bundle), "--tracking-uri", uri, "--experiment", experiment]
    return CliRunner().invoke(load_commands(), [*arguments, "--commit", COMMIT])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between tries, and no variable of the exporter's left behind."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


@pytest.mark.mlflow
@pytest.mark.usefixtures("quick")
def test_a_record_becomes_a_run_with_figures_tags_and_report(bundle: Path, mlflow_server: str, tmp_path: Path) -> None:
    made = export(bundle, mlflow_server, "worlds")
    assert made.exit_code == 0, made.output
    from mlflow import MlflowClient

    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("worlds")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert made.stdout == f"added: run {run.info.run_id} of experiment worlds, {mlflow_server}\n"
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "gwm-mini-worlds 012345678"
    figures = "fps p50 p99 missed eager_ratio joules_per_frame memory budget_ratio psnr_end"
    assert run.data.metrics.keys() == {f"cpu/{name}" for name in figures.split()}
    assert run.data.metrics["cpu/fps"] == 102.0
    assert run.data.params["checkpoint"] == "ab" * 32
    assert run.data.params["b200/precision"] == "fp32"
    assert run.data.tags["mlflow.source.git.commit"] == COMMIT
    assert [run.data.tags[name] for name in ("cpu/outcome", "b200/outcome", "worldport.outcome")] == [
        "passed",
        "not measured",
        "not measured",
    ]
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert artifacts == {"report.html", "report.md", "port.json", "points.json"}
    page = Path(client.download_artifacts(run.info.run_id, "report.html", str(tmp_path)))
    assert page.read_text(encoding="utf-8") == "the report.html"
    points = Path(client.download_artifacts(run.info.run_id, "points.json", str(tmp_path)))
    told = {point["target"]: point["absent"] for point in json.loads(points.read_text(encoding="utf-8"))}
    assert told["b200"]["fps"] == "no frame was timed"


@pytest.mark.mlflow
@pytest.mark.usefixtures("quick")
def test_the_same_record_is_sent_once_and_anew_where_it_broke_off(
    bundle: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def refuse(self: MlflowClient, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        raise MlflowException("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_artifact", refuse)
        ended = export(bundle, mlflow_server, "twice")
    assert (ended.exit_code, "MLflow did not take the record: the disk is full" in ended.stderr) == (2, True)
    first, second = (export(bundle, mlflow_server, "twice") for _ in range(2))
    assert [first.stdout.split(":")[0], second.stdout.split(":")[0]] == ["added", "already there"]
    assert first.stdout.split()[2] == second.stdout.split()[3]
    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("twice")
    assert experiment is not None
    statuses = sorted(run.info.status for run in client.search_runs([experiment.experiment_id]))
    assert statuses == ["FAILED", "FINISHED"]


@pytest.mark.usefixtures("quick")
def test_a_server_that_is_not_there_ends_with_2_and_no_password(bundle: Path) -> None:
    ended = export(bundle, f"http://ada:hush@127.0.0.1:{free_port()}", "x")
    assert ended.exit_code == 2, ended.output
    assert "MLflow did not take the record" in ended.stderr
    assert "see whether the server runs" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert "hush" not in ended.output


def test_a_bundle_without_a_report_is_refused(bundle: Path) -> None:
    (bundle / "report.md").unlink()
    ended = export(bundle, "http://127.0.0.1:1", "x")
    assert (ended.exit_code, "report.md: is not there; worldport report" in ended.stderr) == (2, True)


def test_credentials_are_hidden_wherever_they_stand() -> None:
    hidden = hide_credentials("at http://ada:h@127.0.0.1/x and https://token@h/y")
    assert hidden == "at http://***@127.0.0.1/x and https://***@h/y"
    assert hide_credentials("http://127.0.0.1:5000/a@b") == "http://127.0.0.1:5000/a@b"
