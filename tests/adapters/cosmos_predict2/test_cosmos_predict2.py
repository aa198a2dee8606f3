"""Cosmos Predict 2 and 2.5: the published transformer and samplers, chunk after chunk; and what is none of them."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.transformers import transformer_cosmos
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import zoo
from porting.adapters.cosmos_predict2.modules import EulerStep, MultistepStep
from porting.adapters.cosmos_predict2.sampler import plan_euler, plan_multistep
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError
from porting.program import Program
from tests.adapters import zoo_ports
from zoo.cosmos_predict2 import SETTINGS, build_original, make_autoencoder, make_transformer
from zoo.wan import make_original_autoencoder

NAMES = ("cosmos-predict2", "cosmos-predict2.5")
SHAPE, CONTEXT = (1, 3, 4, 4, 4), 2
"""Of a chunk's latents, frames before channels, and how many of its frames are given."""


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("zoo")
    return {name: zoo.build(name, folder / name) for name in NAMES}


@pytest.fixture(scope="module")
def models(pipelines: dict[str, Path]) -> dict[str, WorldModel]:
    return {name: load_world_model(path) for name, path in pipelines.items()}


@pytest.fixture
def folder(pipelines: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(pipelines["cosmos-predict2"], tmp_path / "m")


@pytest.fixture(autouse=True)
def nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one function of torchvision that diffusers' own forward calls is nearest-neighbour scaling."""
    transforms = SimpleNamespace(
        functional=SimpleNamespace(resize=lambda x, size, interpolation: F.interpolate(x, size, mode="nearest")),
        InterpolationMode=SimpleNamespace(NEAREST="nearest"),
    )
    monkeypatch.setattr(transformer_cosmos, "transforms", transforms, raising=False)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def constant(program: Program, name: str) -> Tensor:
    return torch.tensor(program.constants[name])


def published_answer(network: torch.nn.Module, seen: Tensor, levels: Tensor, prompt: Tensor, fps: int | None) -> Tensor:
    """diffusers' forward on (1, C, T, h, w), a level for each of its frames."""
    mask = torch.zeros(1, 1, *seen.shape[2:])
    mask[:, :, :CONTEXT] = 1
    answer: Tensor = network(
        seen,
        levels.view(1, 1, -1, 1, 1),
        prompt,
        fps=fps,
        condition_mask=mask,
        padding_mask=torch.zeros(1, 1, 16, 16),
        return_dict=False,
    )[0]
    return answer


def levels_of(context: float, others: Tensor) -> Tensor:
    return torch.cat([torch.full((CONTEXT,), context), others.reshape(1).expand(SHAPE[1] - CONTEXT)])


@pytest.mark.parametrize("name", NAMES)
def test_headers_tell_parts_and_state(name: str, pipelines: dict[str, Path], models: dict[str, WorldModel]) -> None:
    found, model = inspect_checkpoint(pipelines[name]), models[name]
    assert (found.family, found.format) == ("cosmos_predict2", "parts")
    assert {c.name: c.weights for c in found.components} == {
        "encoder": "vae", "denoiser": "transformer", "decoder_first": "vae", "decoder": "vae", "joiner": "",
    }  # fmt: skip
    assert found.parameters == model.parameters
    assert found.program.states[0].tensor.shape == (1, 2, 4, 4, 4)
    assert {state.update for state in found.program.states} == {"replace"}
    assert model.program.pictures_per_frame == 4
    runs = {"cosmos-predict2": 2, "cosmos-predict2.5": 3}
    assert [call.component for call in model.program.frame].count("denoiser") == runs[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_transformer_is_the_published_one_with_a_level_a_frame(name: str, models: dict[str, WorldModel]) -> None:
    denoiser = models[name].modules["denoiser"]
    assert isinstance(denoiser, EulerStep | MultistepStep)
    network = make_transformer(projected=name == "cosmos-predict2.5").eval()
    seen, prompt = draw(1, 1, 4, 3, 4, 4), draw(2, 1, 6, 24 if name == "cosmos-predict2" else 32)
    levels = torch.tensor([0.0001, 0.0001, 0.7])
    fps = 16 if name == "cosmos-predict2" else None
    with torch.no_grad():
        made = denoiser.predictor.network(seen, levels, prompt)
        wanted = published_answer(network, seen, levels, prompt, fps)
        others = published_answer(network, seen, torch.tensor([0.7, 0.0001, 0.0001]), prompt, fps)
    assert torch.allclose(made, wanted, atol=3e-5)
    assert float((others - wanted).abs().max()) > 1e-3


def test_predict_2_samples_a_chunk_as_its_pipeline_does(models: dict[str, WorldModel]) -> None:
    """The loop of Cosmos2VideoToWorldPipeline with its scheduler, whose last step has no length."""
    model = models["cosmos-predict2"]
    denoiser, network = model.modules["denoiser"], make_transformer(projected=False).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    scheduler.register_to_config(sigma_min=0.05, sigma_max=8.0, sigma_data=1.0, final_sigmas_type="sigma_min")
    scheduler.set_timesteps(sigmas=[0.0, 0.5, 1.0])
    scheduler.sigmas[-1] = scheduler.sigmas[-2]
    noise, context, prompts = draw(1, *SHAPE), draw(2, 1, CONTEXT, *SHAPE[2:]), [draw(3, 1, 6, 24), draw(4, 1, 6, 24)]
    given = torch.cat([context, torch.zeros(1, SHAPE[1] - CONTEXT, *SHAPE[2:])], dim=1).transpose(1, 2)
    mask = torch.zeros(1, 1, SHAPE[1], 1, 1)
    mask[:, :, :CONTEXT] = 1
    latents, made = noise.transpose(1, 2) * 8.0, noise
    with torch.no_grad():
        for index, time in enumerate(scheduler.timesteps):
            sigma = scheduler.sigmas[index]
            level = sigma / (sigma + 1)
            seen = mask * given + (1 - mask) * latents * (1 - level)
            clean = []
            for prompt in prompts:
                answer = published_answer(network, seen, levels_of(0.0001 / 1.0001, level), prompt, 16)
                clean.append(mask * given + (1 - mask) * ((1 - level) * latents - level * answer))
            guided = clean[0] + 1.5 * (clean[0] - clean[1])
            latents = scheduler.step((latents - guided) / sigma, time, latents, return_dict=False)[0]
        for index in range(2):
            told = (constant(model.program, f"{name}_{index}") for name in ("level", "weights"))
            made = denoiser(made, context, *told, *prompts)
    assert torch.allclose(made.transpose(1, 2), latents, atol=1e-4 * float(latents.abs().max()))


def test_predict_2_5_samples_a_chunk_as_its_pipeline_does(models: dict[str, WorldModel]) -> None:
    """The loop of Cosmos2_5_PredictBasePipeline with its scheduler: given frames too go from noise to what they are."""
    model = models["cosmos-predict2.5"]
    denoiser, network = model.modules["denoiser"], make_transformer(projected=True).eval()
    scheduler = make_scheduler(3, 0.05, 8.0)
    noise, context, prompts = draw(1, *SHAPE), draw(2, 1, CONTEXT, *SHAPE[2:]), [draw(3, 1, 6, 32), draw(4, 1, 6, 32)]
    given = torch.cat([context, torch.zeros(1, SHAPE[1] - CONTEXT, *SHAPE[2:])], dim=1).transpose(1, 2)
    mask = torch.zeros(1, 1, SHAPE[1], 1, 1)
    mask[:, :, :CONTEXT] = 1
    latents = noise.transpose(1, 2)
    straight = (latents - given) * mask
    made = sample = previous = before = noise
    with torch.no_grad():
        for index, time in enumerate(scheduler.timesteps):
            levels = levels_of(0.0001, scheduler.sigmas[index])
            seen = mask * given + (1 - mask) * latents
            answers = [published_answer(network, seen, levels, prompt, None) for prompt in prompts]
            wanted, unwanted = (straight + answer * (1 - mask) for answer in answers)
            velocity = wanted + 1.5 * (wanted - unwanted)
            latents = scheduler.step(velocity, time, latents, return_dict=False)[0]
            told = (constant(model.program, f"{name}_{index}") for name in ("level", "weights"))
            made, sample, clean = denoiser(made, sample, previous, before, noise, context, *told, *prompts)
            previous, before = clean, previous
    assert torch.allclose(made.transpose(1, 2), latents, atol=1e-4 * float(latents.abs().max()))


def make_scheduler(steps: int, low: float, high: float) -> UniPCMultistepScheduler:
    """Predict 2.5's, as its conversion script makes it."""
    scheduler = UniPCMultistepScheduler(
        use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=high, sigma_min=low
    )
    scheduler.set_timesteps(sigmas=[1.0] * steps)  # whose number alone counts
    return scheduler


@pytest.mark.parametrize("steps", [2, 4, 36])
def test_the_steps_weights_are_the_schedulers(steps: int) -> None:
    """On a network that bends what it is given, past the order's warm-up and to its end."""
    scheduler = make_scheduler(steps, 0.01, 200.0)
    latents = made = sample = previous = before = draw(5, 1, 2, 3, 4)
    for index, (time, step) in enumerate(zip(scheduler.timesteps, plan_multistep(steps, 0.01, 200.0), strict=True)):
        assert step.level == pytest.approx(float(scheduler.sigmas[index]), rel=1e-5)
        latents = scheduler.step(torch.sin(3 * latents) - 1, time, latents, return_dict=False)[0]
        clean = made - step.level * (torch.sin(3 * made) - 1)
        w = step.weights
        sample = w[0] * sample + w[1] * previous + w[2] * before + w[3] * clean
        made = w[4] * sample + w[5] * clean + w[6] * previous
        previous, before = clean, previous
        assert torch.allclose(made, latents, atol=1e-4 * float(latents.abs().max()), rtol=0)


def test_the_straight_walk_ends_at_the_lowest_sigma() -> None:
    """Once clean latents are known and stay, they are what is left, and of the noise as much as that sigma says."""
    steps = plan_euler(35, 0.002, 80.0)
    assert len(steps) == 34
    clean, made = 0.7, 1.0
    for step in steps:
        seen, kept, added = step.weights
        made = kept * (made * seen) + added * clean
    assert made == pytest.approx(clean + 0.002 * (1.0 - clean / 80), abs=1e-4)


def test_pictures_go_through_the_published_autoencoder(models: dict[str, WorldModel]) -> None:
    """The pipeline encodes the given pictures with the last one repeated behind them, and takes what is theirs."""
    modules = models["cosmos-predict2"].modules
    vae = make_autoencoder().eval()
    clip = torch.rand(1, 5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    latents = draw(6, *SHAPE)
    with torch.no_grad():
        padded = torch.cat([clip, clip[:, -1:].expand(-1, 4, -1, -1, -1)], dim=1).transpose(1, 2)
        raw = vae.encode(padded * 2 - 1).latent_dist.mode()[:, :, :CONTEXT]
        assert torch.allclose(modules["encoder"](clip), ((raw - mean) / std).transpose(1, 2), atol=1e-5)
        video = vae.decode(latents.transpose(1, 2) * std + mean).sample / 2 + 0.5
        first, *caches = modules["decoder_first"](latents[:, 0])
        pieces = []
        for t in (1, 2):
            pictures, *caches = modules["decoder"](latents[:, t], *caches)
            pieces.append(pictures)
        frame, tail = modules["joiner"](*pieces)
    assert torch.allclose(first, video[:, :, 0], atol=1e-5)
    assert torch.allclose(frame, video[:, :, 5:].flatten(2, 3), atol=1e-5)
    assert torch.allclose(tail, video[:, :, -5:].transpose(1, 2), atol=1e-5)


def test_the_exported_encoder_carries_chunk_after_chunk(models: dict[str, WorldModel], tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(models["cosmos-predict2.5"], ("encoder",), tmp_path, 4)
    zoo_ports.check_alive(frames)
    assert error < 1e-3


def test_original_names_go_through_the_published_converters(tmp_path: Path) -> None:
    build_original(tmp_path / "m")
    found = load_world_model(tmp_path / "m")
    assert found.family == "cosmos_predict2"
    assert isinstance(found.modules["denoiser"], MultistepStep)
    own = found.modules["denoiser"].state_dict()
    for name, tensor in make_transformer(16, projected=True).state_dict().items():
        assert torch.equal(own[f"predictor.network.transformer.{name}"], tensor), name
    encoder = found.modules["encoder"].state_dict()
    for name, tensor in make_original_autoencoder().encoder.state_dict().items():
        assert torch.equal(encoder[f"encoder.{name}"], tensor), name
    shutil.copy(tmp_path / "m/model_ema.safetensors", tmp_path / "m/second.safetensors")
    with pytest.raises(CheckpointError, match=r"has 2 parts that are a Predict 2 transformer"):
        inspect_checkpoint(tmp_path / "m")


def test_a_tensor_stored_as_another_layers_is_named(tmp_path: Path) -> None:
    build_original(tmp_path / "m")
    path = tmp_path / "m/model_ema.safetensors"
    tensors = load_file(path)
    moved = tensors.pop("net.blocks.1.self_attn.q_proj.weight")
    save_file({**tensors, "net.blocks.2.self_attn.q_proj.weight": moved}, path)
    with pytest.raises(CheckpointError, match=r"transformer_blocks\.2\.norm1"):
        inspect_checkpoint(tmp_path / "m")
    save_file({k: v for k, v in tensors.items() if "q_norm" not in k}, path)
    with pytest.raises(CheckpointError, match=r"cannot be read off its tensors \('blocks\.0\.self_attn\.q_norm"):
        inspect_checkpoint(tmp_path / "m")


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("transformer", {"num_attention_heads": 3}, "has shape"),
        ("transformer", {"num_layers": 3}, "lacks transformer_blocks.2."),
        ("transformer", {"in_channels": 4}, "a video-to-world one for 4 latent channels takes 5"),
        ("transformer", {"use_crossattn_projection": True}, "lacks crossattn_proj.0.weight"),
        ("transformer", {"controlnet_block_every_n": 7}, "is Cosmos Transfer's"),
        ("transformer", {"patch_size": [2, 2, 2]}, "the first must be 1"),
        ("transformer", {"attention_head_dim": "wide"}, "CosmosTransformer3DModel refuses it"),
        ("vae", {"_class_name": "AutoencoderKLCosmos"}, "is of a AutoencoderKLCosmos"),
        ("vae", {"z_dim": 5, "latents_mean": [0.0] * 5, "latents_std": [1.0] * 5}, "for 5 latent channels"),
        ("", {"height": 20}, "height 20 is not a multiple of 8"),
        ("", {"frames": 8}, "frames 8 is not 1 more than a multiple of 4"),
        ("", {"context_frames": 9}, "leave nothing to make"),
        ("", {"sigma_min": 9}, "must lie below"),
        ("", {"guidance": 2}, "guidance: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    name = "config.json" if part else "worldport.json"
    path = folder / part / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))  # a null of the file counts: it stays
    with pytest.raises((CheckpointError, ConfigError)) as error:
        inspect_checkpoint(folder)
    assert words in str(error.value)
    assert str(folder) in str(error.value)


def test_text_to_image_and_weights_that_are_not_finite_are_named(folder: Path) -> None:
    zoo_ports.check_spoilt(folder, folder / "vae/diffusion_pytorch_model.safetensors", "quant_conv.bias")
    zoo_ports.change_config(folder, {"_class_name": "Cosmos2TextToImagePipeline"}, "model_index.json")
    zoo_ports.change_config(folder / "transformer", {"in_channels": 4})
    with pytest.raises(ConfigError, match="give a Video2World checkpoint"):
        inspect_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cosmos-predict2-2b-video2world", 2.08e9),
        ("cosmos-predict2-14b-video2world", 14.4e9),
        ("cosmos-predict2.5-2b", 2.19e9),
        ("cosmos-predict2.5-14b", 14.5e9),
    ],
)
def test_published_sizes_are_inspected_without_weights(name: str, parameters: float) -> None:
    found = inspect_checkpoint(f"config:{name}")
    assert found.family == "cosmos_predict2"
    assert found.parameters == pytest.approx(parameters, rel=0.05)


def test_a_guidance_of_one_runs_the_transformer_once(folder: Path) -> None:
    zoo_ports.change_config(folder, {**SETTINGS, "guidance_scale": 1}, "worldport.json")
    names = [given.tensor.name for given in load_world_model(folder).program.inputs]
    assert names == ["clip", "prompt", "noise"]


@pytest.mark.slow
def test_it_is_ported_whole(pipelines: dict[str, Path], tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(pipelines["cosmos-predict2.5"], tmp_path / "port")
    zoo_ports.check_proved(target, output)
