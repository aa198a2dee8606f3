"""Emu3: the published text model's logits past eviction, the published decoder as a stream, and choices that hold."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import DynamicCache, Emu3ForConditionalGeneration
from transformers.models.emu3.modeling_emu3 import apply_rotary_pos_emb

from porting.adapters.emu3.config import Emu3Config, Settings
from porting.adapters.emu3.predictor import Predictor
from porting.adapters.emu3.renaming import convert
from porting.adapters.emu3.sampler import Sampler, make_gumbel
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError, StateContractError
from porting.export import export_component
from porting.rollout import Rollout
from porting.runners.eager import TorchRunner
from porting.tensor_spec import Precision
from tests.adapters import zoo_ports
from zoo.emu3 import CODES, END_OF_FRAME, END_OF_LINE, FIRST_VISUAL, SETTINGS, make_model, write_published

GIVEN = Settings.model_validate(SETTINGS)
FRAMES = 6
"""Past the moment when the first frame leaves the cache, twice over."""


ENTRY = "emu3"
"""That `original`, `model` and `folder` are of."""


@pytest.fixture(scope="module")
def published() -> Emu3ForConditionalGeneration:
    return make_model()


def roll_out(model: WorldModel, frames: int, compute: Precision = "fp32") -> dict[str, Any]:
    """What was chosen, how likely it was, by how much it led, frame by frame; and the pictures."""
    program, sample = model.program, model.samples[0]
    runners = {spec.name: TorchRunner(model.modules[spec.name], spec, compute) for spec in program.components}
    rollout, generator = Rollout(program, runners), np.random.default_rng(9)
    rollout.open(sample.session_inputs)
    shape = program.input("noise").tensor.shape
    found: dict[str, list[Any]] = {name: [] for name in ("codes", "log_likelihoods", "leads", "frame")}
    for _ in range(frames):
        found["frame"].append(rollout.step({"noise": generator.standard_normal(shape).astype(np.float32)}).copy())
        for name in ("codes", "log_likelihoods", "leads"):
            found[name].append(rollout.read_state(name)[0])
    return {name: np.stack(arrays) for name, arrays in found.items()}


def lay_out(codes: Any) -> list[int]:
    """The tokens of one frame, ends of rows and of the frame among them."""
    rows = codes.reshape(GIVEN.rows, GIVEN.columns) + FIRST_VISUAL
    return [token for row in rows for token in (*row.tolist(), END_OF_LINE)] + [END_OF_FRAME]


def drop_oldest(published: Emu3ForConditionalGeneration, cache: DynamicCache) -> None:
    """Take a frame out of the published cache; what stood behind it moves up, as its rotation does."""
    first, count = GIVEN.prompt_tokens, GIVEN.frame_tokens
    cos, sin = published.model.text_model.rotary_emb(torch.zeros(1), torch.full((1, 1), -count))
    for layer in cache.layers:
        kept = layer.keys[:, :, first + count :]
        moved = apply_rotary_pos_emb(kept, kept, cos, sin)[1]
        layer.keys = torch.cat([layer.keys[:, :, :first], moved], dim=2)
        layer.values = torch.cat([layer.values[:, :, :first], layer.values[:, :, first + count :]], dim=2)


def judge(published: Emu3ForConditionalGeneration, prompt: list[int], frames: Any) -> Tensor:
    """Log-likelihoods (frames, visual tokens) of given frames, by the published model and its growing cache."""
    cache, told = DynamicCache(config=published.config.text_config), []
    visual = [k for k in range(GIVEN.frame_tokens - 1) if (k + 1) % (GIVEN.columns + 1)]

    def read(tokens: list[int]) -> Tensor:
        length = cache.get_seq_length()
        positions = torch.arange(length, length + len(tokens))[None]
        hidden = published.model.text_model(
            input_ids=torch.tensor([tokens]), position_ids=positions, cache=cache, use_cache=True
        ).last_hidden_state
        logits: Tensor = published.lm_head(hidden)[0, :, FIRST_VISUAL : FIRST_VISUAL + CODES]
        return logits.log_softmax(-1)

    with torch.no_grad():
        last = read(prompt)[-1:]
        for number, codes in enumerate(frames):
            if number > GIVEN.window:
                drop_oldest(published, cache)
            before = torch.cat([last, read(lay_out(codes))])
            last = before[-1:]
            told.append(before[visual].gather(1, torch.from_numpy(codes)[:, None])[:, 0])
    return torch.stack(told)


def compare_with_published(model: WorldModel, published: Emu3ForConditionalGeneration) -> float:
    """Largest difference of a rollout's log-likelihoods from the published model's, in nats."""
    made = roll_out(model, FRAMES)
    prompt = model.samples[0].session_inputs["prompt"][0].tolist()
    expected = judge(published, prompt, made["codes"]).numpy()
    return float(np.abs(made["log_likelihoods"] - expected).max())


def test_headers_tell_parts_and_state(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert (found.family, found.format) == ("emu3", "safetensors")
    assert found.parameters == model.parameters
    assert {c.name: c.weights for c in found.components} == {"predictor": "model", "sampler": "", "decoder": "model"}
    shapes = {state.tensor.name: state.tensor.shape for state in found.program.states}
    assert shapes["keys"] == (2, 2, 3, 9, 8)
    assert shapes["own_keys"] == (2, 2, 9, 8)
    assert shapes["codes"] == (1, 6)
    (ring,) = found.program.rings
    assert (ring.window, ring.sink) == (3, 1)
    assert model.program.pictures_per_frame == 2
    assert (found.program.prime_calls, found.program.frame_calls) == (5, 6 + 9 + 1)


def test_tokens_are_as_likely_as_the_published_model_says_past_eviction(
    model: WorldModel, published: Emu3ForConditionalGeneration
) -> None:
    assert compare_with_published(model, published) < 1e-4


def change_base(model: WorldModel) -> None:
    predictor = model.modules["predictor"]
    assert isinstance(predictor, Predictor)
    other = Predictor(make_model(), GIVEN, 1e3, FIRST_VISUAL, CODES)
    predictor.cos, predictor.sin = other.cos, other.sin


def swap_layers(model: WorldModel) -> None:
    predictor = model.modules["predictor"]
    assert isinstance(predictor, Predictor)
    first, second = predictor.network.layers
    first.self_attn.k_proj, second.self_attn.k_proj = second.self_attn.k_proj, first.self_attn.k_proj


def show_the_unwritten(model: WorldModel) -> None:
    predictor = model.modules["predictor"]
    assert isinstance(predictor, Predictor)
    predictor.prompt.fill_(True)


@pytest.mark.parametrize("spoil", [change_base, swap_layers, show_the_unwritten])
def test_another_text_model_is_noticed(
    spoil: Callable[[WorldModel], None], original: Path, published: Emu3ForConditionalGeneration
) -> None:
    model = load_world_model(original)
    spoil(model)
    assert compare_with_published(model, published) > 1e-2


def test_streamed_pictures_are_those_of_the_whole_clip(
    model: WorldModel, published: Emu3ForConditionalGeneration
) -> None:
    made = roll_out(model, FRAMES)
    codes = torch.from_numpy(made["codes"]).view(1, FRAMES, GIVEN.rows, GIVEN.columns)
    with torch.no_grad():
        video = (published.model.vqmodel.decode(codes)[0] * 0.5 + 0.5).clamp(0, 1)
    streamed = torch.from_numpy(made["frame"][:, 0]).unflatten(2, (2, -1)).transpose(1, 2).flatten(0, 1)
    assert video.shape == (12, 3, 4, 6)
    assert torch.allclose(streamed, video, atol=1e-5)


def test_no_token_is_chosen_by_a_rounding_error(model: WorldModel) -> None:
    """In float64 the same tokens, and what decided each is far above the difference between both."""
    rounded, exact = roll_out(model, 24), roll_out(model, 24, "fp64")
    assert np.array_equal(rounded["codes"], exact["codes"])
    assert len(np.unique(exact["codes"])) > CODES // 2
    error = np.abs(rounded["leads"] - exact["leads"]).max()
    assert exact["leads"].min() > 30 * error > 0


def test_noise_samples_the_distribution_and_no_noise_takes_the_likeliest() -> None:
    generator = torch.Generator().manual_seed(3)
    told = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    noise = make_gumbel(torch.randn(40_000, 2, 4, generator=generator))
    shares = torch.bincount((told + noise).argmax(-1), minlength=4) / 40_000
    assert torch.allclose(shares, told.exp(), atol=0.01)
    codes, figures = torch.tensor([[3, 3]]), torch.zeros(1, 2)
    token, chosen, likelihoods, leads = Sampler(2, 10, 0.0)(told[None], torch.tensor([1]), codes, figures, figures)
    assert token.tolist() == [10]
    assert chosen.tolist() == [[3, 0]]
    assert torch.allclose(likelihoods, torch.tensor([[1.0, 0.5]]).log())
    assert torch.allclose(leads, torch.tensor([[0.0, 0.5108]]), atol=1e-4)


class Careless(Sampler):
    """Takes the runner-up wherever both are nearly level."""

    def forward(
        self, logits: Tensor, spot: Tensor, codes: Tensor, log_likelihoods: Tensor, leads: Tensor, *noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Sampler.forward`."""
        scores = logits / self.temperature + make_gumbel(noise[0])
        first, second = scores.topk(2).values[0]
        level = (first - second < 0.2).to(logits.dtype)
        pushed = torch.nn.functional.one_hot(scores.argmax(-1), CODES) * level
        return super().forward(logits - pushed * 0.4, spot, codes, log_likelihoods, leads, *noise)


