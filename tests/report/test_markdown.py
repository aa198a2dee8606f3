"""The Markdown says what the page says, and names from outside cannot break its tables or become markup."""

import re
from pathlib import Path

from porting.report import render_markdown
from porting.report.markdown import escape_markdown
from tests.report.records import TEMPLATES, failing, make_record, not_measured, passing
from tests.report.test_html import EVIL, evil_record


def test_a_passing_port() -> None:
    text = render_markdown(passing(), Path("bundle"), TEMPLATES)
    assert "**✓ cpu (fp32) passed.** All 5 checks held, up to throughput, the last step." in text
    assert "| denoiser | onnxruntime ✓ chosen | 2.41 ms |" in text
    assert "first failing frame: none" in text
    assert "missed 0 of 240 closed-loop, 1 of 72 paced" in text
    assert "    worldport port bundled:gwm-mini-worlds\n" in text


def test_a_failing_port() -> None:
    text = render_markdown(failing(), Path("bundle"), TEMPLATES)
    assert "**✕ cpu (fp32) failed.**" in text
    assert "first failing frame: 9" in text
    assert "✕ did not compile: RuntimeError: no &lt;kernel&gt; for Attention" in text
    assert "✕ These figures are not valid" in text


def test_absence_is_said() -> None:
    text = render_markdown(not_measured(), Path("bundle"), TEMPLATES)
    assert text.count("not measured") > 6
    assert "✓" not in text
    assert "**○ not measured.** The record holds no target." in render_markdown(
        make_record({}), Path("bundle"), TEMPLATES
    )


def test_tables_are_whole_whatever_the_names() -> None:
    for record in (passing(), failing(), not_measured(), evil_record()):
        text = render_markdown(record, Path("bundle"), TEMPLATES)
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            rows = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
            assert len(rows) > 2
            assert len(set(rows)) == 1, table
            assert re.match(r"^\|( -+:? \|| --: \|)+$", table.splitlines()[1])


def test_names_from_outside_stay_text() -> None:
    text = render_markdown(evil_record(), Path("bundle"), TEMPLATES)
    outside_code = [line for line in text.splitlines() if not line.startswith("    ")]
    assert not any("<script" in line for line in outside_code)
    assert "&lt;script&gt;alert(1)" in text


def test_escaping() -> None:
    assert escape_markdown(f"a|b\n# {EVIL}") == "a\\|b \\# &lt;script&gt;alert(1)&lt;/script&gt;"
    assert escape_markdown("key_0 _x_ *y* `z` [l](m)") == "key_0 \\_x\\_ \\*y\\* \\`z\\` \\[l\\](m)"
    assert "://" not in escape_markdown("https://example.org")
