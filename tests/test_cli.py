import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from porting.bundle import Bundle
from porting.cli import about_commands, bundle_commands, options, port_commands, progress
from porting.cli.app import app
from porting.errors import BackendMissingError, ExportError
from porting.record import PortRecord
from tests.pipeline.conftest import fakes
from tests.pipeline.fakes import Fakes

__all__ = ["about_commands", "bundle_commands", "fakes"]

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def bundle(tmp_path: Path, fakes: Fakes) -> Path:
    """A bundle that a port of fake stages made."""
    assert port(tmp_path / "bundle").exit_code == 0
    fakes.log.write_text("")
    return tmp_path / "bundle"


def port(bundle: Path, *options: str) -> Result:
    return run("port", "fake", "--out", bundle, *options)


def test_port_ends_with_the_verdict_the_evidence_the_rate_and_the_report(tmp_path: Path, fakes: Fakes) -> None:
    result = port(tmp_path / "bundle")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("PASSED  cpu fp32: ")
    steps = ["exported", "compiled", "attested", "parity", "throughput"]
    assert [line.split()[1] for line in lines[1:6]] == steps
    assert "It is there." in result.stdout
    assert "chosen: encoder on onnxruntime, decoder on onnxruntime" in result.stdout
    assert "1,000 fps: 3x eager, 3x torch.compile" in result.stdout
    assert lines[-1] == f"report: {tmp_path / 'bundle/report.html'}"
    assert (tmp_path / "bundle/report.html").is_file()


def test_progress_is_one_plain_line_a_stage_on_stderr(tmp_path: Path, fakes: Fakes) -> None:
    result = port(tmp_path / "bundle")
    lines = result.stderr.splitlines()
    # Two exports and a trace, two components on three backends, parity, throughput and limit.
    assert len(lines) == 3 + 2 * 3 + 3
    assert all(line.startswith("worldport: ") and line.endswith(" s") for line in lines)
    assert "\x1b" not in result.stderr
    again = port(tmp_path / "bundle")
    assert len(again.stderr.splitlines()) == len(lines)
    assert all(line.endswith(": done before") for line in again.stderr.splitlines())


def test_json_is_all_there_is_on_stdout(tmp_path: Path, fakes: Fakes) -> None:
    result = port(tmp_path / "bundle", "--json")
    assert result.exit_code == 0
    assert PortRecord.model_validate_json(result.stdout) == Bundle(tmp_path / "bundle").read_record()


def test_a_failed_port_exits_1_and_says_which_step(tmp_path: Path, fakes: Fakes) -> None:
    fakes.broken["parity"] = ZeroDivisionError("by zero")
    result = port(tmp_path / "bundle")
    assert result.exit_code == 1
    assert result.stdout.startswith("FAILED  cpu fp32: ")
    assert "ZeroDivisionError: by zero" in result.stdout
    assert "parity cpu: FAILED: ZeroDivisionError: by zero" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_a_port_that_was_not_measured_exits_3(tmp_path: Path, fakes: Fakes) -> None:
    fakes.open_errors = dict.fromkeys(
        ("openvino", "onnxruntime", "inductor"), BackendMissingError("x: is not here; install it")
    )
    result = port(tmp_path / "bundle")
    assert result.exit_code == 3
    assert result.stdout.startswith("NOT MEASURED  cpu fp32: ")
    assert "chosen: no artifact" in result.stdout


def test_a_step_below_the_required_one_exits_3(tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert port(tmp_path / "bundle", "--require", "throughput").exit_code == 0
    found = Bundle(tmp_path / "bundle").read_record()
    verdict = found.targets["cpu"].verdict
    assert verdict is not None
    from porting import verdict as judging
    from porting.record import Step

    lower = verdict.model_copy(update={"reached": Step.ATTESTED, "highest_possible": Step.ATTESTED})
    monkeypatch.setattr(judging, "judge_target", lambda *_: lower)
    assert port(tmp_path / "bundle").exit_code == 0
    assert port(tmp_path / "bundle", "--require", "attested").exit_code == 0
    assert port(tmp_path / "bundle", "--require", "parity").exit_code == 3
    assert port(tmp_path / "bundle", "--require", "throughput").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("port", "fake", "--frames", "0"), "--frames 0: no frame would be compared or timed"),
        (("port", "fake", "--target", "nosuch"), "target 'nosuch': no such profile"),
        (("port", "fake", "--precision", "fp16"), "does not offer precision 'fp16'"),
        (("port", "fake", "--profiles", "nosuch"), "nosuch: no such folder of profiles"),
        (("port", "nosuch-checkpoint"), "nosuch-checkpoint: "),
        (("inspect", "nosuch-checkpoint"), "nosuch-checkpoint: "),
        (("inspect", "bundled:nosuch"), "bundled:nosuch: "),
        (("verify", "nosuch-bundle"), "has no port.json"),
        (("bench", "nosuch-bundle"), "has no port.json"),
        (("compile", "nosuch-bundle"), "has no port.json"),
        (("attest", "nosuch-bundle"), "has no port.json"),
        (("report", "nosuch-bundle"), "has no port.json"),
    ],
)
def test_bad_input_is_one_line_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("worldport: ")
    assert words in line
    assert "; " in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nosuch",),
        ("port",),
        ("port", "x", "--frames", "many"),
        ("port", "x", "--jobs", "0"),
        ("port", "x", "--precision", "fp3"),
        ("port", "x", "--require", "nosuch"),
        ("verify", "x", "--nosuch"),
        ("report", "x", "--format", "pdf"),
    ],
)
def test_bad_usage_exits_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_an_error_of_several_lines_becomes_one(tmp_path: Path, fakes: Fakes) -> None:
    fakes.broken["trace"] = ExportError("decoder: hides\n  a buffer; declare it")
    result = port(tmp_path / "bundle")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "worldport: decoder: hides a buffer; declare it"


