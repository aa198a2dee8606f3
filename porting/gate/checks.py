"""Makes gate checks: held at least, held at most, or without a figure; a figure that is no number never passes."""

import math

from porting.gate.verdict import GateCheck
from porting.record import Outcome


def passed(target: str, name: str, reason: str, subject: str = "") -> GateCheck:
    """A check without a figure that passed."""
    return GateCheck(target=target, name=name, subject=subject, outcome=Outcome.PASSED, reason=reason)


def failed(target: str, name: str, reason: str, subject: str = "") -> GateCheck:
    """A check without a figure that failed."""
    return GateCheck(target=target, name=name, subject=subject, outcome=Outcome.FAILED, reason=reason)


def not_measured(target: str, name: str, reason: str, subject: str = "") -> GateCheck:
    """A check for which there is no evidence."""
    return GateCheck(target=target, name=name, subject=subject, outcome=Outcome.NOT_MEASURED, reason=reason)


def at_most(check: GateCheck) -> GateCheck:
    """The check with the outcome of value <= limit, both numbers."""
    return check.model_copy(update={"outcome": _outcome(check, 1.0)})


def at_least(check: GateCheck) -> GateCheck:
    """The check with the outcome of value >= limit, both numbers."""
    return check.model_copy(update={"outcome": _outcome(check, -1.0)})


def _outcome(check: GateCheck, sign: float) -> Outcome:
    value, limit = check.value, check.limit
    if value is None or limit is None:
        return Outcome.NOT_MEASURED
    holds = math.isfinite(value) and math.isfinite(limit) and sign * value <= sign * limit
    return Outcome.PASSED if holds else Outcome.FAILED


def figure(value: float | None, unit: str = "") -> str:
    """Four digits and the unit, the same on every host: "394.9 fps"; bytes in MiB."""
    if value is None:
        return "not measured"
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    return f"{value:.4g} {unit}".rstrip()


def share(value: float) -> str:
    """A share of one: "12 %", "1.4 %"."""
    return f"{100 * value:.2g} %" if abs(value) < 0.995 else f"{100 * value:.0f} %"


def say_names(names: list[str], most: int = 4) -> str:
    """The first few, and how many more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
