"""Annotations: one command a check, escaped as the runner unescapes, and no text that becomes a command."""

import re

import pytest

from porting.gate.github import MOST_ANNOTATIONS, commands_stopped, format_annotations
from porting.gate.verdict import GateCheck, GateVerdict
from porting.record import Outcome
from tests.gate.hostile import NAMES, hostile_verdict
from tests.gate.records import baseline_of, judge, ported

COMMAND = re.compile(r"::(error|warning) title=([^:,\r\n]*)::([^\r\n]*)")


def make_check(number: int, outcome: Outcome) -> GateCheck:
    return GateCheck(target="cpu", name=f"check {number}", outcome=outcome, reason="50% less: no, really")


def failing(amount: int) -> GateVerdict:
    checks = (*(make_check(n, Outcome.FAILED) for n in range(amount)), make_check(99, Outcome.NOT_MEASURED))
    return GateVerdict(outcome=Outcome.FAILED, model="m", against="a", checks=checks)


def test_a_passing_gate_says_nothing() -> None:
    assert format_annotations(judge(ported(), baseline_of())) == ()


def test_errors_and_warnings() -> None:
    error, warning = format_annotations(failing(1))
    assert error == "::error title=worldport%3A cpu%3A check 0::50%25 less: no, really"
    assert warning.startswith("::warning title=worldport%3A cpu%3A check 99::")


def test_what_github_would_not_show_is_counted() -> None:
    lines = [line for line in format_annotations(failing(25)) if line.startswith("::error")]
    assert len(lines) == MOST_ANNOTATIONS
    assert lines[-1].endswith("16 more checks; see the gate's own output.")


@pytest.mark.parametrize("name", NAMES)
def test_names_from_outside_stay_text(name: str) -> None:
    lines = format_annotations(hostile_verdict(name))
    assert len(lines) == 2
    for line in lines:
        assert len(line.splitlines()) == 1
        assert COMMAND.fullmatch(line)
        assert not re.search(r"[\x00-\x1f\x7f\u202e\ud800]", line)


def test_commands_are_stopped_with_a_token_that_nobody_knows() -> None:
    written: list[str] = []
    for _ in range(2):
        with commands_stopped(written.append):
            written.append("::error::forged\n")
    first, second = written[0], written[3]
    token = first.removeprefix("::stop-commands::").strip()
    assert re.fullmatch(r"[0-9a-f]{32}", token)
    assert written[2] == f"::{token}::\n"
    assert first != second


def test_commands_start_again_after_an_error() -> None:
    written: list[str] = []
    with pytest.raises(ValueError, match="no"), commands_stopped(written.append):
        raise ValueError("no")
    assert len(written) == 2
