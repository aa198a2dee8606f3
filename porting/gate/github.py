"""The gate for GitHub: annotations as workflow commands, and text that no name in it can turn into one."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from porting.escaping import workflow_data, workflow_property
from porting.gate.verdict import GateVerdict
from porting.record import Outcome

MOST_ANNOTATIONS = 10
"""What GitHub shows of a step: the others are counted in the last."""


def format_annotations(verdict: GateVerdict) -> tuple[str, ...]:
    """One workflow command a line: errors for what failed, warnings for what was not measured; none when all passed."""
    troubles = verdict.troubles
    failed = [check for check in troubles if check.outcome is Outcome.FAILED]
    missing = [check for check in troubles if check.outcome is not Outcome.FAILED]
    lines = []
    for kind, checks in (("error", failed), ("warning", missing)):
        shown = checks if len(checks) <= MOST_ANNOTATIONS else checks[: MOST_ANNOTATIONS - 1]
        lines += [_format(kind, f"worldport: {check.title}", check.reason) for check in shown]
        if len(shown) < len(checks):
            rest = len(checks) - len(shown)
            lines.append(_format(kind, "worldport gate", f"{rest} more checks; see the gate's own output."))
    return tuple(lines)


def _format(kind: str, title: str, message: str) -> str:
    return f"::{kind} title={workflow_property(title)}::{workflow_data(message)}"


@contextmanager
def commands_stopped(write: Callable[[str], object]) -> Iterator[None]:
    """What is written meanwhile is text to GitHub, whatever it holds: a token that nobody can guess ends it."""
    token = secrets.token_hex(16)
    write(f"::stop-commands::{token}\n")
    try:
        yield
    finally:
        write(f"::{token}::\n")
