"""Plans of families that are built from others' classes: counted work against formulas written out here."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import zoo
from porting.adapters.registry import inspect_checkpoint
from porting.cli.app import load_commands
from porting.errors import ConfigError
from porting.planning import read_model


def test_a_predictors_products_are_counted(tmp_path: Path) -> None:
    folder = zoo.build("vjepa2", tmp_path / "m")
    found = read_model(str(folder))
    tokens, context, width, layers = 96, 80, 48, 2
    attention = layers * 2 * 2 * tokens * tokens * width
    linear = 2 * tokens * layers * (4 + 8) * width**2 + 2 * context * width**2 + 2 * (tokens - context) * width**2
    (predictor,) = (part for part in found.components if part.name == "predictor")
    assert predictor.attention_flops == attention
    assert predictor.matrix_flops == attention + linear
    assert found.parameters == inspect_checkpoint(folder).parameters
    assert found.state_elements == found.spare_elements == 5 * 16 * 48
    assert [part.name for part in found.components] == ["predictor", "viewer"]
    assert "checkpoint m: headers only" in found.source


def test_a_chunk_counts_every_step(tmp_path: Path) -> None:
    found = read_model(str(zoo.build("cosmos-predict", tmp_path / "m")))
    assert {part.name: part.calls_per_frame for part in found.components} == {
        "opener": 1, "denoiser": 2, "decoder": 1, "encoder": 1,
    }  # fmt: skip
    assert (found.frame_width, found.frame_height) == (32, 32)


def test_a_resolution_is_taken_where_a_family_has_one() -> None:
    small = read_model("config:cosmos-predict1-7b-video2world", (640, 352))
    assert (small.frame_width, small.frame_height) == (640, 352)
    with pytest.raises(ConfigError, match=r"(width|height): Extra inputs are not permitted"):
        read_model("config:vjepa2-ac-vitg-256", (640, 352))


@pytest.mark.parametrize("name", ["taesd", "vjepa2-ac-vitg-256"])
def test_components_without_work_and_worlds_without_state_are_planned(name: str) -> None:
    result = CliRunner().invoke(load_commands(), ["plan", f"config:{name}", "--target", "b200"])
    assert result.exit_code == 0, result.output
    assert "PROJECTION" in result.output
