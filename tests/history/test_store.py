import math
import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import Connection, Engine, exc, inspect, text

from porting.errors import HistoryError
from porting.history import open_history, tables
from porting.history.database import make_engine, parse_database
from porting.history.store import History
from porting.history.tables import SCHEMA_VERSION, Base, bring_up
from porting.record import Outcome
from tests.history.points import FIRST, make_point


def engine_of(database: str) -> Engine:
    return make_engine(parse_database(database))


def execute(database: str, statement: str) -> None:
    with engine_of(database).connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(text(statement))


def add(database: str, *indices: int) -> list[bool]:
    with open_history(database, writing=True) as history:
        return [history.add((make_point(index),)) for index in indices]


def test_what_was_added_comes_back_as_it_was(database: str) -> None:
    points = (
        make_point(0, 119.23456789012345, branch="", disturbances=("load of others: 3.2", "the clock fell")),
        make_point(0, None, branch="", target="b200", outcome=Outcome.FAILED, reached=None),
    )
    with open_history(database, writing=True) as history:
        assert history.add(points)
    with open_history(database) as history:
        assert history.read() == points


def test_the_same_record_is_kept_once(database: str) -> None:
    assert add(database, 0, 1, 0) == [True, True, False]
    assert add(database, 1) == [False]
    with open_history(database) as history:
        assert [point.commit for point in history.read()] == [make_point(0).commit, make_point(1).commit]


def test_a_record_cannot_be_of_two_commits(database: str) -> None:
    add(database, 0)
    with open_history(database, writing=True) as history:
        with pytest.raises(HistoryError, match=r"holds this record as commit 077a459b4772, not ffffffffffff; port the"):
            history.add((make_point(0, commit="f" * 40),))
        assert len(history.read()) == 1


def test_points_come_oldest_first_and_as_asked_for(database: str) -> None:
    with open_history(database, writing=True) as history:
        for index, branch, model in ((2, "main", "a"), (0, "main", "a"), (1, "feature", "a"), (3, "main", "b")):
            history.add((make_point(index, branch=branch, model=model), make_point(index, target="b200", model=model)))
        read = [history.read(target="cpu"), history.read(branch="feature"), history.read("b", "b200")]
    hours = [[(point.when - FIRST) // timedelta(hours=1) for point in points] for points in read]
    assert hours == [[0, 1, 2, 3], [1, 1], [3]]


def _add_some(database: str, own: int) -> list[bool]:
    """Six records of one's own, and one that every writer adds."""
    return add(database, *range(10 * own, 10 * own + 6), 999)


def _check_writers(pool: Executor, database: str, writers: int) -> None:
    """They all begin on no history at all."""
    with pool:
        made = list(pool.map(partial(_add_some, database), range(1, writers + 1)))
    assert sum(results[-1] for results in made) == 1
    assert all(all(results[:-1]) for results in made)
    with open_history(database) as history:
        points = history.read()
    assert len(points) == len({point.record for point in points}) == writers * 6 + 1


def test_writers_at_the_same_moment_lose_and_double_nothing(database: str) -> None:
    _check_writers(ThreadPoolExecutor(4), database, 4)


def test_processes_that_write_the_same_file_lose_and_double_nothing(tmp_path: Path) -> None:
    pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))
    _check_writers(pool, str(tmp_path / "history.sqlite"), 2)


def test_a_record_is_added_whole_or_not_at_all(database: str) -> None:
    with open_history(database, writing=True) as history:
        with pytest.raises(HistoryError, match="cannot take the record"):
            history.add((make_point(0), make_point(0)))  # the same target twice
        assert history.read() == ()
        assert history.add((make_point(0),))


def test_a_figure_is_a_finite_number_or_absent_with_its_reason() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValidationError, match="finite number"):
            make_point(0, bad)
    with pytest.raises(ValidationError, match="measured and absent at once"):
        make_point(0, 1.0, absent={"fps": "it was not timed"})
    with pytest.raises(ValidationError, match="at least 1 character"):
        make_point(0, None, absent={"fps": ""})


