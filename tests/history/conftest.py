"""Histories in SQLite and in a real PostgreSQL, and a real MLflow server; what cannot be started is skipped by name."""

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from tests.history.servers import POSTGRES_VARIABLE, NotHereError, start_mlflow, start_postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a server whose user may make databases."""
    with ExitStack() as stack:
        try:
            url = os.environ.get(POSTGRES_VARIABLE) or stack.enter_context(start_postgres())
        except NotHereError as reason:
            pytest.skip(str(reason))
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL, password and all, of a new database."""
    name = f"worldport_test_{secrets.token_hex(6)}"
    engine = create_engine(postgres_server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a history may be made, in each kind of database."""
    if request.param == "sqlite":
        return str(tmp_path / "a folder" / "history.sqlite")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real MLflow server."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(start_mlflow(tmp_path_factory.mktemp("mlflow")))
        except NotHereError as reason:
            pytest.skip(str(reason))
        yield url
