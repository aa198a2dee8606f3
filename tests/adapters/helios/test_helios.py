"""Helios: the published transformer, solver and history, chunk after chunk; and pipelines that are not one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_helios import HeliosScheduler
from torch import Tensor

from porting.adapters.helios.config import Settings
from porting.adapters.helios.modules import Denoiser, Recorder
from porting.adapters.helios.solver import weigh_steps
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError, StateContractError
from porting.export import export_component
from porting.rollout import Rollout
from porting.runners.eager import TorchRunner
from tests.adapters import zoo_ports
from zoo.helios import SETTINGS, make_autoencoder, make_transformer

GIVEN = Settings.model_validate(SETTINGS)
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array_wrap__ must accept:DeprecationWarning"
)  # the published scheduler's
CHUNKS, FRAMES, TOKENS = 5, 2, 32
"""More than the history holds; latent frames and tokens of a chunk."""


ENTRY = "helios"
"""That `original`, `model` and `folder` are of."""


def make_scheduler(steps: int, tokens: int) -> HeliosScheduler:
    scheduler = HeliosScheduler(stages=1, stage_range=[0, 1], use_dynamic_shifting=True)
    push = 0.5 + (1.15 - 0.5) / (4096 - 256) * (tokens - 256)
    scheduler.set_timesteps(steps, sigmas=np.linspace(0.999, 0.0, steps + 1)[:-1], mu=push)
    return scheduler


def generate(noises: list[Tensor], prompts: list[Tensor]) -> list[Tensor]:
    """The loop of HeliosPipeline: latents (1, C, T, h, w) of every chunk."""
    transformer = make_transformer().eval()
    sizes = [1, *GIVEN.history, FRAMES]
    prefix_place, far, near, last, own = torch.arange(sum(sizes)).split(sizes)
    places = {
        "indices_hidden_states": own[None],
        "indices_latents_history_short": torch.cat([prefix_place, last])[None],
        "indices_latents_history_mid": near[None],
        "indices_latents_history_long": far[None],
    }
    history, prefix = torch.zeros(1, 4, GIVEN.past, 8, 8), torch.zeros(1, 4, 1, 8, 8)
    made: list[Tensor] = []
    for noise in noises:
        parts = history[:, :, -GIVEN.past :].split(list(GIVEN.history), dim=2)
        given = {
            "latents_history_long": parts[0],
            "latents_history_mid": parts[1],
            "latents_history_short": torch.cat([prefix, parts[2]], dim=2),
        }
        scheduler, latents = make_scheduler(GIVEN.steps, TOKENS), noise
        for time in scheduler.timesteps:
            wanted, unwanted = (
                transformer(latents, time.expand(1), prompt, **places, **given, return_dict=False)[0]
                for prompt in prompts
            )
            velocity = unwanted + GIVEN.guidance_scale * (wanted - unwanted)
            latents = scheduler.step(velocity, time, latents, return_dict=False)[0].float()
        prefix = prefix if made else latents[:, :, :1]
        history = torch.cat([history, latents], dim=2)
        made.append(latents)
    return made


def compare_with_published(model: WorldModel) -> float:
    """Largest difference of a rollout's latents from the published pipeline's, by the largest latent."""
    program, sample = model.program, model.samples[0]
    runners = {spec.name: TorchRunner(model.modules[spec.name], spec, compute="fp32") for spec in program.components}
    rollout, generator = Rollout(program, runners), np.random.default_rng(5)
    noises = [generator.standard_normal((1, FRAMES, 4, 8, 8)).astype(np.float32) for _ in range(CHUNKS)]
    rollout.open(sample.session_inputs)
    made = []
    for noise in noises:
        rollout.step({"noise": noise})
        made.append(rollout.values["latents"].copy())
    prompts = [torch.from_numpy(sample.session_inputs[name]) for name in ("prompt", "negative_prompt")]
    with torch.no_grad():
        expected = generate([torch.from_numpy(noise).transpose(1, 2) for noise in noises], prompts)
    size = max(float(latents.abs().max()) for latents in expected)
    pairs = zip(made, expected, strict=True)
    return max(float(np.abs(m - e.transpose(1, 2).numpy()).max()) for m, e in pairs) / size


def test_headers_tell_parts_and_state(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert (found.family, found.format) == ("helios", "parts")
    assert found.parameters == model.parameters
    assert {c.name: c.weights for c in found.components} == {
        "denoiser": "transformer", "decoder_first": "vae", "decoder": "vae", "joiner": "", "recorder": "",
    }  # fmt: skip
    shapes = {state.tensor.name: state.tensor.shape for state in found.program.states}
    assert {name: shapes[name] for name in ("history", "prefix", "begun")} == {
        "history": (1, 7, 4, 8, 8), "prefix": (1, 1, 4, 8, 8), "begun": (1,),
    }  # fmt: skip
    assert model.program.pictures_per_frame == 3


def test_chunks_are_the_published_pipelines_past_the_history(model: WorldModel) -> None:
    assert compare_with_published(model) < 1e-3


class Stuck(Recorder):
    """Takes the first frame of every chunk for the first of all."""

    def forward(self, latents: Tensor, history: Tensor, prefix: Tensor, begun: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Recorder.forward`."""
        return super().forward(latents, history, prefix, begun * 0)


def move_prefix(model: WorldModel) -> None:
    model.modules["recorder"] = Stuck().eval()