def test_another_choice_is_another_code(model: WorldModel) -> None:
    """Choices are compared as they are: no tolerance hides a flipped one, and the pictures show it."""
    spoilt = replace(model, modules={**model.modules, "sampler": Careless(GIVEN.codes, FIRST_VISUAL, 1.0).eval()})
    right, wrong = roll_out(model, FRAMES), roll_out(spoilt, FRAMES)
    first = int((right["codes"] != wrong["codes"]).any(axis=1).argmax())
    assert not np.array_equal(right["codes"][first], wrong["codes"][first])
    assert np.abs(right["frame"][first] - wrong["frame"][first]).max() > 0.01
    assert np.array_equal(right["frame"][:first], wrong["frame"][:first])


class Forgetful(Sampler):
    """Enters the newest choice and drops those before it."""

    def forward(
        self, logits: Tensor, spot: Tensor, codes: Tensor, log_likelihoods: Tensor, leads: Tensor, *noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Sampler.forward`."""
        return super().forward(logits, spot, torch.zeros_like(codes), log_likelihoods, leads, *noise)


def test_choices_that_are_dropped_are_named(model: WorldModel, tmp_path: Path) -> None:
    spoilt = replace(model, modules={**model.modules, "sampler": Forgetful(GIVEN.codes, FIRST_VISUAL, 1.0).eval()})
    with pytest.raises(StateContractError, match=r"sampler: .*codes"):
        export_component(spoilt, "sampler", tmp_path, zoo_ports.OPSET)


def test_the_exported_choice_makes_the_same_tokens(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("sampler",), tmp_path, 8)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


def test_older_names_are_the_same_tensors(original: Path, model: WorldModel, tmp_path: Path) -> None:
    tensors = dict(make_model().state_dict())
    older = {
        name.replace("model.text_model.", "text_model.model.")
        .replace("model.vqmodel.", "vqmodel.")
        .replace("lm_head.", "text_model.lm_head."): tensor
        for name, tensor in tensors.items()
    }
    assert older.keys() != tensors.keys()
    assert convert(older).keys() == convert(tensors).keys() == tensors.keys()
    write_published(tmp_path / "older", older)
    found = load_world_model(tmp_path / "older")
    for name, tensor in model.modules["predictor"].state_dict().items():
        assert torch.equal(found.modules["predictor"].state_dict()[name], tensor), name
    assert inspect_checkpoint(original).tensors == inspect_checkpoint(tmp_path / "older").tensors


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("text_config", {"num_hidden_layers": 3}, "lacks model.text_model.layers.2."),
        ("text_config", {"intermediate_size": 40}, "asks for (40, 32)"),
        ("text_config", {"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple"),
        ("text_config", {"rope_parameters": {"rope_type": "yarn"}}, "rope_type 'yarn' is not ported"),
        ("text_config", {"max_position_embeddings": 28}, "take 32 positions; the model has 28"),
        ("text_config", {"vocab_size": 30}, "vocab_size 30 leaves out tokens of pictures"),
        ("vq_config", {"codebook_size": 23}, "has 24 visual tokens, not 23"),
        ("vq_config", {"embed_dim": 8}, "embed_dim 8 is not latent_channels 4"),
        ("vq_config", {"base_channels": 64}, "hidden_size 32 is not base_channels 64"),
        ("vocabulary_map", {"<|extra_200|>": None}, "does not number each of"),
        ("", {"prompt_tokens": 10}, "prompt_tokens 10 do not fit into one slot"),
        ("", {"temperature": -1}, "temperature: Input should be greater than or equal to 0"),
        ("", {"guidance": 3}, "guidance: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    if part:
        told = json.loads((folder / "config.json").read_text())[part]
        zoo_ports.change_config(folder, {part: {**told, **changes}})
    else:
        zoo_ports.change_config(folder, changes, "worldport.json")
    with pytest.raises((CheckpointError, ConfigError)) as error:
        inspect_checkpoint(folder)
    assert words in str(error.value)
    assert str(folder) in str(error.value)


def test_weights_that_are_not_finite_and_prompts_that_do_not_fit_are_named(folder: Path) -> None:
    save_file({"prompt": torch.zeros(2, 1, 4, dtype=torch.int64)}, folder / "sample.safetensors")
    with pytest.raises(CheckpointError, match=r"prompt: is \(2, 1, 4\) int64, the model takes \(sessions, 1, 5\)"):
        load_world_model(folder)
    save_file({"prompt": torch.full((2, 1, 5), 3)}, folder / "sample.safetensors")
    assert load_world_model(folder).samples[1].session_inputs["prompt"].tolist() == [[3] * 5]
    name = "model.vqmodel.post_quant_conv.conv.bias"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    zoo_ports.spoil(folder / index["weight_map"][name], name)
    with pytest.raises(CheckpointError, match=r"post_quant_conv\.conv\.bias: holds nan"):
        load_world_model(folder)


def test_published_size() -> None:
    found = inspect_checkpoint("config:emu3-gen")
    assert found.family == "emu3"
    assert found.parameters == pytest.approx(8.6e9, rel=0.1)
    assert Emu3Config().text_config.theta == 1e6


@pytest.mark.slow
def test_it_is_ported_whole(original: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(original, tmp_path / "port")
    zoo_ports.check_proved(target, output)
