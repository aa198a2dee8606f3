"""The comment on a pull request: the verdict first, at most a screen, and no name in it that becomes markup."""

import re

import pytest
from markdown_it import MarkdownIt

from porting.gate import GateVerdict
from porting.gate.markdown import format_markdown
from porting.record import Outcome, PortRecord
from tests.gate.hostile import NAMES, hostile_verdict
from tests.gate.records import add_target, baseline_of, judge, make_target, ported
from tests.verdict.records import with_target

SCREEN = 40


def nine_targets() -> PortRecord:
    record = ported()
    for number in range(8):
        record = add_target(record, f"target-{number}", make_target(record, parity=None, throughput=None))
    return record


def render(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


def test_the_verdict_comes_first() -> None:
    text = format_markdown(judge(ported(), baseline_of()), [("report", "https://ci.example/report (1).html")])
    assert text.splitlines()[0] == "### ✅ toy: passed"
    assert "| ✅ cpu | ✅ 1.2 x (was 1.2 x) | ✅ 100 (was 100) |" in text
    assert "Not seen: " in text
    assert text.rstrip().endswith("[report](<https://ci.example/report(1).html>)")


def test_what_did_not_pass_comes_before_the_table() -> None:
    text = format_markdown(judge(with_target(ported(memory_high_water_bytes=2**31), verdict=None), baseline_of()))
    lines = text.splitlines()
    assert lines[0] == "### ❌ toy: failed"
    assert lines[4].startswith("- ❌ **cpu: memory high water**: 2048 MiB at most")
    assert any(line.startswith("- ⚪ **cpu: verdict**") for line in lines)


def test_nothing_measured_is_not_called_passed() -> None:
    text = format_markdown(judge(with_target(ported(), throughput=None), baseline_of()))
    assert "passed" not in text.splitlines()[0].replace("not passed", "")


def test_nine_targets_fit_on_a_screen_whatever_happened() -> None:
    baseline = baseline_of(nine_targets())
    assert len(format_markdown(judge(nine_targets(), baseline)).splitlines()) <= SCREEN
    broken = nine_targets()
    for name in broken.targets:
        broken = add_target(broken, name, make_target(broken, verdict=None, artifacts=(), parity=None))
    verdict = judge(broken, baseline)
    assert len(verdict.troubles) > 20
    text = format_markdown(verdict)
    assert len(text.splitlines()) <= SCREEN
    assert re.search(r"and \d+ more that did not pass", text)


def test_fifty_targets_fit_too_and_the_rest_are_counted() -> None:
    record = ported()
    for number in range(50):
        record = add_target(record, f"target-{number}", make_target(record))
    text = format_markdown(judge(record, baseline_of()))
    assert len(text.splitlines()) <= SCREEN
    assert "more targets." in text


def verdicts() -> list[tuple[str, GateVerdict]]:
    return [(name, hostile_verdict(name)) for name in NAMES]


@pytest.mark.parametrize(("name", "verdict"), verdicts())
def test_names_from_outside_stay_text(name: str, verdict: GateVerdict) -> None:
    text = format_markdown(verdict, [(name, "https://ci.example/> <script>")])
    page = render(text)
    plain = render(format_markdown(hostile_verdict("plain"), [("plain", "https://ci.example/")]))
    assert re.findall(r"<(/?\w+)", page) == re.findall(r"<(/?\w+)", plain)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e\ud800]", text)
    assert "@maintainers" not in page
    assert text.count("://") == 1
    assert verdict.outcome is Outcome.FAILED
