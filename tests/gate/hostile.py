"""Names that others chose so that a page, a log or a file obeys them."""

from porting.gate import GateCheck, GateVerdict
from porting.record import Outcome

SCRIPT = "<script>alert(1)</script>"
NAMES = (
    SCRIPT,
    "a|b",
    "x::y\n::error title=forged::pwned",
    "line\r\nbreak",
    "\x1b[31mred\x00\x07",
    "]]></failure><testcase/>",
    "# heading\n- [link](javascript:alert(1))",
    "@maintainers see #1 and https://evil.example",
    "\u202egnp.exe",
    "100%0A::warning::x",
    "half \ud800 a pair",
    '"><img src=x>',
)


def hostile_verdict(name: str) -> GateVerdict:
    """Every text of a verdict is that name."""
    checks = tuple(
        GateCheck(
            target=name, name=f"check {name}", subject=name, outcome=outcome, reason=f"Because {name}.", value=1.0,
            limit=2.0, baseline=1.5, unit=name, unseen=name,
        )
        for outcome in (Outcome.FAILED, Outcome.NOT_MEASURED, Outcome.PASSED)
    )  # fmt: skip
    return GateVerdict(outcome=Outcome.FAILED, model=name, against=name, checks=checks, left_out=(name,))
