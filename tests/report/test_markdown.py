"""The verdict comes first and all fits on a screen; no name from outside breaks its table or becomes markup."""

import re
from pathlib import Path

import pytest

from porting.record import PortRecord, StageRecord, Step, TargetRecord, Verdict
from porting.report import render_markdown
from porting.report.markdown import escape_markdown
from tests.report.records import TEMPLATES, failing, make_record, not_measured, passing
from tests.report.test_html import EVIL, evil_record

SCREEN = 40
WIDEST = 600


def render(record: PortRecord) -> str:
    return render_markdown(record, Path("somewhere/bundle"), TEMPLATES)


def only_compiled() -> TargetRecord:
    target = passing().targets["cpu"]
    verdict = target.verdict
    assert verdict is not None
    low = {Step.EXPORTED, Step.COMPILED, Step.ATTESTED}
    checks = tuple(check for check in verdict.checks if check.step in low)
    changed = Verdict(outcome=verdict.outcome, reached=Step.ATTESTED, highest_possible=Step.ATTESTED, checks=checks)
    return target.model_copy(update={"verdict": changed, "parity": None, "throughput": None})


def with_targets(record: PortRecord, amount: int, target: TargetRecord) -> PortRecord:
    return record.model_copy(update={"targets": {**record.targets, **{f"chip-{n}": target for n in range(amount)}}})


def test_a_passing_port() -> None:
    text = render(passing())
    assert text.splitlines()[0] == "# gwm-mini-worlds: ✓ passed on 1 target"
    assert "| ✓ cpu fp32 | ✓ | ✓ | ✓ | ✓ 1.14x PyTorch's error | ✓ 102 fps |" in text
    assert "- **cpu**: 102 frames/s, 3.9x PyTorch eager (3.67 to 4.18), p99 13.7 ms of 41.7 ms, 1 of 72 paced" in text
    assert "none of 24 frames drifts away" in text
    assert "- **Not proved**: that the model is any good" in text
    assert "[report.html](report.html)" in text
    assert text.rstrip().endswith("    worldport port bundled:gwm-mini-worlds")


def test_a_failing_port_says_why_before_its_figures() -> None:
    text = render(failing())
    assert text.splitlines()[0] == "# gwm-mini-worlds: ✕ failed on 1 target"
    assert "| ✕ cpu fp32 |" in text
    assert "✕ failed" in text
    assert text.index("- **cpu**: At ") < text.index("frames/s")
    assert "drifts away at frame 9" in text
    assert "Not valid: load of other processes: 3.2." in text


def test_absence_is_said() -> None:
    text = render(not_measured())
    assert text.splitlines()[0] == "# gwm-mini-worlds: ○ not measured on 1 target, of which none was run"
    assert "✓" not in text
    assert "parity and any frame rate on cpu" in text
    empty = render(make_record({}))
    assert empty.splitlines()[0] == "# gwm-mini-worlds: ○ not measured: the record holds no target"
    assert "passed" not in empty


def test_what_was_only_compiled_is_not_called_run() -> None:
    text = render(with_targets(passing(), 8, only_compiled()))
    assert text.splitlines()[0] == "# gwm-mini-worlds: ✓ passed on 9 targets, of which 1 was run"
    assert "| ✓ chip-0 fp32 | ✓ | ✓ | ✓ | \N{EN DASH} not run here | \N{EN DASH} not run here |" in text
    assert "parity and any frame rate on chip-0, chip-1" in text


@pytest.mark.parametrize("record", [passing(), failing(), not_measured(), evil_record()])
@pytest.mark.parametrize("amount", [0, 8, 60])
def test_it_fits_on_a_screen(record: PortRecord, amount: int) -> None:
    (target,) = record.targets.values()
    text = render(with_targets(record, amount, target))
    assert len(text.splitlines()) <= SCREEN
    assert max(map(len, text.splitlines())) <= WIDEST


def test_what_failed_is_listed_before_what_passed_and_the_rest_is_counted() -> None:
    record = with_targets(passing(), 30, only_compiled())
    record = record.model_copy(update={"targets": {**record.targets, "last": failing().targets["cpu"]}})
    text = render(record)
    assert text.splitlines()[0] == "# gwm-mini-worlds: ✕ failed on 1 of 32 targets, of which 2 were run"
    rows = [line for line in text.splitlines() if line.startswith("| ") and "fp32" in line]
    assert rows[0].startswith("| ✕ last fp32 |")
    assert "and 18 more targets." in text


def test_stages_that_broke_are_named() -> None:
    broken = StageRecord(name="kernels b200", key="0" * 64, seconds=1.0, error="RuntimeError")
    assert "- **stages that broke**: kernels b200" in render(passing().model_copy(update={"stages": (broken,)}))


def test_tables_are_whole_whatever_the_names() -> None:
    for record in (passing(), failing(), not_measured(), evil_record()):
        tables = re.findall(r"(?:^\|.*\n)+", render(record), re.MULTILINE)
        assert len(tables) == 1
        rows = [len(re.findall(r"(?<!\\)\|", line)) for line in tables[0].splitlines()]
        assert len(rows) > 2
        assert len(set(rows)) == 1, tables[0]
        assert re.match(r"^\|( -+:? \|| --: \|)+$", tables[0].splitlines()[1])


def test_names_from_outside_stay_text() -> None:
    text = render(evil_record())
    outside_code = [line for line in text.splitlines() if not line.startswith("    ")]
    assert not any("<script" in line for line in outside_code)
    assert "&lt;script&gt;alert(1)" in text


def test_escaping() -> None:
    assert escape_markdown(f"a|b\n# {EVIL}") == "a\\|b \\# &lt;script&gt;alert(1)&lt;/script&gt;"
    assert escape_markdown("key_0 _x_ *y* `z` [l](m)") == "key_0 \\_x\\_ \\*y\\* \\`z\\` \\[l\\](m)"
    assert "://" not in escape_markdown("https://example.org")
