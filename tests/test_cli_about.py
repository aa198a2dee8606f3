"""What `worldport targets` and `doctor` tell, and that they load nothing heavy to do so."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from typer.testing import CliRunner, Result

from porting.cli import about_commands
from porting.cli.app import app
from porting.devices import Census, FoundDevice
from porting.pipeline import abilities, backends
from tests.pipeline.checkpoints import write_tiny_checkpoint

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_targets_lists_own_profiles_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "profiles/cpu.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace('name = "cpu"', 'name = "mine"\nfamilies = ["ours"]'))
    shipped = sorted(path.stem for path in (ROOT / "profiles").glob("*.toml"))
    assert [row["target"] for row in json.loads(run("targets", "--json").stdout)] == shipped
    monkeypatch.setenv("WORLDPORT_PROFILES", str(tmp_path))
    rows = {row["target"]: row for row in json.loads(run("targets", "--json").stdout)}
    assert set(rows) == {*shipped, "mine"}
    assert rows["cpu"]["highest_step"] == rows["mine"]["highest_step"] == "throughput"
    assert [row["target"] for row in json.loads(run("targets", "ours", "--json").stdout)] == ["mine"]
    monkeypatch.delenv("WORLDPORT_PROFILES")
    shown = run("targets", "mine", "--profiles", tmp_path)
    assert shown.exit_code == 0
    assert "mine" in shown.stdout
    assert "rubin" not in shown.stdout
    assert run("targets", "nosuch").exit_code == 2


def test_targets_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "find_version", lambda name: None)
    (row,) = json.loads(run("targets", "cpu", "--json").stdout)
    assert row["highest_step"] is None
    assert not any(row["backends"].values())
    assert [link["backend"] for link in row["chain"]] == ["onnxruntime", "openvino", "inductor"]
    assert {link["advice"] for link in row["chain"]} == {
        f"pip install 'worldport[{extra}]'" for extra in ("onnxruntime", "openvino", "torch")
    }
    shown = run("targets", "cpu").stdout
    assert "nothing" in shown
    assert "is not installed (openvino)" in shown


def test_targets_of_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "find_devices", lambda kind: Census(kind, note="its driver sleeps"))
    rows = json.loads(run("targets", "blackwell", "rubin", "amd", "--json").stdout)
    assert len(rows) == 8
    for row in rows:
        assert row["highest_step"] in {None, "compiled", "attested"}
        assert row["device_here"] is None
        assert "its driver sleeps" in row["reason"]
        assert not any(link["runs"] for link in (*row["chain"], row["kernels"]))
        assert all(link["reason"] for link in row["chain"])


def test_doctor_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("doctor").exit_code == 0
    found = backends.find_version
    monkeypatch.setattr(backends, "find_version", lambda name: None if name == "openvino" else found(name))
    result = run("doctor")
    assert result.exit_code == 3
    assert "pip install 'worldport[openvino]'" in result.stdout
    assert "cannot run here yet" in result.stdout
    report = json.loads(run("doctor", "--json").stdout)
    assert report["packages"]["openvino"] is None
    assert report["to_install"]["openvino"] == "pip install 'worldport[openvino]'"
    assert not report["ready"]


def test_doctor_names_the_devices_and_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    here = FoundDevice("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 85899345920, 132)
    strange = FoundDevice("cuda", "NVIDIA Oddity", "sm_75")

    def find(kind: Literal["cuda", "hip"]) -> Census:
        return Census("cuda", (here, strange), "570.1") if kind == "cuda" else Census("hip", note="no AMD driver")

    for module in (about_commands, abilities):
        monkeypatch.setattr(module, "find_devices", find)
    shown = run("doctor").stdout
    assert "cuda device: NVIDIA H100 80GB HBM3 (sm_90), target h100" in shown
    assert "cuda device: NVIDIA Oddity (sm_75), target none; give it a profile" in shown
    assert "hip device: none here: no AMD driver" in shown
    report = json.loads(run("doctor", "--json").stdout)
    assert report["devices"] == {"cuda": True, "hip": False}
    assert report["drivers"]["cuda"]["devices"][0]["architecture"] == "sm_90"
    assert report["drivers"]["hip"]["note"] == "no AMD driver"
    assert report["targets"]["cpu"] == "throughput"


LIGHT = """
import os, sys
from porting.cli import main
sys.argv[1:] = {arguments}
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = {{"torch", "onnxruntime", "openvino", "onnx", "matplotlib", "skimage", "scipy"}} & set(sys.modules)
assert not heavy, heavy
# Before anything could load OpenMP: it reads this once.
assert os.environ["GOMP_SPINCOUNT"] == "1000"
"""


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.mark.parametrize("arguments", [["--help"], ["targets"], ["doctor"], ["inspect", "CHECKPOINT"]])
def test_what_changes_nothing_loads_nothing_heavy(arguments: list[str], tiny_checkpoint: Path) -> None:
    given = [str(tiny_checkpoint) if argument == "CHECKPOINT" else argument for argument in arguments]
    command = [sys.executable, "-c", LIGHT.format(arguments=given)]
    environment = {
        name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    }
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    if "inspect" in arguments:
        assert "family gwm" in done.stdout
        assert "decoder_first" in done.stdout
        assert "ring memory" in done.stdout