@pytest.mark.parametrize(("value", "reason"), [("nan", "NULL"), ("NULL", "NULL"), ("1.0", "'both'"), ("inf", "NULL")])
def test_the_database_itself_refuses_what_is_no_figure(database: str, value: str, reason: str) -> None:
    add(database, 0)
    # SQLite has no word for either: it stores NaN as NULL, and 9e999 is beyond its largest number.
    words = {"sqlite": {"nan": "NULL", "inf": "9e999"}, "postgresql": {"nan": "'NaN'", "inf": "'Infinity'"}}
    written = words[engine_of(database).dialect.name].get(value, value)
    row = f"INSERT INTO worldport_figures (target_id, metric, value, reason) VALUES (1, 'x', {written}, {reason})"
    with pytest.raises(exc.IntegrityError, match="worldport_value"):
        execute(database, row)


def test_the_tables_are_those_that_the_code_reads(database: str) -> None:
    add(database, 0)
    found = inspect(engine_of(database))
    assert {name: {c["name"] for c in found.get_columns(name)} for name in Base.metadata.tables} == {
        name: set(table.columns.keys()) for name, table in Base.metadata.tables.items()
    }


def test_tables_of_a_later_version_are_left_alone(database: str) -> None:
    add(database, 0)
    execute(database, f"UPDATE worldport_schema SET version = {SCHEMA_VERSION + 1}")
    for writing in (False, True):
        with pytest.raises(HistoryError, match=r"schema 2, this worldport knows 1 to 1; install a newer worldport"):
            open_history(database, writing)


def test_tables_that_do_not_say_their_version_are_left_alone(database: str) -> None:
    add(database, 0)
    execute(database, "DELETE FROM worldport_schema")
    with pytest.raises(HistoryError, match="worldport_schema: has 0 rows in place of one"):
        open_history(database)


def test_an_upgrade_runs_each_step_once_and_keeps_the_records(database: str) -> None:
    add(database, 0, 1)
    ran = []

    def second(connection: Connection) -> None:
        ran.append(2)
        connection.execute(text("ALTER TABLE worldport_ports ADD COLUMN remark VARCHAR"))

    def third(connection: Connection) -> None:
        ran.append(3)
        connection.execute(text("UPDATE worldport_ports SET remark = 'kept'"))

    for _ in range(2):
        with engine_of(database).connect().execution_options(writes=True) as connection, connection.begin():
            bring_up(connection, {1: second, 2: third}, newest=3)
    with engine_of(database).connect() as connection, connection.begin():
        assert tables.read_version(connection) == 3
        assert connection.scalars(text("SELECT remark FROM worldport_ports")).all() == ["kept", "kept"]
    assert ran == [2, 3]


def test_an_upgrade_that_breaks_changes_nothing(database: str) -> None:
    add(database, 0)

    def breaks(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE worldport_ports ADD COLUMN remark VARCHAR"))
        connection.execute(text("SELECT no_such_column FROM worldport_ports"))

    with (
        engine_of(database).connect().execution_options(writes=True) as connection,
        pytest.raises(exc.DBAPIError),
        connection.begin(),
    ):
        bring_up(connection, {1: breaks}, newest=2)
    assert "remark" not in {column["name"] for column in inspect(engine_of(database)).get_columns("worldport_ports")}
    with open_history(database) as history:
        assert len(history.read()) == 1


def test_a_row_that_is_no_record_is_named(database: str) -> None:
    add(database, 0)
    execute(database, "UPDATE worldport_targets SET outcome = 'perhaps'")
    with open_history(database) as history, pytest.raises(HistoryError, match="'perhaps' is not a valid Outcome"):
        history.read()


def test_a_reader_makes_no_history(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"none.sqlite: no such history; worldport history add"):
        History(str(tmp_path / "none.sqlite"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(HistoryError, match=r"empty.sqlite: holds no history yet; worldport history add"):
        History(str(tmp_path / "empty.sqlite"))


@pytest.mark.postgres
def test_a_reader_makes_no_tables(postgres_url: str) -> None:
    with pytest.raises(HistoryError, match="holds no history yet"):
        History(postgres_url)
    assert inspect(engine_of(postgres_url)).get_table_names() == []


def test_a_file_that_is_no_database_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "port.json"
    path.write_text("{}" * 999, encoding="utf-8")
    for writing in (False, True):
        with pytest.raises(HistoryError, match=r"port\.json: cannot be opened: file is not a database"):
            History(str(path), writing)
    assert path.read_text(encoding="utf-8") == "{}" * 999
    with pytest.raises(HistoryError, match=r"port.json: cannot be made \(File exists\)"):
        History(str(path / "history.sqlite"), writing=True)
