"""The bundled world models whole, as a user ports them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from porting import content
from porting.bundle import Bundle
from porting.cli.app import load_commands
from porting.record import Outcome, Step

BUNDLED = sorted(folder.name for folder in content.folder("checkpoints").iterdir())


def test_there_is_a_bundled_world_model() -> None:
    assert "gwm-mini-worlds" in BUNDLED


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_world_model_is_proved_on_the_cpu(name: str, tmp_path: Path) -> None:
    command = ["port", f"bundled:{name}", "--target", "cpu", "--out", str(tmp_path / "bundle")]
    result = CliRunner().invoke(load_commands(), command)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    target = Bundle(tmp_path / "bundle").read_record().targets["cpu"]
    assert target.verdict is not None
    # A busy machine may miss deadlines; it may not make other pictures.
    problems = [c for c in target.verdict.checks if c.step is not Step.THROUGHPUT and c.outcome is not Outcome.PASSED]
    assert not problems
    assert target.verdict.reached in {Step.PARITY, Step.THROUGHPUT}
    assert target.throughput is not None
    assert {"port", "eager", "torch.compile"} <= {driver.name for driver in target.throughput.drivers}