def test_ctrl_c_ends_without_a_traceback(tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fakes, "ran", interrupt)
    result = port(tmp_path / "bundle")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1].startswith("worldport: interrupted")
    assert not list((tmp_path / "bundle/.partial").iterdir())


def test_a_full_disk_is_told_and_a_bug_is_not_hidden(
    tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "port.json")

    monkeypatch.setattr(Bundle, "write_record", fail)
    result = port(tmp_path / "bundle")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "worldport: port.json: No space left on device"
    monkeypatch.setattr(Bundle, "write_record", lambda *_: 1 / 0)
    assert isinstance(port(tmp_path / "bundle").exception, ZeroDivisionError)


def test_verify_and_bench_measure_from_the_bundle(bundle: Path, fakes: Fakes) -> None:
    result = run("verify", bundle)
    assert result.exit_code == 0
    assert fakes.log.read_text().splitlines() == ["parity"]
    assert "parity" in result.stdout
    assert "fps" not in result.stdout
    fakes.log.write_text("")
    result = run("bench", bundle, "--json")
    assert result.exit_code == 0
    assert fakes.log.read_text().splitlines() == ["throughput"]
    assert json.loads(result.stdout)["schema_version"] == 1


def test_a_changed_file_is_refused_by_name(bundle: Path, fakes: Fakes) -> None:
    (bundle / "components/decoder.onnx").write_text("changed")
    for command in ("verify", "bench", "compile", "attest"):
        result = run(command, bundle)
        assert result.exit_code == 2
        assert "components/decoder.onnx" in result.stderr
    assert fakes.log.read_text() == ""


def test_export_takes_a_checkpoint_or_a_bundle(tmp_path: Path, fakes: Fakes) -> None:
    result = run("export", "fake", "--out", tmp_path / "bundle")
    assert result.exit_code == 0
    assert "decoder" in result.stdout
    assert fakes.log.read_text().splitlines() == ["export encoder", "export decoder", "trace"]
    fakes.log.write_text("")
    (tmp_path / "bundle/components/decoder.onnx").write_text("damaged")
    assert run("export", tmp_path / "bundle").exit_code == 0
    assert fakes.log.read_text().splitlines() == ["export decoder"]


def test_attest_says_when_nothing_was_attested(bundle: Path) -> None:
    result = run("attest", bundle)
    assert result.exit_code == 3
    assert result.stdout.count("not attested") == 6


def test_report_writes_both_pages_or_prints_one(bundle: Path, tmp_path: Path) -> None:
    result = run("report", bundle)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [str(bundle / "report.html"), str(bundle / "report.md")]
    assert "<html" in run("report", bundle, "--format", "html").stdout
    assert run("report", bundle, "--format", "markdown").stdout.startswith("#")
    record = Bundle(bundle).read_record()
    assert PortRecord.model_validate_json(run("report", bundle, "--format", "json").stdout) == record
    assert run("report", bundle, "--out", tmp_path / "page.md").exit_code == 0
    assert (tmp_path / "page.md").read_text().startswith("#")
    assert run("report", bundle, "--out", tmp_path / "page.pdf").exit_code == 2
    Bundle(bundle).verify_files(record)


def test_a_family_is_ported_member_by_member(tmp_path: Path, fakes: Fakes) -> None:
    text = (ROOT / "profiles/cpu.toml").read_text()
    for name in ("one", "two"):
        own = text.replace('name = "cpu"', f'name = "{name}"\nfamilies = ["ours"]')
        (tmp_path / f"{name}.toml").write_text(own)
    request = port_commands.make_request(
        "fake", ["two", "ours", "cpu"], None, None, tmp_path / "bundle", None, own_profiles=tmp_path
    )
    assert [profile.name for profile in request.profiles] == ["two", "one", "cpu"]


def test_a_bundles_targets_may_be_named_by_family(bundle: Path, fakes: Fakes) -> None:
    opened = Bundle(bundle)
    record = opened.read_record()
    target = record.targets["cpu"]
    profile = target.profile.model_copy(update={"families": ("ours",)})
    changed = record.model_copy(update={"targets": {"cpu": target.model_copy(update={"profile": profile})}})
    opened.write_record(changed)
    assert options.name_targets(bundle, ["ours", "cpu"]) == ["cpu"]
    assert options.name_targets(bundle, ["nosuch"]) == ["nosuch"]
    assert options.name_targets(bundle, None) is None
    for command in ("verify", "bench", "compile", "attest"):
        assert run(command, bundle, "--target", "ours").exit_code in {0, 3}, command
        assert "'nosuch': is not in the bundle" in run(command, bundle, "--target", "nosuch").stderr, command


def test_the_default_folder_is_named_after_the_checkpoint(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    assert port_commands.default_bundle("bundled:gwm-mini-worlds") == Path("build/gwm-mini-worlds")
    assert port_commands.default_bundle("checkpoints/gwm/") == Path("build/gwm")
    assert port_commands.default_bundle(str(weights)) == Path("build/weights")


def test_a_bar_counts_every_stage_once() -> None:
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), force_terminal=True, width=100)
    with progress.Bar(console) as bar:
        bar.planned(("export [decoder]", "trace", "parity", "x"))
        for name in ("export [decoder]", "trace"):
            bar.started(name)
        bar.finished("trace", 1.0)
        bar.failed("export [decoder]", "Error: it [broke]\nat length")
        bar.reused("parity")
        (task,) = bar._progress.tasks
        assert (task.completed, task.total) == (3, 4)
        assert bar._running == []
    assert "export [decoder]: FAILED: Error: it [broke]" in console.file.getvalue()  # type: ignore[attr-defined]
