"""`worldport history` as it is typed: what is printed, and how it ends."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from typer.testing import CliRunner, Result

from porting.bundle import RECORD
from porting.cli.app import load_commands
from porting.history import open_history
from porting.record import PortRecord
from tests.history.points import make_series
from tests.history.servers import free_port
from tests.report.records import not_measured, passing, write_bundle

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run(*arguments: str | Path, **variables: str | None) -> Result:
    unset = {"WORLDPORT_HISTORY": None, **variables}
    return CliRunner().invoke(load_commands(), ["history", *map(str, arguments)], env=unset)


def write_record(folder: Path, record: PortRecord) -> Path:
    folder.mkdir()
    write_bundle(folder, record)
    (folder / RECORD).write_text(record.model_dump_json(by_alias=True), encoding="utf-8")
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_record(tmp_path / "bundle", passing())


def test_a_record_is_added_once_and_shown(bundle: Path, database: str) -> None:
    first = run("add", bundle, "--database", database, "--commit", COMMIT)
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("added: 012345678, 1 target, in ")
    again = run("add", bundle, "--database", database, "--commit", COMMIT)
    assert (again.exit_code, again.stdout[:15]) == (0, "already there: ")
    shown = run("show", "--database", database)
    assert shown.exit_code == 0
    assert "cpu fp32 of gwm-mini-worlds: 1 record: 1 passed." in shown.stdout
    header, row = shown.stdout.splitlines()[1:3]
    assert header.split()[:7] == ["commit", "when", "branch", "machine", "outcome", "reached", "fps"]
    assert row.split()[0] == "012345678"
    assert re.search(r"passed +throughput +102 +9\.8 ", row)
    assert "not judged for change: budget_ratio, eager_ratio, fps" in shown.stdout
    password = make_url(database).password if "://" in database else None
    assert password is None or password not in first.output + again.output + shown.output


def test_the_database_may_stand_in_the_environment(bundle: Path, tmp_path: Path) -> None:
    where = str(tmp_path / "h.sqlite")
    assert run("add", bundle, "--commit", COMMIT, WORLDPORT_HISTORY=where).exit_code == 0
    assert run("show", WORLDPORT_HISTORY=where).exit_code == 0
    assert where not in run("show", "--help", WORLDPORT_HISTORY=where).stdout


def test_the_default_is_a_file_below_the_working_directory(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("add", bundle, "--commit", COMMIT).exit_code == 0
    assert (tmp_path / ".worldport/history.sqlite").is_file()


@pytest.fixture
def filled(tmp_path: Path) -> str:
    """A history in which the frame rate fell at the 21st commit."""
    where = str(tmp_path / "filled.sqlite")
    with open_history(where, writing=True) as history:
        for point in make_series([120.0] * 20 + [108.0] * 20, 0.005, 1):
            history.add((point,))
    return where


def test_json_holds_points_and_changes_and_nothing_else(filled: str) -> None:
    shown = run("show", "--database", filled, "--metric", "fps", "--metric", "p99", "--last", "3", "--json")
    (trend,) = json.loads(shown.stdout)
    points: list[dict[str, Any]] = trend["points"]
    assert [len(points), trend["target"]] == [3, "cpu"]
    assert points[0]["values"].keys() == {"fps"}
    assert points[0]["absent"] == {"p99": "no frame was timed"}
    (metric,) = trend["metrics"]
    (change,) = metric["changes"]
    series = make_series([1.0] * 21, 0.0, 1)
    assert (change["commit_before"], change["commit_after"]) == (series[19].commit, series[20].commit)
    assert change["worse"] is True


def test_changes_are_told_below_the_table_even_where_the_records_are_not(filled: str) -> None:
    shown = run("show", "--database", filled, "--last", "2").stdout
    assert "40 records: 40 passed." in shown
    assert len(shown.splitlines()) == 5
    assert re.search(r"Frames per second: −\S+ % for the worse, .* between \w{9} and \w{9}\.", shown)  # noqa: RUF001


def test_a_page_of_trends_is_written(filled: str, tmp_path: Path) -> None:
    out = tmp_path / "pages" / "trends.html"
    made = run("trends", "--database", filled, "--out", out)
    assert (made.exit_code, made.stdout) == (0, f"{out}\n")
    assert "for the worse" in out.read_text(encoding="utf-8")


def test_nothing_recorded_is_not_measured_and_draws_nothing(filled: str, tmp_path: Path) -> None:
    out = tmp_path / "trends.html"
    assert run("show", "--database", filled, "--target", "b200").exit_code == 3
    assert json.loads(run("show", "--database", filled, "--model", "another", "--json").stdout) == []
    made = run("trends", "--database", filled, "--branch", "feature", "--out", out)
    assert (made.exit_code, out.exists()) == (3, False)
    assert "not measured" in made.stdout


def test_a_target_that_was_not_measured_is_shown_as_that(tmp_path: Path) -> None:
    bundle, where = write_record(tmp_path / "b", not_measured()), str(tmp_path / "h.sqlite")
    assert run("add", bundle, "--database", where, "--commit", COMMIT).exit_code == 0
    assert "1 record: 1 not measured." in run("show", "--database", where).stdout


def test_bad_input_ends_with_2_and_one_sentence(bundle: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "x.html")
    away = f"postgresql://ada:hush@127.0.0.1:{free_port()}/h"
    cases = [
        (("add", bundle, "--commit", COMMIT, "--database", away), "cannot be opened: connection failed"),
        (("show", "--database", away), "see whether the server runs"),
        (("trends", "--database", away, "--out", out), "see whether the server runs"),
        (("add", bundle, "--commit", "main", "--database", str(tmp_path / "h")), "'main': is no commit"),
        (("add", tmp_path / "nothing", "--commit", COMMIT, "--database", str(tmp_path / "h")), "port.json"),
        (("show", "--database", str(tmp_path / "none.sqlite")), "no such history"),
        (("show", "--database", str(tmp_path / "none.sqlite"), "--metric", "speed"), "--metric speed: no such figure"),
        (("mlflow", bundle, "--commit", COMMIT, "--tracking-uri", "mlruns"), "--tracking-uri mlruns: is no URL"),
    ]
    for arguments, words in cases:
        ended = run(*arguments)
        assert ended.exit_code == 2, ended.output
        assert ended.stderr.startswith("worldport: ")
        assert words in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        assert "hush" not in ended.output
    assert not (tmp_path / "mlruns").exists()


def test_a_report_shows_its_targets_over_commits(bundle: Path, filled: str, tmp_path: Path) -> None:
    def report(*arguments: str) -> Result:
        return CliRunner().invoke(load_commands(), ["report", str(bundle), *arguments])

    made = report("--history", filled)
    assert made.exit_code == 0, made.output
    assert '<h2 id="history">' in (bundle / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="history">' in report("--history", filled, "--format", "html").stdout
    refused = report("--history", filled, "--format", "markdown")
    assert (refused.exit_code, "give --format html" in refused.stderr) == (2, True)
    other = write_record(tmp_path / "other", passing().model_copy(update={"targets": {}}))
    empty = CliRunner().invoke(load_commands(), ["report", str(other), "--history", filled])
    assert (empty.exit_code, "holds no record of gwm-mini-worlds" in empty.stderr) == (2, True)
