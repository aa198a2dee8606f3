"""The tutorial's model, ported by the tutorial's adapter: docs/own_model."""

import subprocess
import sys
from pathlib import Path

import pytest

from porting.adapters.registry import load_world_model
from porting.adapters.world_model import WorldModel
from tests.adapters.zoo_ports import check_alive, check_proved, port_named, roll_out


@pytest.fixture(scope="module")
def weights(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tutorial's first command writes; its folder is the working folder, as the page has it."""
    folder = project_root / "docs" / "own_model"
    path = tmp_path_factory.mktemp("rssm") / "rssm.safetensors"
    subprocess.run([sys.executable, "rssm.py", str(path)], cwd=folder, check=True)
    return path


@pytest.fixture
def tutorial(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(project_root / "docs" / "own_model"))


@pytest.fixture
def model(weights: Path, tutorial: None) -> WorldModel:
    return load_world_model(f"rssm_port:load@{weights}")


def test_the_adapter_is_as_short_as_the_page_says(project_root: Path) -> None:
    assert len((project_root / "docs/own_model/rssm_port.py").read_text().splitlines()) < 80


def test_its_graphs_dream_what_the_model_dreams(model: WorldModel, tmp_path: Path) -> None:
    frames, worst = roll_out(model, ("observe", "imagine"), tmp_path, frames=12)
    check_alive(frames)
    assert worst < 1e-4


def test_the_page_ends_in_a_proved_port(weights: Path, tutorial: None, tmp_path: Path) -> None:
    record, target, output = port_named(["rssm_port:load", "--checkpoint", str(weights)], tmp_path)
    check_proved(target, output)
    assert [component.name for component in record.components] == ["observe", "imagine"]
    assert record.checkpoint.family == "rssm"
