"""GWM checkpoints: what is saved comes back exactly, what does not fit its config is one error with file and key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from porting.adapters.gwm.autoencoder import Decoder
from porting.adapters.gwm.config import HD_2B, MINI, GwmConfig
from porting.adapters.gwm.layout import expected_tensors, is_parameter
from porting.adapters.gwm.loading import load
from porting.adapters.gwm.program import build_program
from porting.adapters.gwm.world_model import build_modules
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.checkpoint import open_checkpoint
from porting.errors import CheckpointError, ConfigError

Weights = dict[str, Tensor]
Save = Callable[[Weights], Path]


def run_component(model: WorldModel, name: str) -> list[Tensor]:
    """A component's outputs on seeded inputs."""
    generator = torch.Generator().manual_seed(2)
    component = model.program.component(name)
    inputs = [
        torch.arange(spec.elements) if spec.dtype == "int64" else torch.rand(spec.shape, generator=generator) + 0.01
        for spec in component.inputs
    ]
    outputs = model.modules[name](*inputs)
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def refusal(use: Callable[[Path], object], path: Path, kind: type[Exception] = CheckpointError) -> str:
    with pytest.raises(kind) as error:
        use(path)
    return str(error.value)


@pytest.mark.parametrize("name", ["tiny", "mini", "hd"])
def test_the_table_names_what_the_modules_have(name: str, tiny_config: GwmConfig) -> None:
    config = {"tiny": tiny_config, "mini": MINI, "hd": HD_2B}[name]
    with torch.device("meta"):
        modules = build_modules(config)
    parts = (
        ("encoder", modules["encoder"]),
        ("denoiser", modules["denoiser"]),
        ("decoder", modules["decoder"].decoder),
    )
    states = {f"{part}.{key}": value for part, module in parts for key, value in module.state_dict().items()}  # type: ignore[union-attr]
    assert expected_tensors(config) == {key: tuple(value.shape) for key, value in states.items()}
    parameters = {f"{part}.{key}" for part, module in parts for key, _ in module.named_parameters()}  # type: ignore[union-attr]
    assert {key for key in states if is_parameter(key)} == parameters


@pytest.mark.parametrize("name", ["tiny", "mini", "hd"])
def test_the_program_has_the_decoder_s_caches(name: str, tiny_config: GwmConfig) -> None:
    config = {"tiny": tiny_config, "mini": MINI, "hd": HD_2B}[name]
    with torch.device("meta"):
        shapes = Decoder(config.autoencoder).cache_shapes(*config.latent_shape[1:])
    states = [state.tensor for state in build_program(config).states if state.tensor.name.startswith("cache_")]
    assert [state.shape for state in states] == shapes


@pytest.mark.parametrize("saved_as", ["safetensors", "torch"])
def test_what_was_saved_computes_the_same(save: Save, weights: Weights, tiny_model: WorldModel, saved_as: str) -> None:
    path = save(weights)
    if saved_as == "torch":
        path = path / "tiny.pt"
        torch.save({"state_dict": weights, "step": 7}, path)
    loaded = load_world_model(path)
    assert loaded.modules.keys() == tiny_model.modules.keys()
    for name, module in loaded.modules.items():
        tensors = (*module.named_parameters(), *module.named_buffers())
        assert {tensor.device.type for _, tensor in tensors} == {"cpu"}
        assert not module.training
        for found, expected in zip(run_component(loaded, name), run_component(tiny_model, name), strict=True):
            assert torch.equal(found, expected)
    assert loaded.modules["decoder_first"].decoder is loaded.modules["decoder"].decoder
    assert loaded.parameters == tiny_model.parameters
    assert loaded.digest == open_checkpoint(path).digest()
    assert loaded.config == tiny_model.config
    assert loaded.program == tiny_model.program


