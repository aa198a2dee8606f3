import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from porting.adapters.gwm.config import MINI
from porting.cli import plan_commands
from porting.cli.app import app

__all__ = ["plan_commands"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


def test_every_target_and_rack_is_planned_and_labelled() -> None:
    result = run("config:gwm-hd-14b")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("PROJECTION, nothing was run: gwm-hd-14b")
    for name in ("h100", "rubin", "mi455x", "gb300-nvl72", "mi455x-helios"):
        assert name in result.stdout
    assert "cpu: not projected: its profile gives no peaks" in result.stdout
    assert "Assumptions:" in result.stdout
    assert "2 (t - 1) / t" in result.stdout


def test_json_holds_the_plan_alone(tmp_path: Path) -> None:
    config = tmp_path / "mine.json"
    config.write_text(MINI.model_dump_json())
    result = run(str(config), "--target", "b300", "--target", "gb300-nvl72", "--fps", "60", "--json")
    found = json.loads(result.stdout)
    assert found["label"] == "projection"
    assert [device["target"] for device in found["devices"]] == ["b300"]
    assert {rack["rack"] for rack in found["racks"]} == {"gb300-nvl72"}
    assert found["frames_per_second"] == 60
    assert found["state_bytes_per_session"]["fp32"] > 0
    assert len(found["assumptions"]) > 10


def test_a_family_stands_for_its_members() -> None:
    found = json.loads(run("config:gwm-mini", "--target", "blackwell", "--json").stdout)
    assert {"b200", "b300"} <= {device["target"] for device in found["devices"]}
    assert found["racks"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("config:none",), "no such config"),
        (("config:gwm-mini", "--target", "abacus"), "racks: gb200-nvl72"),
        (("config:gwm-mini", "--resolution", "large"), "write it as 1280x720"),
        (("config:gwm-hd-2b", "--resolution", "1000x700"), "is not a multiple of"),
    ],
)
def test_bad_input_ends_with_two_and_one_line(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
