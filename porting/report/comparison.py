"""A comparison of two bundles as Markdown, and its figures as lines for a terminal. It judges nothing."""

from porting.record import Comparison, Outcome
from porting.report import numbers

MARKS = {Outcome.PASSED: "✅", Outcome.FAILED: "❌", Outcome.NOT_MEASURED: "❔"}
SPECIAL = r"\`*_{}[]<>()#+!|~"
"""What Markdown reads as something else than text."""


def list_figures(found: Comparison) -> list[tuple[str, str]]:
    """Name and value of everything that was measured, in the order that a reader asks."""
    rows = []
    if found.ratio is not None and found.interval is not None:
        span = f"{found.interval.low:.4f} to {found.interval.high:.4f}"
        rows += [
            ("frame time", f"{numbers.number(found.candidate_ms, 'ms')} against {_ms(found.baseline_ms)} (medians)"),
            ("ratio", f"{found.ratio:.4f}, {found.interval.level:.0%} interval {span}"),
            ("limit", f"{numbers.percent(found.limit)} slower"),
            ("noise", f"{_noise(found)} (the baseline against itself, in the same turns)"),
            ("smallest found", f"a slowdown of {numbers.percent(found.smallest_slowdown)}, {_sure(found)} of the time"),
        ]
    for name, share in ((" (estimated)", found.slowed), (" and more (counted)", found.late)):
        if share is not None:
            late = f"frames late by {_late(share.slowdown)}{name}"
            rows.append((late, f"{share.share:.2%} of all beyond the baseline's, {share.low:.2%} to {share.high:.2%}"))
    if found.slow_frame is not None:
        slow = found.slow_frame
        rows.append(("slowest frame", f"number {slow.frame} of the rollout: {slow.ratio:.3f}, at least {slow.low:.3f}"))
    rows += [(f"in {c.component}", f"{c.ratio:.4f} ({c.low:.4f} to {c.high:.4f})") for c in found.components]
    rows.append(
        (
            "measured",
            f"{numbers.plural(found.frames, 'frame')} of each in {found.seconds_used:.1f} s,"
            f" {numbers.plural(found.turns, 'turn')}, {numbers.plural(found.rebuilds, 'build')} of each",
        )
    )
    rows.append(("false alarms", f"at most {numbers.percent(found.false_alarm_rate)} of comparisons"))
    if found.priority:
        rows.append(("priority", found.priority))
    rows += [("disturbed", sentence) for sentence in found.disturbances]
    return rows


def render_comparison(found: Comparison) -> str:
    """The verdict first, then the figures; every name and path stays text."""
    mark = MARKS[found.outcome]
    lines = [
        f"## {mark} {found.outcome.value}: {_escape(found.candidate.path)} against {_escape(found.baseline.path)}",
        "",
        _escape(found.reason),
        "",
        f"| {_escape(found.target)} | |",
        "| --- | --- |",
        *(f"| {_escape(name)} | {_escape(value)} |" for name, value in list_figures(found)),
        "",
        f"Host: {_escape(found.host.cpu)}, {numbers.plural(found.host.cores, 'core')}, {_escape(found.host.system)}.",
    ]
    return "\n".join(lines) + "\n"


def _ms(value: float | None) -> str:
    return numbers.number(value, "ms")


def _late(ratio: float) -> str:
    return f"{100 * (ratio - 1):.0f} %"


def _escape(text: str) -> str:
    """The text as text, on one line."""
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in SPECIAL else letter for letter in flat)


def _noise(found: Comparison) -> str:
    return f"{numbers.percent(found.noise_seen)} seen, {numbers.percent(found.noise_floor)} at most"


def _sure(found: Comparison) -> str:
    return f"{1 - found.false_pass_rate:.0%}"
