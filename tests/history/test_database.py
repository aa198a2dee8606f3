from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from porting.errors import HistoryError, PortingError
from porting.history.database import describe_url, parse_database
from porting.history.store import History
from tests.history.servers import free_port

PASSWORD = "hunter2 s@cret/word"


def forms(password: str) -> set[str]:
    """The password as it is and as it stands in URLs."""
    return {password, quote(password, safe=""), quote(password, safe="/"), password.replace(" ", "+")}


@pytest.mark.parametrize(
    ("text", "driver", "described"),
    [
        ("x/history.sqlite", "sqlite", "x/history.sqlite"),
        ("sqlite:///x.sqlite", "sqlite", "x.sqlite"),
        ("sqlite:////srv/x.sqlite", "sqlite", "/srv/x.sqlite"),
        ("postgres://ada@db/h", "postgresql+psycopg", "postgresql+psycopg://ada@db/h"),
        ("postgresql://ada@db:5433/h", "postgresql+psycopg", "postgresql+psycopg://ada@db:5433/h"),
        ("postgresql+psycopg://ada:hush@db/h?sslmode=require", "postgresql+psycopg", "postgresql+psycopg://ada@db/h"),
        ("postgresql://ada@db/h?password=hush", "postgresql+psycopg", "postgresql+psycopg://ada@db/h"),
    ],
)
def test_a_file_or_a_url_is_understood_and_told_without_a_password(text: str, driver: str, described: str) -> None:
    url = parse_database(text)
    assert url.drivername == driver
    assert describe_url(url).replace(":***", "") == described
    assert "hush" not in describe_url(url)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" ", "is empty; give a file's name"),
        ("mysql://ada:hush@db/h", r"mysql://\.\.\.: no such kind of history; it is kept in SQLite or PostgreSQL"),
        ("postgresql+psycopg2://ada:hush@db/h", "no such kind of history"),
        ("postgresql://ada:hu@sh@db/h", r"percent-encode what is special in the name and password \(@ is %40\)"),
        ("postgresql://ada:hush@db:port/h", "is no URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_what_is_no_history_is_refused_without_saying_the_password(text: str, words: str) -> None:
    with pytest.raises(HistoryError, match=words) as caught:
        parse_database(text)
    assert "hush" not in str(caught.value)
    assert "sh@" not in str(caught.value)


def _say_why(url: str) -> str:
    """The error's own words and those of all that it came from, as a traceback would print them."""
    with pytest.raises(PortingError) as caught:
        History(url, writing=True)
    return str(caught.value)


def test_a_server_that_is_not_there_is_named() -> None:
    port = free_port()
    for where in ("", f"?password={quote(PASSWORD, safe='')}"):
        own = "" if where else f":{quote(PASSWORD, safe='')}"
        said = _say_why(f"postgresql://ada{own}@127.0.0.1:{port}/h{where}")
        assert f"@127.0.0.1:{port}/h: cannot be opened: connection failed" in said
        assert "see whether the server runs" in said
        assert not any(form in said for form in forms(PASSWORD))


@pytest.mark.postgres
def test_a_wrong_password_is_refused_and_not_repeated(postgres_url: str) -> None:
    said = _say_why(make_url(postgres_url).set(password=PASSWORD).render_as_string(hide_password=False))
    assert "password authentication failed" in said
    assert not any(form in said for form in forms(PASSWORD))


@pytest.mark.postgres
def test_a_database_that_is_not_there_is_named(postgres_url: str) -> None:
    said = _say_why(make_url(postgres_url).set(database="nobody_made_it").render_as_string(hide_password=False))
    assert 'database "nobody_made_it" does not exist' in said
    assert not any(form in said for form in forms(str(make_url(postgres_url).password)))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "cannot be opened: unable to open database file; give --database a file" in _say_why(str(tmp_path))
