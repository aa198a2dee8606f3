"""The gate as Markdown for a pull request: the verdict first, at most one screen, and where to read the rest."""

from collections.abc import Sequence

from porting.escaping import markdown_text
from porting.gate import attestation, parity, speed
from porting.gate.checks import figure, share
from porting.gate.verdict import BUNDLE, GateCheck, GateVerdict
from porting.record import Outcome

MARKS = {Outcome.PASSED: "✅", Outcome.FAILED: "❌", Outcome.NOT_MEASURED: "⚪"}
SAID = {Outcome.PASSED: "passed", Outcome.FAILED: "failed", Outcome.NOT_MEASURED: "not measured, so not passed"}
MOST_TROUBLES = 8
MOST_TARGETS = 12
MOST_UNSEEN = 3
LONGEST_REASON = 300
COLUMNS = (
    ("parity", (parity.ERROR_RATIO, parity.TEACHER_FORCED, parity.FIRST_FAILING, parity.ASKED)),
    ("fps", (speed.PROMISED, speed.RATE, speed.ASKED)),
    ("p99", (speed.TAIL,)),
    ("missed", (speed.MISSED,)),
    ("vs eager", (speed.RATIO,)),
    ("memory", (speed.MEMORY, speed.SLOPE)),
    ("attested", (attestation.ATTESTATION, attestation.KERNELS)),
)
"""Heading -> the checks that it sums up; the last figure in this order is shown."""


def format_markdown(verdict: GateVerdict, links: Sequence[tuple[str, str]] = ()) -> str:
    """The comment.

    Args:
        verdict: what is told.
        links: text and address of where more is to read; addresses are the caller's own, never a record's.
    """
    counts = {outcome: sum(check.outcome is outcome for check in verdict.checks) for outcome in Outcome}
    told = ", ".join(f"{amount} {outcome.value}" for outcome, amount in counts.items() if amount) or "no check was made"
    lines = [
        f"### {MARKS[verdict.outcome]} {markdown_text(verdict.model)}: {SAID[verdict.outcome]}",
        "",
        f"{told}; against {markdown_text(verdict.against)}.",
        "",
        *_list_troubles(verdict),
        *_make_table(verdict),
        *_say_unseen(verdict),
        *[f"Left out: {markdown_text(text)}." for text in verdict.left_out],
    ]
    if links:
        # Addresses are written by the caller; a parenthesis or a space would end one.
        lines += ["", " · ".join(f"[{markdown_text(text)}](<{_address(address)}>)" for text, address in links)]
    return "\n".join(lines) + "\n"


def _address(text: str) -> str:
    return "".join(text.split()).replace("<", "%3C").replace(">", "%3E").replace("\\", "%5C")


def _list_troubles(verdict: GateVerdict) -> list[str]:
    troubles = verdict.troubles
    shown = troubles if len(troubles) <= MOST_TROUBLES else troubles[: MOST_TROUBLES - 1]
    lines = [
        f"- {MARKS[check.outcome]} **{markdown_text(check.title)}**: {markdown_text(_shorten(check.reason))}"
        for check in shown
    ]
    if len(shown) < len(troubles):
        lines.append(f"- and {len(troubles) - len(shown)} more that did not pass")
    return [*lines, ""] if lines else []


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


def _make_table(verdict: GateVerdict) -> list[str]:
    targets = list(dict.fromkeys(check.target for check in verdict.checks if check.target != BUNDLE))
    worst = {target: _worst([c for c in verdict.checks if c.target == target]) for target in targets}
    targets.sort(key=lambda target: list(MARKS).index(worst[target]) == 0)
    if not targets:
        return []
    lines = ["| target | " + " | ".join(name for name, _ in COLUMNS) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    for target in targets[:MOST_TARGETS]:
        cells = [_make_cell(target, names, verdict) for _, names in COLUMNS]
        lines.append(f"| {MARKS[worst[target]]} {markdown_text(target)} | " + " | ".join(cells) + " |")
    if len(targets) > MOST_TARGETS:
        lines.append(f"\nand {len(targets) - MOST_TARGETS} more targets.")
    return [*lines, ""]


def _worst(checks: Sequence[GateCheck]) -> Outcome:
    outcomes = {check.outcome for check in checks}
    return next((o for o in (Outcome.FAILED, Outcome.NOT_MEASURED) if o in outcomes), Outcome.PASSED)


def _make_cell(target: str, names: Sequence[str], verdict: GateVerdict) -> str:
    checks = [check for check in verdict.checks if check.target == target and check.name in names]
    if not checks:
        return "\N{EN DASH}"
    outcome = _worst(checks)
    bad = [check for check in checks if check.outcome is outcome]
    ranked = sorted(bad, key=lambda check: (names.index(check.name), -(check.value or 0.0)))
    shown = next((check for check in ranked if check.baseline is not None), None)
    shown = shown or next((check for check in ranked if check.value is not None), None)
    text = MARKS[outcome]
    if shown is not None and shown.value is not None:
        text += f" {_say(shown.value, shown.unit)}"
        if shown.baseline is not None:
            text += f" (was {_say(shown.baseline, shown.unit)})"
    return markdown_text(text)


def _say(value: float, unit: str) -> str:
    if unit == "of frames":
        return share(value)
    return figure(value, "" if unit == "fps" else unit)


def _say_unseen(verdict: GateVerdict) -> list[str]:
    """What no check could have told, the first few in full."""
    unseen = verdict.unseen
    if not unseen:
        return []
    wanted = [f"{name}: " for name in (speed.RATIO, speed.RATE, speed.MISSED)]
    first = sorted(unseen, key=lambda text: not any(name in text for name in wanted))[:MOST_UNSEEN]
    more = f"; and {len(unseen) - len(first)} more" if len(unseen) > len(first) else ""
    return [f"Not seen: {markdown_text('; '.join(first))}{more}."]
