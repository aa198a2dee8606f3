"""Turns a skipped test of a real part into a failure where every part has to be there.

Tests marked browser, postgres or mlflow talk to the real thing, and are skipped with the reason where it is not
installed. With WORLDPORT_REQUIRE_REAL_PARTS=1, as in CI, such a skip fails; so does a whole module of them that is
skipped while it is collected, and a run of the whole suite in which no test of a part ran. The conftest imports this.
Where worker processes run the tests (pytest-xdist), their reports come together in the process that started them.
"""

import os
import re
from collections.abc import Generator
from pathlib import Path

import pytest

VARIABLE = "WORLDPORT_REQUIRE_REAL_PARTS"
PARTS = ("browser", "postgres", "mlflow")
WHOLE_SUITE = "not slow"
"""The marker expression of a run that is meant to have a test of every part."""
RAN = pytest.StashKey[set[str]]()
SILENT = pytest.StashKey[list[str]]()


def required() -> bool:
    """Whether every part has to be there; anything but 1, 0 or nothing is a mistake of whoever set it."""
    told = os.environ.get(VARIABLE, "")
    if told not in {"", "0", "1"}:
        raise pytest.UsageError(f"{VARIABLE}={told}: is neither 1 nor 0")
    return told == "1"


class Sightings:
    """Which parts had a test that ran, here or in a worker."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and (not report.skipped or hasattr(report, "wasxfail")):
            self.config.stash[RAN].update(part for part in PARTS if part in report.keywords)


def pytest_configure(config: pytest.Config) -> None:
    required()
    config.stash[RAN] = set()
    config.stash[SILENT] = []
    config.pluginmanager.register(Sightings(config))


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def parts_of(item: pytest.Item) -> list[str]:
    return [part for part in PARTS if item.get_closest_marker(part) is not None]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    parts = parts_of(item)
    if not parts or not required():
        return report
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{', '.join(parts)}: has to be there ({VARIABLE}=1), but was skipped: {say_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.outcome == "skipped" and isinstance(collector, pytest.Module) and required():
        # The module never got as far as to its tests: only its text tells what they would have been.
        marked = [part for part in PARTS if re.search(rf"\bmark\.{part}\b", Path(collector.path).read_text("utf-8"))]
        if marked:
            report.outcome = "failed"
            report.longrepr = f"{', '.join(marked)}: has to be there, but its module was skipped: {say_reason(report)}"
    return report


def say_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What stands behind "Skipped: "."""
    told = report.longrepr
    return str(told[2]).removeprefix("Skipped: ") if isinstance(told, tuple) else str(told)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    whole = config.args_source is config.ArgsSource.TESTPATHS and config.option.markexpr == WHOLE_SUITE
    asked = required() and whole and not config.option.keyword and not config.option.collectonly
    if not asked or is_worker(config):
        return
    config.stash[SILENT] = [part for part in PARTS if part not in config.stash[RAN]]
    if config.stash[SILENT] and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for part in config.stash[SILENT]:
        terminalreporter.write_line(f"FAILED {part}: has to be there ({VARIABLE}=1), but no test of it ran", red=True)
