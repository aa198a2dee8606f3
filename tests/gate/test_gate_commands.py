"""`worldport gate` and `worldport baseline` as a CI system calls them: exit codes, files, GitHub's own places."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from porting.bundle import Bundle
from porting.cli.app import load_commands
from porting.gate import format_baseline
from tests.gate.hostile import NAMES
from tests.gate.records import add_target, baseline_of, make_target, ported, write_bundle
from tests.verdict.records import with_target

GITHUB = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")


@pytest.fixture(autouse=True)
def not_on_github(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GITHUB:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", ported())


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    path.write_text(format_baseline(baseline_of()))
    return path


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A bundle that uses more memory than the baseline allows, and one target too many."""
    record = ported(memory_high_water_bytes=2**31)
    return write_bundle(tmp_path / "slow", add_target(record, "b200", make_target(record)))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(load_commands(), [str(argument) for argument in arguments])


def test_a_bundle_that_holds(bundle: Path, baseline: Path) -> None:
    result = run("gate", bundle, "--baseline", baseline)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("PASSED toy, ")
    assert any(re.match(r"  not seen +cpu: ratio to eager: a loss below ", line) for line in lines)


def test_a_bundle_that_does_not(slow: Path, baseline: Path) -> None:
    result = run("gate", slow, "--baseline", baseline)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("FAILED")
    assert lines[1].split()[:4] == ["failed", "cpu:", "memory", "high"]
    assert lines[2].split()[:3] == ["not", "measured", "b200:"]


def test_what_was_not_measured_exits_3(tmp_path: Path, baseline: Path) -> None:
    record = add_target(ported(), "b200", make_target(ported()))
    assert run("gate", write_bundle(tmp_path / "b", record), "--baseline", baseline).exit_code == 3


def test_a_changed_file_exits_1(bundle: Path, baseline: Path) -> None:
    (bundle / "targets/cpu/frames.csv").write_text("x")
    assert run("gate", bundle, "--baseline", baseline).exit_code == 1


@pytest.mark.parametrize("text", ["{}", '{"schema_version": 7}'])
def test_what_is_no_baseline_exits_2(bundle: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "wrong.json").write_text(text)
    result = run("gate", bundle, "--baseline", tmp_path / "wrong.json")
    assert result.exit_code == 2
    assert "make one with worldport baseline" in result.stderr


def test_what_is_no_bundle_exits_2(tmp_path: Path, baseline: Path) -> None:
    assert run("gate", tmp_path / "none", "--baseline", baseline).exit_code == 2
    assert run("gate", tmp_path).exit_code == 2


def test_only_some_targets(slow: Path, tmp_path: Path) -> None:
    record = ported(memory_high_water_bytes=2**31)
    path = tmp_path / "b.json"
    path.write_text(format_baseline(baseline_of(record)))
    result = run("gate", slow, "--baseline", path, "--target", "cpu")
    assert result.exit_code == 0
    assert "left out      targets b200: not asked for" in result.stdout
    assert run("gate", slow, "--baseline", path, "--target", "cpu", "--target", "rubin").exit_code == 3


def test_a_step_can_be_required(bundle: Path, baseline: Path) -> None:
    assert run("gate", bundle, "--baseline", baseline, "--require", "throughput").exit_code == 0
    assert run("gate", bundle, "--baseline", baseline, "--require", "nonsense").exit_code == 2


def test_files_for_other_systems(slow: Path, baseline: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--junit", out / "j.xml", "--markdown", out / "m.md", "--bencher", out / "b.json")
    result = run("gate", slow, "--baseline", baseline, *options, "--report-url", "https://ci.example/r.html")
    assert result.exit_code == 1
    assert int(ET.parse(out / "j.xml").getroot().attrib["failures"]) >= 2
    markdown = (out / "m.md").read_text(encoding="utf-8")
    assert markdown.startswith("### ❌ toy: failed\n")
    assert "[report](<https://ci.example/r.html>)" in markdown
    assert json.loads((out / "b.json").read_text())["toy/cpu"]["throughput"]["value"] == 100.0


def test_a_report_url_that_is_none(bundle: Path, baseline: Path) -> None:
    result = run("gate", bundle, "--baseline", baseline, "--report-url", "javascript:alert(1)")
    assert result.exit_code == 2
    assert "is no address" in result.stderr


def test_json_is_all_of_stdout(slow: Path, baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = run("gate", slow, "--baseline", baseline, "--json")
    told = json.loads(result.stdout)
    assert told["outcome"] == "failed"
    assert "::error title=" in result.stderr


def test_on_github(slow: Path, baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    for name, value in zip(GITHUB, ("true", str(summary), "https://github.com", "team/model", "42"), strict=True):
        monkeypatch.setenv(name, value)
    result = run("gate", slow, "--baseline", baseline)
    lines = result.stdout.splitlines()
    assert lines[0].startswith("::stop-commands::")
    token = lines[0].rpartition(":")[2]
    stopped = lines.index(f"::{token}::")
    assert not any(line.startswith("::") for line in lines[1:stopped])
    assert lines[stopped + 1].startswith("::error title=worldport%3A cpu%3A memory high water::2048 MiB")
    assert any(line.startswith("::warning title=worldport%3A b200") for line in lines[stopped + 1 :])
    told = summary.read_text(encoding="utf-8")
    assert told.startswith("before\n### ❌ toy: failed")
    assert "<https://github.com/team/model/actions/runs/42>" in told


# port.json is UTF-8, so no record holds half of a surrogate pair.
@pytest.mark.parametrize("name", [name for name in NAMES if "\ud800" not in name])
def test_no_name_reaches_the_terminal_as_a_command(
    name: str, tmp_path: Path, baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    artifacts = tuple(
        artifact.model_copy(update={"path": None, "error": name}) for artifact in ported().targets["cpu"].artifacts
    )
    bundle = write_bundle(tmp_path / "b", with_target(ported(), artifacts=artifacts))
    result = run("gate", bundle, "--baseline", baseline)
    assert result.exit_code == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", result.stdout)
    commands = [line for line in result.stdout.splitlines() if line.startswith("::")]
    assert all(re.match(r"::(stop-commands::|[0-9a-f]{32}::|(error|warning) title=worldport)", c) for c in commands)


def test_a_baseline_is_written_and_its_tolerances_told(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "baselines" / "toy.json"
    result = run("baseline", bundle, "--again", bundle, "--out", out)
    assert result.exit_code == 0
    assert out.read_text() == format_baseline(baseline_of(ported(), ported()))
    assert "cpu fp32: 100 fps; allowed are" in result.stdout
    assert re.search(r"ratio to eager \d+\.\d% \(the spread of its rounds", result.stdout)
    assert run("gate", bundle, "--baseline", out).exit_code == 0


def test_no_baseline_of_what_did_not_pass(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", with_target(ported(), verdict=None))
    result = run("baseline", bundle, "--out", tmp_path / "out.json")
    assert result.exit_code == 2
    assert not (tmp_path / "out.json").exists()


def test_neither_torch_nor_a_device_is_needed(bundle: Path, baseline: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'onnxruntime', 'openvino', 'matplotlib', 'pynvml'): sys.modules[name] = None\n"
        "from porting.cli.app import load_commands\n"
        f"load_commands()(['gate', {str(bundle)!r}, '--baseline', {str(baseline)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert Bundle(bundle).exists()
