"""What every test shares. Fixtures that one module needs stand in that module."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout that holds porting/, profiles/, reports/ and checkpoints/."""
    return Path(__file__).resolve().parent.parent
