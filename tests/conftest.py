"""What every test shares. Fixtures that one module needs stand in that module."""

import os
from pathlib import Path

import pytest

from porting.host import spin_briefly
from tests.real_parts import (
    pytest_configure,
    pytest_make_collect_report,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)

__all__ = [
    "pytest_configure",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
]

# Kernels are interpreted in the tests' own process, so triton has to know before anything imports it; whatever compiles
# does so in a child with a clean environment. More BLAS threads than one cost more than they bring at a kernel's sizes.
os.environ["TRITON_INTERPRET"] = "1"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
spin_briefly()


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout that holds porting/, profiles/, reports/ and checkpoints/."""
    return Path(__file__).resolve().parent.parent
