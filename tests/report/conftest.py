"""Rendering as the pipeline does it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from porting.record import PortRecord
from porting.report import render_html
from tests.report.records import TEMPLATES, failing, not_measured, passing, write_bundle

Render = Callable[[PortRecord], str]


def _render_once(record: PortRecord, folder: Path) -> str:
    return render_html(record, write_bundle(folder, record), TEMPLATES)


@pytest.fixture(scope="session")
def passing_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _render_once(passing(), tmp_path_factory.mktemp("passing"))


@pytest.fixture(scope="session")
def failing_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _render_once(failing(), tmp_path_factory.mktemp("failing"))


@pytest.fixture(scope="session")
def empty_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _render_once(not_measured(), tmp_path_factory.mktemp("empty"))


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """The page of a record whose files are all there."""
    return lambda record: _render_once(record, tmp_path)
