"""The Cosmos tokenizer: diffusers' autoencoder both ways, clip after clip; and configs that are not one."""

from pathlib import Path

import pytest
import torch

import zoo
from porting.adapters.registry import inspect_checkpoint
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError
from tests.adapters import zoo_ports
from zoo.cosmos_predict import make_autoencoder

ENTRY = "cosmos-tokenizer"
"""That `original`, `model` and `folder` are of."""


def test_it_is_the_published_autoencoder(original: Path, model: WorldModel) -> None:
    vae = make_autoencoder().eval()
    clip = torch.rand(1, 5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = vae.encode(clip.transpose(1, 2) * 2 - 1).latent_dist.mode()
        latents = model.modules["encoder"](clip)
        assert torch.allclose(latents, wanted, atol=1e-5)
        video = (vae.decode(wanted).sample / 2 + 0.5).clamp(0, 1)
        assert torch.allclose(model.modules["decoder"](latents), video.flatten(2, 3), atol=1e-5)
    found = inspect_checkpoint(original)
    assert found.family == "cosmos_tokenizer"
    assert found.parameters == sum(parameter.numel() for parameter in vae.parameters())
    assert found.program.states == ()
    assert model.program.component("encoder").outputs[0].shape == latents.shape == (1, 4, 2, 4, 4)
    assert model.program.pictures_per_frame == 5


def test_tensors_tell_the_family_where_no_config_speaks(folder: Path) -> None:
    zoo_ports.change_config(folder, {"_class_name": None})
    assert inspect_checkpoint(folder).family == "cosmos_tokenizer"


def test_a_pipeline_that_has_one_is_a_pipeline(tmp_path: Path) -> None:
    """What the whole says of itself counts more than what one of its parts is."""
    assert inspect_checkpoint(zoo.build("cosmos-predict", tmp_path / "m")).family == "cosmos_predict"


def test_the_exported_encoder_tells_the_same_latents(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("encoder",), tmp_path, 3)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


@pytest.mark.parametrize(
    ("changes", "settings", "words"),
    [
        ({"latent_channels": 6}, {}, "has shape"),
        ({"num_layers": 2}, {}, "lacks encoder.down_blocks.0.resnets.1."),
        ({"resolution": "high"}, {}, "AutoencoderKLCosmos refuses it"),
        ({}, {"height": 18}, "height 18 is not a multiple of 4"),
        ({}, {"frames": 6}, "frames 6 is not 1 more than a multiple of 4"),
        ({}, {"fps": 6}, "fps: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(
    folder: Path, changes: dict[str, object], settings: dict[str, object], words: str
) -> None:
    zoo_ports.change_config(folder, changes)
    zoo_ports.change_config(folder, settings, "worldport.json")
    with pytest.raises((CheckpointError, ConfigError)) as error:
        inspect_checkpoint(folder)
    assert words in str(error.value)
    assert str(folder) in str(error.value)


def test_weights_that_are_not_finite_are_named(folder: Path) -> None:
    zoo_ports.check_spoilt(folder, folder / "diffusion_pytorch_model.safetensors", "quant_conv.bias")


@pytest.mark.slow
def test_it_is_ported_whole(original: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(original, tmp_path / "port")
    zoo_ports.check_proved(target, output)
