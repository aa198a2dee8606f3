"""Where a history is kept: a file's name or a URL becomes a SQLAlchemy engine, and a driver's error a sentence.

A password is in no sentence, be it in the URL, in its query or in what the driver says. Knows no table.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.pool import NullPool

from porting.errors import HistoryError, UsageError

SQLITE, POSTGRESQL = "sqlite", "postgresql"
DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""What a URL may begin with, and the driver that is meant."""
WAIT_SECONDS = 30
"""For another writer of the same file."""
CONNECT_SECONDS = 10


def parse_database(text: str) -> URL:
    """The URL of a history: of the SQLite file, where the text is a path.

    Raises:
        HistoryError: it is empty, no URL, or one of another kind of database.
    """
    if not text.strip():
        raise HistoryError("--database: is empty; give a file's name or postgresql+psycopg://user@host/database")
    if "://" not in text:
        return URL.create(SQLITE, database=str(Path(text).expanduser()))
    scheme = text.partition("://")[0]
    if scheme not in DRIVERS:
        raise HistoryError(f"--database {scheme}://...: no such kind of history; it is kept in SQLite or PostgreSQL")
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        # The cause quotes parts of the URL, and one of them may be a password.
        url = None
    if url is None or "@" in (url.host or ""):
        raise HistoryError(
            f"--database {scheme}://...: is no URL; percent-encode what is special in the name and password (@ is %40)"
        )
    if url.get_backend_name() == SQLITE and url.database in {None, "", ":memory:"}:
        raise HistoryError(f"--database {scheme}://: names no file; give sqlite:///FILE, or the file's name alone")
    return url.set(drivername=DRIVERS[scheme])


def describe_url(url: URL) -> str:
    """The URL for people, without its password and its query, which may hold one; a file's name alone."""
    if url.get_backend_name() == SQLITE:
        return str(url.database)
    return url.set(password=None, query={}).render_as_string(hide_password=True)


def make_engine(url: URL) -> Engine:
    """An engine that holds no connection open.

    Raises:
        UsageError: the driver is not installed.
    """
    sqlite = url.get_backend_name() == SQLITE
    waiting = {"timeout": WAIT_SECONDS} if sqlite else {"connect_timeout": CONNECT_SECONDS}
    # What the URL itself asks for comes first.
    arguments: dict[str, Any] = {key: value for key, value in waiting.items() if key not in url.query}
    try:
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
    except ModuleNotFoundError as cause:
        raise UsageError(
            f"{describe_url(url)}: {cause.name} is not installed; pip install 'worldport[history]'"
        ) from cause
    if sqlite:
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _leave_transactions_to_us(connection: Any, _record: object) -> None:
    """Python's sqlite3 would begin a transaction only at the first write, and not before a change of the schema."""
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock before it reads: two that upgraded a read lock would refuse each other."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def explained(url: URL, doing: str) -> Iterator[None]:
    """Turn what the database refuses in the block into an error that says where, and what was being done.

    Raises:
        HistoryError: the database could not be reached or did not do it.
    """
    try:
        yield
    except exc.DBAPIError as cause:
        said = " ".join(str(cause.orig).split()) or type(cause.orig).__name__
        raise HistoryError(f"{describe_url(url)}: cannot {doing}: {_scrub(said, url)}; {_advise(url)}") from cause


def _scrub(text: str, url: URL) -> str:
    """The text without any password of the URL, as it is or percent-encoded."""
    secrets = [str(url.password)] if url.password else []
    secrets += [str(value) for key, value in url.query.items() if "password" in key]
    for secret in secrets:
        for form in {secret, quote(secret, safe=""), quote_plus(secret)}:
            text = text.replace(form, "***")
    return text


def _advise(url: URL) -> str:
    if url.get_backend_name() == SQLITE:
        return "give --database a file that can be written, and that is a history or not there yet"
    return "see whether the server runs, and whether host, name and password are right"
