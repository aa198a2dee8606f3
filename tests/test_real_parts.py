"""Where real parts are required, their tests cannot be skipped, not even by absence. Each case is a run of pytest."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real_parts import PARTS, VARIABLE

ALL_RUN = "\n".join(f"@pytest.mark.{part}\ndef test_{part}():\n    pass\n" for part in PARTS)


@dataclass(frozen=True)
class Suite:
    """A small suite of its own, with the hooks of this one."""

    folder: Path
    root: Path

    def run(self, tests: str, *arguments: str, told: str = "1") -> tuple[int, str]:
        """Exit code and output of pytest on one module."""
        (self.folder / "tests").mkdir(exist_ok=True)
        (self.folder / "tests/test_it.py").write_text(f"import pytest\n\n{tests}", encoding="utf-8")
        (self.folder / "conftest.py").write_text("from tests_real_parts import *\n", encoding="utf-8")
        source = (self.root / "tests/real_parts.py").read_text(encoding="utf-8")
        (self.folder / "tests_real_parts.py").write_text(source, encoding="utf-8")
        markers = "".join(f"    {name}\n" for name in (*PARTS, "slow"))
        settings = f"[pytest]\naddopts = -ra --strict-markers -m 'not slow'\ntestpaths = tests\nmarkers =\n{markers}"
        (self.folder / "pytest.ini").write_text(settings, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments], cwd=self.folder, text=True,
            capture_output=True, timeout=120, check=False, env={**os.environ, VARIABLE: told},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def suite(tmp_path: Path, project_root: Path) -> Suite:
    return Suite(tmp_path, project_root)


SKIPS = {
    "by a fixture": "@pytest.fixture\ndef part():\n    pytest.skip('no server')\n\n"
    "@pytest.mark.postgres\ndef test_a(part):\n    pass\n",
    "by a mark": "@pytest.mark.postgres\n@pytest.mark.skipif(True, reason='no server')\ndef test_a():\n    pass\n",
    "in the test": "@pytest.mark.postgres\ndef test_a():\n    pytest.skip('no server')\n",
    "one parameter of two": "@pytest.mark.parametrize('part', ['f', pytest.param('x', marks=pytest.mark.postgres)])\n"
    "def test_a(part):\n    part == 'x' and pytest.skip('no server')\n",
    "the whole module": "pytestmark = pytest.mark.postgres\npytest.skip('no server', allow_module_level=True)\n",
}


@pytest.mark.parametrize("tests", SKIPS.values(), ids=SKIPS)
def test_a_skip_of_a_real_part_fails_where_it_is_required(suite: Suite, tests: str) -> None:
    code, said = suite.run(tests, "tests")
    assert code in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}, said
    assert "postgres: has to be there" in said
    assert "no server" in said


@pytest.mark.parametrize("tests", SKIPS.values(), ids=SKIPS)
def test_it_is_a_skip_where_it_is_not(suite: Suite, tests: str) -> None:
    code, said = suite.run(tests, "tests", told="0")
    assert code in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}, said
    assert "no server" in said


def test_other_skips_and_tests_that_run_are_left_alone(suite: Suite) -> None:
    other = "\n@pytest.mark.skip(reason='no device')\ndef test_other():\n    pass\n"
    expected = "\n@pytest.mark.mlflow\n@pytest.mark.xfail(reason='not yet')\ndef test_expected():\n    assert False\n"
    code, said = suite.run(ALL_RUN + other + expected)
    assert code == pytest.ExitCode.OK, said
    assert "3 passed, 1 skipped, 1 xfailed" in said


WORKERS = {"one process": (), "workers": ("-n", "2")}


@pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
def test_parts_that_run_satisfy_the_whole_suite(suite: Suite, workers: tuple[str, ...]) -> None:
    code, said = suite.run(ALL_RUN, *workers)
    assert code == pytest.ExitCode.OK, said
    code, said = suite.run(ALL_RUN + SKIPS["by a mark"], *workers)
    assert code == pytest.ExitCode.TESTS_FAILED, said
    assert "postgres: has to be there" in said


@pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
def test_a_part_without_any_test_fails_the_whole_suite(suite: Suite, workers: tuple[str, ...]) -> None:
    without = ALL_RUN.replace("@pytest.mark.mlflow", "@pytest.mark.slow")
    code, said = suite.run(without, *workers)
    assert code == pytest.ExitCode.TESTS_FAILED, said
    assert "FAILED mlflow: has to be there (WORLDPORT_REQUIRE_REAL_PARTS=1), but no test of it ran" in said
    for arguments in (("-m", "slow"), ("tests",), ("-k", "browser"), ("--collect-only",)):
        code, said = suite.run(without, *arguments)
        assert code == pytest.ExitCode.OK, said


def test_a_value_that_says_neither_yes_nor_no_is_refused(suite: Suite) -> None:
    code, said = suite.run(ALL_RUN, told="true")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "WORLDPORT_REQUIRE_REAL_PARTS=true: is neither 1 nor 0" in said
