"""`worldport compare` as a user types it: exit codes, the record as JSON, the page as Markdown."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from porting.cli.app import load_commands
from porting.comparison import bundles
from porting.record import Comparison, Outcome
from porting.report.comparison import render_comparison
from porting.throughput.clock import Instruments
from tests.comparison.conftest import MakeBundle
from tests.comparison.test_bundles import UNEVEN
from tests.throughput.fakes import Bench


@pytest.fixture(autouse=True)
def _clocked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def instruments_for(kind: str) -> Instruments:
        return bench.instruments

    monkeypatch.setattr(bundles, "instruments_for", instruments_for)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(load_commands(), ["compare", *map(str, arguments), "--no-priority"])
    return result.exit_code, result.output


def test_exit_codes(make_bundle: MakeBundle, tmp_path: Path) -> None:
    same, slower = make_bundle("a", *UNEVEN), make_bundle("b", *(1.1 * ms for ms in UNEVEN))
    code, text = run(same, same, "--seconds", 20)
    assert (code, text.count("PASSED")) == (0, 1), text
    code, text = run(same, slower, "--seconds", 20)
    assert (code, text.count("FAILED")) == (1, 1), text
    code, text = run(same, slower, "--seconds", 0.5)
    assert (code, text.count("NOT MEASURED")) == (3, 1), text
    assert run(same, tmp_path / "none")[0] == 2
    assert run(same, slower, "--limit", "much")[0] == 2
    assert run(same, slower, "--limit", "100%")[0] == 2
    assert run(same, slower, "--rebuilds", 2)[0] == 2
    assert run(same, slower, "--limit", "20%", "--seconds", 20)[0] == 0


def test_json_is_the_record(make_bundle: MakeBundle) -> None:
    same = make_bundle("a", *UNEVEN)
    result = CliRunner().invoke(load_commands(), ["compare", str(same), str(same), "--no-priority", "--json"])
    found = Comparison.model_validate_json(result.stdout)
    assert found.outcome is Outcome.PASSED
    assert found.baseline == found.candidate


def test_markdown_opens_with_the_verdict_and_keeps_names_text(make_bundle: MakeBundle, tmp_path: Path) -> None:
    same, slower = make_bundle("a", *UNEVEN), make_bundle("<b>|`c`", *(1.1 * ms for ms in UNEVEN))
    page = tmp_path / "out/page.md"
    code, _ = run(same, slower, "--seconds", 20, "--markdown", page)
    text = page.read_text()
    assert code == 1
    assert text.startswith("## ❌ failed: ")
    assert "Slower: frames are slower by" in text
    assert "<b>" not in text
    assert r"\<b\>\|\`c\`" in text


def test_a_record_cannot_pass_without_figures(make_bundle: MakeBundle) -> None:
    same = make_bundle("a", *UNEVEN)
    result = CliRunner().invoke(load_commands(), ["compare", str(same), str(same), "--no-priority", "--json"])
    found = Comparison.model_validate_json(result.stdout)
    for gone in ({"ratio": None}, {"turns": 0}, {"slowed": None}, {"slow_frame": None}, {"noise_floor": float("nan")}):
        with pytest.raises(ValueError, match="cannot pass"):
            Comparison.model_validate(found.model_dump() | gone)
    assert "passed" in render_comparison(found).splitlines()[0]
