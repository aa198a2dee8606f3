"""A family's tiny checkpoint, for its own tests; and a tiny GWM model, for those of recognising and loading."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import zoo
from porting.adapters.gwm.config import MINI, GwmConfig
from porting.adapters.gwm.world_model import random_world_model
from porting.adapters.registry import load_world_model
from porting.adapters.world_model import WorldModel

Weights = dict[str, Tensor]
Save = Callable[[Weights], Path]


@pytest.fixture(scope="module")
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint that the module names as its ENTRY; not to be changed."""
    return zoo.build(request.module.ENTRY, tmp_path_factory.mktemp("zoo") / "m")


@pytest.fixture(scope="module")
def model(original: Path) -> WorldModel:
    """The world model in it."""
    return load_world_model(original)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(original, tmp_path / "m")


@pytest.fixture(scope="session")
def tiny_config() -> GwmConfig:
    table = MINI.model_dump()
    table |= {"frame_height": 32, "frame_width": 48, "context_frames": 2, "action_width": 3}
    table["autoencoder"] |= {"widths": (8, 12, 16), "patch": 2, "temporal_kernel": 3}
    table["denoiser"] |= {"width": 32, "heads": 2, "depth": 2, "mlp_width": 24, "stem_width": 8, "window": 5}
    return GwmConfig.model_validate(table)


@pytest.fixture(scope="session")
def tiny_model(tiny_config: GwmConfig) -> WorldModel:
    return random_world_model(tiny_config, seed=5)


@pytest.fixture
def weights(tiny_model: WorldModel) -> Weights:
    """A checkpoint's tensors, to be spoilt; the values are the model's own and must not be changed in place."""
    parts = {
        "encoder": tiny_model.modules["encoder"],
        "denoiser": tiny_model.modules["denoiser"],
        "decoder": tiny_model.modules["decoder"].get_submodule("decoder"),
    }
    return {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}


@pytest.fixture
def save(tmp_path: Path, tiny_config: GwmConfig) -> Save:
    """Writes a checkpoint folder with the tiny config and the given tensors; returns it."""

    def write(tensors: Weights) -> Path:
        folder = tmp_path / "tiny"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(tiny_config.model_dump_json())
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
        return folder

    return write


@pytest.fixture
def sample(tiny_config: GwmConfig) -> Weights:
    """Two sessions of seven frames in the layout of sample.safetensors."""
    generator = torch.Generator().manual_seed(1)
    time, size = tiny_config.context_frames, (tiny_config.frame_height, tiny_config.frame_width)
    return {
        "frames": torch.randint(0, 256, (2, time, 3, *size), dtype=torch.uint8, generator=generator),
        "actions": torch.randn(2, time + 7, tiny_config.action_width, generator=generator),
    }
