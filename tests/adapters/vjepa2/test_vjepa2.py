"""V-JEPA 2: recognised, converted, rolled out in latent space past its window, and refused where it is broken."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.vjepa2.modules import IMAGE_MEAN, IMAGE_STD, Encoder, Predictor
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError, PortingError
from tests.adapters import zoo_ports
from zoo.vjepa2 import TINY, make_model

Use = Callable[[Path], object]


ENTRY = "vjepa2"
"""That `original`, `model` and `folder` are of."""


def refusal(use: Use, path: Path, kind: type[PortingError] = CheckpointError) -> str:
    with pytest.raises(kind) as error:
        use(path)
    return str(error.value)


def test_headers_tell_components_parameters_and_state(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert found.family == "vjepa2"
    assert [c.name for c in found.components] == ["encoder", "predictor", "viewer"]
    assert found.parameters == model.parameters == sum(p.numel() for p in make_model().parameters())
    assert found.components[0].parameters + found.components[1].parameters == found.parameters
    assert sum(c.weight_bytes for c in found.components) == found.weight_bytes
    (state,) = found.program.states
    assert state.tensor.shape == (1, 5, 16, 48)
    assert state.update == "replace"


def test_original_names_and_published_ones_are_the_same_model(model: WorldModel, tmp_path: Path) -> None:
    other = load_world_model(zoo.build("vjepa2-original", tmp_path / "o"))
    assert other.family == "vjepa2"
    for name, module in model.modules.items():
        for key, value in module.state_dict().items():
            assert torch.equal(other.modules[name].state_dict()[key], value), key


def test_components_compute_what_the_published_class_computes(model: WorldModel) -> None:
    """The class itself, on the window and the mask token of the tubelet after it."""
    reference = make_model()
    encoder, predictor = model.modules["encoder"], model.modules["predictor"]
    assert isinstance(encoder, Encoder)
    assert isinstance(predictor, Predictor)
    clip = torch.rand(1, 10, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    tokens = TINY.crop_size**2 // TINY.patch_size**2
    context, target = torch.arange(5 * tokens)[None], torch.arange(5 * tokens, 6 * tokens)[None]
    with torch.no_grad():
        seen = reference.encoder((clip - mean) / std).last_hidden_state
        made = reference.predictor(seen, [context], [target]).last_hidden_state
        latents = encoder(clip)
        predicted, rolled = predictor(latents)
    assert torch.allclose(latents.flatten(1, 2), seen, atol=1e-5)
    assert torch.allclose(predicted, made, atol=1e-5)
    assert torch.equal(rolled[:, :-1], latents[:, 1:])
    assert torch.equal(rolled[:, -1], predicted)


def test_the_exported_predictor_feeds_itself_past_the_window(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("predictor", "viewer"), tmp_path, 14)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


def test_the_view_shows_every_value(model: WorldModel) -> None:
    viewer = model.modules["viewer"]
    tokens = torch.randn(1, 16, 48, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        frame = viewer(tokens)
        for place in ((0, 0, 0), (0, 15, 47), (0, 7, 20)):
            changed = tokens.clone()
            changed[place] += 1
            assert (viewer(changed) != frame).sum() == 1
    shown = np.sort(torch.logit(frame).flatten().numpy())
    grey = frame.numel() - tokens.numel()
    assert np.allclose(np.sort(np.append(tokens.flatten().numpy(), np.zeros(grey))), shown, atol=1e-5)


def test_more_layers_than_there_are_and_fewer(folder: Path) -> None:
    zoo_ports.change_config(folder, {"num_hidden_layers": 3})
    assert "lacks encoder.layer.2." in refusal(inspect_checkpoint, folder)
    zoo_ports.change_config(folder, {"num_hidden_layers": 1})
    assert "has encoder.layer.1." in refusal(inspect_checkpoint, folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crop_size": 36}, "crop_size 36 is not a multiple of patch_size 8"),
        ({"frames_per_clip": 2}, "a rollout needs two tubelets"),
        ({"num_attention_heads": 5}, "width 48 is not a multiple of 5 heads"),
        ({"hidden_size": "wide"}, "hidden_size: "),
    ],
)
def test_an_impossible_config_is_named(folder: Path, changes: dict[str, object], words: str) -> None:
    zoo_ports.change_config(folder, changes)
    message = refusal(inspect_checkpoint, folder, ConfigError)
    assert message.startswith(f"{folder / 'config.json'}: ")
    assert words in message


def test_shards_without_their_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()
    assert "holds 2 weights files" in refusal(inspect_checkpoint, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vjepa2", "vjepa2-original"])
def test_it_is_ported_whole(name: str, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(zoo.build(name, tmp_path / "m"), tmp_path / "port")
    zoo_ports.check_proved(target, output)
