"""AutoencoderTiny: diffusers' decoder, one picture a latent, nothing kept."""

from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

import zoo
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError
from tests.adapters import zoo_ports


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.build("autoencoder-tiny", tmp_path_factory.mktemp("zoo") / "m")


@pytest.fixture(scope="module")
def model(folder: Path) -> WorldModel:
    return load_world_model(folder)


def test_it_is_the_published_decoder(folder: Path, model: WorldModel) -> None:
    published = AutoencoderTiny.from_pretrained(folder)
    latent = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = (published.decode(latent).sample / 2 + 0.5).clamp(0, 1)
        assert torch.allclose(model.modules["decoder"](latent), wanted, atol=1e-6)
    found = inspect_checkpoint(folder)
    assert found.family == "autoencoder_tiny"
    assert found.parameters == sum(p.numel() for p in published.decoder.parameters())
    assert found.program.states == ()


def test_a_config_that_disagrees_is_named(folder: Path, tmp_path: Path) -> None:
    other = zoo.build("autoencoder-tiny", tmp_path / "m")
    zoo_ports.change_config(other, {"latent_channels": 16})
    with pytest.raises(
        CheckpointError, match=r"layers\.0\.weight: has shape \(12, 4, 3, 3\).*asks for \(12, 16, 3, 3\)"
    ):
        inspect_checkpoint(other)


def test_the_exported_decoder_makes_the_same_pictures(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("decoder",), tmp_path, 4)
    zoo_ports.check_alive(frames)
    assert error < 1e-5


@pytest.mark.slow
def test_it_is_ported_whole(folder: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(folder, tmp_path / "port")
    zoo_ports.check_proved(target, output)
