"""Makes checks, and finds what evidence lacks: figures that are no numbers, and fields that say nothing."""

import math
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from porting.record import Check, Outcome, Step

MAY_BE_EMPTY = frozenset(
    {
        # Held against the program by name.
        ("StateContract", "states_in"),
        ("StateContract", "states_out"),
        # Empty is the good news.
        ("StateContract", "mutated_buffers"),
        ("ArtifactRecord", "error"),
        ("FreeRunning", "first_failing_frame"),
        ("ParityEvidence", "dropped"),
        ("ThroughputEvidence", "disturbances"),
        ("ThroughputEvidence", "not_run"),
        ("SessionLoad", "error"),
        ("Concurrency", "disturbances"),
        ("Soak", "disturbances"),
        # Asked for, or not; held against budgets where it is there.
        ("ThroughputEvidence", "soak"),
        ("ThroughputEvidence", "concurrency"),
        # Told where the device tells it, beside the reason why not.
        ("ThroughputEvidence", "energy"),
        ("Energy", "joules_per_frame"),
        ("Energy", "paced_joules_per_frame"),
        ("Energy", "watts"),
        ("Energy", "reason"),
        # None on a CPU; what a driver does not tell is empty, and no baseline of another machine is taken for its own.
        ("ThroughputEvidence", "device"),
        ("DeviceUsed", "driver"),
        ("DeviceUsed", "clock_mhz"),
        # Only where the user's environment or worldport set one.
        ("Host", "settings"),
        # Records of older versions have the mean alone.
        ("ComponentTime", "median_ms"),
        # A copy is no call.
        ("CallSpan", "call"),
        # Remarks for a reader.
        ("Attestation", "detail"),
        ("OutputParity", "unit"),
        # Why an artifact was chosen and what it cost; parity and throughput are measured on whichever it is.
        ("ArtifactRecord", "call_ms"),
        ("ArtifactRecord", "median_ms"),
        ("ArtifactRecord", "compile_seconds"),
    }
)
"""(record, field) that may be None or hold nothing although its evidence is complete."""
MOST_NAMED = 4
"""Names listed in a reason."""


def passed(step: Step, name: str, subject: str, reason: str) -> Check:
    """A check without a figure that passed."""
    return Check(step=step, name=name, subject=subject, outcome=Outcome.PASSED, reason=reason)


def failed(step: Step, name: str, subject: str, reason: str) -> Check:
    """A check without a figure that failed."""
    return Check(step=step, name=name, subject=subject, outcome=Outcome.FAILED, reason=reason)


def not_measured(step: Step, name: str, subject: str, reason: str) -> Check:
    """A check for which there is no evidence."""
    return Check(step=step, name=name, subject=subject, outcome=Outcome.NOT_MEASURED, reason=reason)


def hold_at_most(step: Step, name: str, subject: str, figures: tuple[float, float, str], reason: str) -> Check:
    """Passed when value <= limit; a value that is no number is not.

    Args:
        step: of the ladder.
        name: what is checked.
        subject: of what.
        figures: value, limit, unit.
        reason: a sentence with the figures.
    """
    value, limit, unit = figures
    outcome = Outcome.PASSED if math.isfinite(value) and value <= limit else Outcome.FAILED
    return Check(
        step=step, name=name, subject=subject, outcome=outcome, reason=reason, value=value, limit=limit, unit=unit
    )


def hold_at_least(step: Step, name: str, subject: str, figures: tuple[float, float, str], reason: str) -> Check:
    """Passed when value >= limit, both numbers; arguments as in `hold_at_most`."""
    value, limit, unit = figures
    outcome = Outcome.PASSED if math.isfinite(value) and value >= limit else Outcome.FAILED
    return Check(
        step=step, name=name, subject=subject, outcome=outcome, reason=reason, value=value, limit=limit, unit=unit
    )


def check_complete(step: Step, subject: str, evidence: BaseModel, leave_out: frozenset[str] = frozenset()) -> Check:
    """One check over every field below `evidence`: no figure that is no number, no field that says nothing.

    Args:
        step: of the ladder.
        subject: of what.
        evidence: a record.
        leave_out: its fields that are checked elsewhere.
    """
    name = "evidence is complete"
    bad = [path for path in find_non_numbers(evidence) if path.split(".")[0].split("[")[0] not in leave_out]
    gaps = [path for path in find_gaps(evidence) if path.split(".")[0].split("[")[0] not in leave_out]
    if bad:
        return failed(step, name, subject, f"{subject}: no number stands in {say_names(bad)}.")
    if gaps:
        return not_measured(step, name, subject, f"{subject}: nothing was recorded for {say_names(gaps)}.")
    return passed(step, name, subject, f"{subject}: every figure is a number and nothing is missing.")


def find_non_numbers(value: Any, path: str = "") -> Iterator[str]:
    """Where NaN or an infinity stands, as paths."""
    if isinstance(value, float):
        if not math.isfinite(value):
            yield path
    else:
        for inner, place in _children(value, path):
            yield from find_non_numbers(inner, place)


def find_gaps(value: Any, path: str = "") -> Iterator[str]:
    """Where a field is None, or an empty text, list or table, that must not be."""
    for inner, place in _children(value, path):
        allowed = isinstance(value, BaseModel) and (type(value).__name__, place.rpartition(".")[2]) in MAY_BE_EMPTY
        if inner is None or (isinstance(inner, str | tuple | dict) and not inner):
            if not allowed:
                yield place
        else:
            yield from find_gaps(inner, place)


def _children(value: Any, path: str) -> Iterator[tuple[Any, str]]:
    """What stands directly below a value, with its path."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield getattr(value, name), f"{path}.{name}".lstrip(".")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield inner, f"{path}[{key}]"
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield inner, f"{path}[{index}]"


def say_names(names: list[str]) -> str:
    """The first few, and how many more."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
