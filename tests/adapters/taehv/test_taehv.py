"""TAEHV: sizes from shapes alone, and streaming that equals decoding a clip at once."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import zoo
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.taehv.config import TaehvConfig
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError
from tests.adapters import zoo_ports
from zoo.taehv import TINY, make_tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.build("taehv", tmp_path_factory.mktemp("zoo") / "m")


@pytest.fixture(scope="module")
def model(folder: Path) -> WorldModel:
    return load_world_model(folder)


def decode_clip(weights: dict[str, Tensor], latents: Tensor) -> Tensor:
    """The published decoder over a whole clip (T, C, h, w): every frame's past is the frame before it, or zero."""

    def convolve(x: Tensor, name: str, padding: int = 1) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), padding=padding)

    x = convolve(torch.tanh(latents / 3) * 3, "decoder.1").relu()
    for first in (3, 9, 15):
        for place in range(first, first + 3):
            past = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
            made = convolve(torch.cat([x, past], 1), f"decoder.{place}.conv.0").relu()
            made = convolve(convolve(made, f"decoder.{place}.conv.2").relu(), f"decoder.{place}.conv.4")
            x = (made + x).relu()
        x = convolve(F.interpolate(x, scale_factor=2), f"decoder.{first + 4}.conv", padding=0)
        x = convolve(
            x.reshape(-1, weights[f"decoder.{first + 5}.weight"].shape[1], *x.shape[2:]), f"decoder.{first + 5}"
        )
    return convolve(x.relu(), "decoder.22").clamp(0, 1)


def test_latent_by_latent_is_the_whole_clip(model: WorldModel) -> None:
    decoder = model.modules["decoder"]
    latents = torch.randn(6, 8, 6, 8, generator=torch.Generator().manual_seed(1))
    memories = [torch.zeros(state.tensor.shape) for state in model.program.states]
    made = []
    with torch.no_grad():
        for latent in latents:
            frame, *memories = decoder(latent[None], *memories)
            made.append(frame.unflatten(2, (4, -1))[0].transpose(0, 1))
        wanted = decode_clip(make_tensors(), latents)
    assert wanted.shape == (24, 3, 48, 64)
    assert torch.allclose(torch.cat(made), wanted, atol=1e-5)


def test_sizes_are_read_from_the_tensors(folder: Path) -> None:
    found = inspect_checkpoint(folder)
    assert found.family == "taehv"
    assert TaehvConfig.model_validate(found.config) == TINY
    assert [state.tensor.shape for state in found.program.states] == [
        *[(1, 16, 6, 8)] * 3, *[(1, 12, 12, 16)] * 3, *[(1, 8, 24, 32)] * 3,
    ]  # fmt: skip


@pytest.mark.parametrize("scales", [(1, 1, 2), (1, 1, 1)])
def test_other_frame_rates_are_other_shapes(folder: Path, tmp_path: Path, scales: tuple[int, int, int]) -> None:
    tensors = load_file(folder / "taew2_1.safetensors")
    for place, scale in zip((7, 13, 19), scales, strict=True):
        name = f"decoder.{place}.conv.weight"
        tensors[name] = tensors[name][: tensors[name].shape[1] * scale].contiguous()
    save_file(tensors, tmp_path / "t.safetensors")
    assert inspect_checkpoint(tmp_path / "t.safetensors").config["time_scales"] == list(scales)


def test_both_files_and_a_renamed_one_are_the_same_model(model: WorldModel, folder: Path, tmp_path: Path) -> None:
    other = load_world_model(zoo.build("taehv-pth", tmp_path / "p"))
    wrapped = {f"model.{name}": tensor for name, tensor in load_file(folder / "taew2_1.safetensors").items()}
    save_file(wrapped, tmp_path / "anything.safetensors")
    third = load_world_model(tmp_path / "anything.safetensors")
    for key, value in model.modules["decoder"].state_dict().items():
        assert torch.equal(other.modules["decoder"].state_dict()[key], value)
        assert torch.equal(third.modules["decoder"].state_dict()[key], value)


def test_a_tensor_of_another_shape_is_named(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "taew2_1.safetensors")
    tensors["decoder.9.conv.2.weight"] = torch.zeros(12, 11, 3, 3)
    save_file(tensors, tmp_path / "t.safetensors")
    with pytest.raises(
        CheckpointError, match=r"decoder\.9\.conv\.2\.weight: has shape \(12, 11, 3, 3\).*\(12, 12, 3, 3\)"
    ):
        inspect_checkpoint(tmp_path / "t.safetensors")
    tensors["decoder.7.conv.weight"] = torch.zeros(3)
    save_file(tensors, tmp_path / "t.safetensors")
    with pytest.raises(CheckpointError, match=r"decoder\.7\.conv\.weight: has shape \(3,\); a TAEHV decoder"):
        inspect_checkpoint(tmp_path / "t.safetensors")


def test_the_exported_decoder_keeps_its_memories(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("decoder",), tmp_path, 6)
    zoo_ports.check_alive(frames)
    assert error < 1e-5


@pytest.mark.slow
def test_it_is_ported_whole(folder: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(folder, tmp_path / "port")
    zoo_ports.check_proved(target, output)