def change_base(model: WorldModel) -> None:
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    angle = torch.atan2(denoiser.transformer.sin, denoiser.transformer.cos) * 0.5
    for table, turned in ((denoiser.transformer.cos, angle.cos()), (denoiser.transformer.sin, angle.sin())):
        table.copy_(turned)


def swap_layers(model: WorldModel) -> None:
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    first, second = denoiser.transformer.network.blocks
    first.attn1, second.attn1 = second.attn1, first.attn1


@pytest.mark.parametrize("spoil", [move_prefix, change_base, swap_layers])
def test_another_world_is_noticed(spoil: Callable[[WorldModel], None], original: Path) -> None:
    model = load_world_model(original)
    spoil(model)
    assert compare_with_published(model) > 0.01


class Forgetful(Recorder):
    """Keeps the newest chunk and nothing before it."""

    def forward(self, latents: Tensor, history: Tensor, prefix: Tensor, begun: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Recorder.forward`."""
        return super().forward(latents, torch.zeros_like(history), prefix, begun)


def test_a_history_that_is_dropped_is_named(model: WorldModel, tmp_path: Path) -> None:
    spoilt = replace(model, modules={**model.modules, "recorder": Forgetful().eval()})
    with pytest.raises(StateContractError, match=r"recorder: .*history"):
        export_component(spoilt, "recorder", tmp_path, zoo_ports.OPSET)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_steps_are_the_schedulers(steps: int) -> None:
    """Weights against the published solver, on velocities that are functions of the latents."""
    tokens = 2000
    scheduler, sigmas = make_scheduler(steps, tokens), Settings(steps=steps).sigmas(tokens)
    assert np.allclose(scheduler.sigmas.numpy(), sigmas, atol=1e-7)
    assert np.allclose(scheduler.timesteps.numpy(), np.array(sigmas[:-1]) * 1000, atol=1e-4)
    generator = torch.Generator().manual_seed(steps)
    latents = expected = torch.randn(1, 2, 1, 3, 3, generator=generator, dtype=torch.float64)
    last = newer = older = torch.zeros_like(latents)
    for time, sigma, weights in zip(scheduler.timesteps, sigmas, weigh_steps(sigmas), strict=False):
        expected = scheduler.step(torch.sin(3 * expected), time, expected, return_dict=False)[0]
        clean = latents - sigma * torch.sin(3 * latents)
        terms = (last, newer, older, clean, latents)
        last = torch.stack([w * t for w, t in zip(weights.correct, terms, strict=True)]).sum(0)
        latents = torch.stack([w * t for w, t in zip(weights.predict, (last, clean, newer), strict=True)]).sum(0)
        newer, older = clean, newer
    assert torch.allclose(latents, expected, atol=1e-6)


def test_pictures_go_through_the_published_autoencoder(model: WorldModel) -> None:
    vae = make_autoencoder().eval()
    latents = torch.randn(1, FRAMES, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(v).view(1, 1, -1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        video = vae.decode((latents * std + mean).transpose(1, 2)).sample / 2 + 0.5
        first, *caches = model.modules["decoder_first"](latents[:, 0])
        made = model.modules["joiner"](first, model.modules["decoder"](latents[:, 1], *caches)[0])
    assert video.shape == (1, 3, 3, 16, 16)
    assert torch.allclose(made, video.flatten(2, 3), atol=1e-5)


def test_the_exported_history_feeds_itself_chunk_after_chunk(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("recorder",), tmp_path, 6)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("transformer", {"num_layers": 3}, "lacks blocks.2."),
        ("transformer", {"ffn_dim": 48}, "asks for (48, 48)"),
        ("transformer", {"has_multi_term_memory_patch": False}, "a history at three scales"),
        ("transformer", {"rope_dim": [8, 8, 4]}, "rope_dim [8, 8, 4] does not make attention_head_dim 24"),
        ("transformer", {"history_scale_mode": "per_token"}, "HeliosTransformer3DModel refuses it"),
        ("vae", {"_class_name": "AutoencoderKLCosmos"}, "is of a AutoencoderKLCosmos"),
        ("", {"height": 12}, "height 12 is not a multiple of 16"),
        ("", {"frames": 4}, "frames 4 is not 1 more than a multiple of 2"),
        ("", {"history": [5, 2, 1]}, "the first must divide by 4"),
        ("", {"guidance": 2}, "guidance: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    name = "config.json" if part else "worldport.json"
    zoo_ports.change_config(folder / part, changes, name)
    with pytest.raises((CheckpointError, ConfigError)) as error:
        inspect_checkpoint(folder)
    assert words in str(error.value)
    assert str(folder) in str(error.value)


def test_a_pipeline_of_several_sizes_and_weights_that_are_not_finite(folder: Path) -> None:
    zoo_ports.spoil(folder / "transformer/diffusion_pytorch_model.safetensors", "patch_long.bias")
    with pytest.raises(CheckpointError, match=r"patch_long\.bias: holds nan"):
        load_world_model(folder)
    zoo_ports.change_config(folder, {"_class_name": "HeliosPyramidPipeline"}, "model_index.json")
    with pytest.raises(ConfigError, match=r"model_index\.json: is of a HeliosPyramidPipeline"):
        inspect_checkpoint(folder)


def test_the_published_size_is_inspected_without_weights() -> None:
    found = inspect_checkpoint("config:helios-base")
    assert found.family == "helios"
    assert found.parameters == pytest.approx(14.4e9, rel=0.05)


@pytest.mark.slow
def test_it_is_ported_whole(original: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(original, tmp_path / "port")
    zoo_ports.check_proved(target, output)