def test_loading_takes_no_memory_of_its_own_and_leaves_no_trace(save: Save, weights: Weights) -> None:
    path = save(weights)
    state = torch.random.get_rng_state()
    loaded = load_world_model(path)
    assert torch.equal(torch.random.get_rng_state(), state)
    # The hook that keeps parameters off the CPU is gone again.
    assert torch.nn.Linear(2, 2).weight.device.type == "cpu"
    lines = [line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line]
    spans = [[int(end, 16) for end in line.split("-")] for line in lines]
    for module in loaded.modules.values():
        for parameter in module.parameters():
            assert any(first <= parameter.data_ptr() < last for first, last in spans)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_widened(save: Save, weights: Weights, dtype: torch.dtype) -> None:
    loaded = load_world_model(save({name: value.to(dtype) for name, value in weights.items()}))
    assert {p.dtype for module in loaded.modules.values() for p in module.parameters()} == {torch.float32}
    position = loaded.modules["denoiser"].get_parameter("position")
    assert torch.equal(position, weights["denoiser.position"].to(dtype).float())


@pytest.mark.parametrize("use", [inspect_checkpoint, load_world_model])
@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("denoiser.position", None, "lacks denoiser.position, which"),
        ("decoder.latent_std", None, "lacks decoder.latent_std, which"),
        ("denoiser.blocks.9.modulation", torch.ones(1), "has denoiser.blocks.9.modulation, which"),
        ("denoiser.position", torch.ones(3, 32), "denoiser.position: has shape (3, 32), "),
        ("encoder.conv_in.bias", torch.ones(8, dtype=torch.int64), "encoder.conv_in.bias: is int64; save it as"),
        ("encoder.conv_in.bias", torch.ones(8, dtype=torch.float64), "encoder.conv_in.bias: is float64; save it as"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    save: Save, weights: Weights, use: Callable[[Path], object], key: str, value: Tensor | None, words: str
) -> None:
    weights.pop(key, None)
    if value is not None:
        weights[key] = value
    folder = save(weights)
    message = refusal(use, folder)
    assert message.startswith(f"{folder / 'model.safetensors'}: ")
    assert words in message


def test_many_missing_tensors_are_counted(save: Save, weights: Weights) -> None:
    folder = save({name: value for name, value in weights.items() if not name.startswith("decoder.")})
    assert "lacks decoder.conv_in.conv.weight, decoder.conv_in.conv.bias, " in refusal(inspect_checkpoint, folder)
    assert " more tensors, which " in refusal(inspect_checkpoint, folder)


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("key", ["denoiser.blocks.1.mlp.down.weight", "decoder.latent_mean"])
def test_a_weight_that_is_no_number_is_named(save: Save, weights: Weights, key: str, value: str) -> None:
    spoilt = weights[key].clone()
    spoilt.view(-1)[5] = float(value)
    folder = save(weights | {key: spoilt})
    message = refusal(load_world_model, folder)
    assert message.startswith(f"{folder / 'model.safetensors'}: {key}: holds {value} at flat index 5; ")


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        (None, "frame_height", None, "frame_height: Field required"),
        (None, "frame_height", 33, "is not a multiple of"),
        (None, "colour", 3, "colour: Extra inputs are not permitted, not 3"),
        (None, "version", 2, "version: "),
        (None, "context_frames", 10**9, "context_frames: "),
        ("denoiser", "width", "wide", "denoiser.width: "),
        ("denoiser", "depth", 10**9, "denoiser.depth: "),
        ("denoiser", "window", 10**9, "denoiser.window: "),
        ("denoiser", "sink", 9, "denoiser: Value error, sink 9 leaves no slot"),
        ("denoiser", "temporal_rope_base", "1e999", "denoiser.temporal_rope_base: "),
        ("sampler", "noise_levels", [0.5, 1.0], "sampler: Value error, noise_levels"),
    ],
)
def test_an_impossible_config_names_its_key(
    save: Save, weights: Weights, tiny_config: GwmConfig, section: str | None, key: str, value: Any, words: str
) -> None:
    folder = save(weights)
    table = tiny_config.model_dump(mode="json")
    (table if section is None else table[section])[key] = value
    if value is None:
        del table[key]
    (folder / "config.json").write_text(json.dumps(table).replace('"1e999"', "1e999"))
    message = refusal(inspect_checkpoint, folder, ConfigError)
    assert message.startswith(f"{folder / 'config.json'}: ")
    assert words in message


def test_the_stored_sample_becomes_sessions(save: Save, weights: Weights, sample: Weights) -> None:
    folder = save(weights)
    save_file(sample, folder / "sample.safetensors")
    model = load(open_checkpoint(folder))
    assert len(model.samples) == 2
    session = model.samples[1]
    context, actions = session.session_inputs["context"], session.session_inputs["context_actions"]
    assert context.dtype == np.float32
    assert np.array_equal(context, sample["frames"][1:2].numpy() / np.float32(255))
    assert np.array_equal(actions, sample["actions"][1:2, :2].numpy())
    assert np.array_equal(session.frame_inputs["action"], sample["actions"][1, 2:, None].numpy())
    assert model.sample_source.startswith("sessions stored with the checkpoint (sample.safetensors, sha256 ")
    assert model.digest == open_checkpoint(folder).digest()


def test_a_sample_fits_the_program(save: Save, weights: Weights, sample: Weights) -> None:
    folder = save(weights)
    with_random = load_world_model(folder)
    save_file(sample, folder / "sample.safetensors")
    for model in (with_random, load_world_model(folder)):
        for session in model.samples:
            found = {name: value.shape for name, value in session.session_inputs.items()}
            found |= {name: value.shape[1:] for name, value in session.frame_inputs.items()}
            assert found == {i.tensor.name: i.tensor.shape for i in model.program.inputs if i.kind != "noise"}


def test_without_a_sample_the_sessions_are_random_and_say_so(save: Save, weights: Weights) -> None:
    folder = save(weights)
    first, again = load_world_model(folder), load_world_model(folder)
    assert "smooth random frames and bursts of random actions, seed" in first.sample_source
    for a, b in zip(first.samples, again.samples, strict=True):
        assert np.array_equal(a.session_inputs["context"], b.session_inputs["context"])
        assert np.array_equal(a.frame_inputs["action"], b.frame_inputs["action"])
        assert a.session_inputs["context"].min() >= 0
        assert a.session_inputs["context"].max() <= 1
        assert a.frame_inputs["action"].any()


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        (
            "frames",
            lambda t: t.float(),
            "frames: is (2, 2, 3, 32, 48) torch.float32, needs (sessions, 2, 3, 32, 48) uint8",
        ),
        ("frames", lambda t: t[:, :1], "frames: is (2, 1, 3, 32, 48)"),
        ("frames", lambda t: t[:0], "frames: is (0, 2, 3, 32, 48)"),
        ("frames", lambda t: t[:1], "actions: is (2, 9, 3) torch.float32, needs (1, more than 2, 3)"),
        ("actions", lambda t: t[:, :2], "actions: is (2, 2, 3)"),
        ("actions", lambda t: t[..., :1], "actions: is (2, 9, 1)"),
        ("actions", lambda t: t.double(), "actions: is (2, 9, 3) torch.float64"),
        ("actions", lambda t: t / 0, "actions: holds "),
        ("actions", lambda t: None, "has ['frames'], needs frames and actions"),
    ],
)
def test_a_sample_that_does_not_fit_names_file_and_key(
    save: Save, weights: Weights, sample: Weights, key: str, change: Callable[[Tensor], Tensor | None], words: str
) -> None:
    folder = save(weights)
    changed = change(sample.pop(key))
    if changed is not None:
        sample[key] = changed.contiguous()
    save_file(sample, folder / "sample.safetensors")
    message = refusal(load_world_model, folder)
    assert message.startswith(f"{folder / 'sample.safetensors'}: ")
    assert words in message


def test_a_truncated_sample_is_an_error_not_a_missing_one(save: Save, weights: Weights, sample: Weights) -> None:
    folder = save(weights)
    save_file(sample, folder / "sample.safetensors")
    path = folder / "sample.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(load_world_model, folder).startswith(f"{path}: ")
