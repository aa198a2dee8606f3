"""AnyFlow FAR: the published pipeline's own clip, sessions past it, what is carried, and mutants that must not pass."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.anyflow.pipeline_anyflow_far import AnyFlowFARPipeline
from diffusers.schedulers.scheduling_flow_map_euler_discrete import FlowMapEulerDiscreteScheduler
from torch import Tensor

from porting.adapters.anyflow_far.config import Settings
from porting.adapters.anyflow_far.modules import Denoiser, Recorder
from porting.adapters.anyflow_far.rotation import Rotations
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import StateContractError
from porting.export import export_component
from porting.rollout import Rollout
from porting.runners.eager import TorchRunner
from tests.adapters import zoo_ports
from zoo.anyflow_far import PARTITION, make_transformer
from zoo.wan import make_autoencoder

CHUNKS = len(PARTITION) - 1
CHUNK, WINDOW = PARTITION[1], len(PARTITION) - 3


ENTRY = "anyflow-far"
"""That `original`, `model` and `folder` are of."""


@pytest.fixture(scope="module")
def noises() -> list[Tensor]:
    generator = torch.Generator().manual_seed(9)
    return [torch.randn(1, CHUNK, 4, 8, 4, generator=generator) for _ in range(CHUNKS)]


@pytest.fixture(scope="module")
def published(model: WorldModel, noises: list[Tensor]) -> list[Tensor]:
    """Each chunk's pictures (1, 3, pictures * H, W) as the published pipeline makes them of the same noise."""
    made = AnyFlowFARPipeline(
        tokenizer=None,
        text_encoder=None,
        transformer=make_transformer().eval(),
        vae=make_autoencoder().eval(),
        scheduler=FlowMapEulerDiscreteScheduler(shift=5.0),
    )
    made.set_progress_bar_config(disable=True)
    given = {name: torch.from_numpy(array) for name, array in model.samples[0].session_inputs.items()}
    latents = torch.cat([torch.zeros(1, 1, 4, 8, 4), *noises], dim=1).transpose(1, 2)
    video = made(
        video=given["picture"], prompt_embeds=given["prompt"], latents=latents, height=32, width=16,
        num_inference_steps=2, output_type="pt",
    ).frames  # fmt: skip
    chunks = video[:, 1:].transpose(1, 2).split(2 * CHUNK, dim=2)
    return [chunk.flatten(2, 3) for chunk in chunks]


def compare(model: WorldModel, noises: list[Tensor], published: list[Tensor]) -> float:
    """Largest difference of the published clip's pictures, in brightness."""
    program = model.program
    runners = {spec.name: TorchRunner(model.modules[spec.name], spec, compute="fp32") for spec in program.components}
    rollout = Rollout(program, runners)
    rollout.open(model.samples[0].session_inputs)
    made = [rollout.step({"noise": noise.numpy()}).copy() for noise in noises]
    return max(float(np.abs(m - p.numpy()).max()) for m, p in zip(made, published, strict=True))


pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def test_a_session_is_the_published_clip(model: WorldModel, noises: list[Tensor], published: list[Tensor]) -> None:
    """From a picture, over all of its chunks: whole ones, compressed ones, and the keys of zeros in its sampler."""
    assert compare(model, noises, published) < 1e-4


def change_base(model: WorldModel) -> None:
    for name in ("denoiser", "recorder"):
        component = model.modules[name]
        assert isinstance(component, Denoiser | Recorder)
        component.transformer.rotations = Rotations(component.transformer.world, base=1000.0)


def compress_wrong_chunk(model: WorldModel) -> None:
    class Hasty(Recorder):
        def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
            moved = [*given]
            moved[7] = given[7].roll(-CHUNK, 1)
            return super().forward(*moved)

    recorder = model.modules["recorder"]
    assert isinstance(recorder, Recorder)
    model.modules["recorder"] = Hasty(recorder.transformer).eval()


def swap_layers(model: WorldModel) -> None:
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    first, second = denoiser.transformer.transformer.blocks
    first.attn1, second.attn1 = second.attn1, first.attn1


@pytest.mark.parametrize("spoil", [change_base, compress_wrong_chunk, swap_layers])
def test_a_world_that_is_another_one_is_noticed(
    spoil: Callable[[WorldModel], None], original: Path, noises: list[Tensor], published: list[Tensor]
) -> None:
    model = load_world_model(original)
    spoil(model)
    assert compare(model, noises, published) > 2e-3


class Forgetful(Recorder):
    """Computes what compressed chunks leave behind as if there were none before them."""

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """See `Recorder.forward`."""
        kept = [*given]
        kept[4] = torch.zeros_like(given[4])
        return super().forward(*kept)


def test_a_cache_that_is_dropped_is_named(model: WorldModel, tmp_path: Path) -> None:
    recorder = model.modules["recorder"]
    assert isinstance(recorder, Recorder)
    spoilt = replace(model, modules={**model.modules, "recorder": Forgetful(recorder.transformer).eval()})
    with pytest.raises(StateContractError, match=r"recorder: .*context_keys"):
        export_component(spoilt, "recorder", tmp_path, zoo_ports.OPSET)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_noise_levels_are_the_schedulers(steps: int) -> None:
    scheduler = FlowMapEulerDiscreteScheduler(shift=5.0)
    scheduler.set_timesteps(steps)
    assert torch.allclose(scheduler.sigmas, torch.tensor(Settings(steps=steps).sigmas, dtype=torch.float64))


def test_headers_tell_parts_and_state(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert (found.family, found.format) == ("anyflow_far", "parts")
    assert {c.name: c.weights for c in found.components} == {
        "encoder": "vae", "denoiser": "transformer", "decoder_first": "vae", "decoder": "vae", "joiner": "",
        "recorder": "transformer",
    }  # fmt: skip
    assert found.parameters == model.parameters
    assert {
        s.tensor.name: (s.update, s.tensor.shape) for s in found.program.states if "cache" not in s.tensor.name
    } == {
        "context_keys": ("ring", (1, WINDOW, 2, 2, CHUNK * 2, 24)),
        "context_values": ("ring", (1, WINDOW, 2, 2, CHUNK * 2, 24)),
        "context_present": ("ring", (1, WINDOW, CHUNK)),
        "recent_keys": ("replace", (1, 2, 2, 2 * CHUNK * 8, 24)),
        "recent_values": ("replace", (1, 2, 2, 2 * CHUNK * 8, 24)),
        "recent_present": ("replace", (1, 2 * CHUNK)),
        "recent_latents": ("replace", (1, 2 * CHUNK, 4, 8, 4)),
    }
    assert model.program.pictures_per_frame == 2 * CHUNK


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("transformer", {"num_layers": 3}, "lacks blocks.2."),
        ("transformer", {"ffn_dim": 64}, "asks for (64, 48)"),
        ("transformer", {"image_dim": 8}, "conditioned on more than a prompt"),
        ("transformer", {"in_channels": 5, "out_channels": 5}, "takes 5 channels, the autoencoder's latents have 4"),
        ("transformer", {"full_chunk_limit": 1}, "full_chunk_limit 1: must be 2 or more"),
        ("transformer", {"compressed_patch_size": [1, 3, 4]}, "is no multiple of patch_size"),
        ("transformer", {"deltatime_type": "s"}, "deltatime_type 's' is neither"),
        ("transformer", {"chunk_partition": [1, 0]}, "chunk_partition [1, 0] is no list of chunks' sizes"),
        ("transformer", {"num_layers": "many"}, "AnyFlowFARTransformer3DModel refuses it"),
        ("vae", {"latents_mean": [0.0]}, "tells 1 means"),
        ("", {"height": 24}, "height 24 is not a multiple of 16"),
        ("", {"guidance_scale": 2}, "guidance_scale: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    zoo_ports.check_config_refused(folder, part, changes, words)


def test_weights_that_are_not_finite_are_named(folder: Path) -> None:
    zoo_ports.check_spoilt(
        folder, folder / "transformer/diffusion_pytorch_model.safetensors", "far_patch_embedding.bias"
    )


def test_the_published_size_is_inspected_without_weights() -> None:
    found = inspect_checkpoint("config:anyflow-far-wan2.1-1.3b")
    assert found.family == "anyflow_far"
    assert found.parameters == pytest.approx(1.45e9 + 0.127e9, rel=0.1)
    assert {ring.window for ring in found.program.rings} == {5}


def test_the_exported_recorder_feeds_itself_past_eviction(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("recorder",), tmp_path, 2 * WINDOW + 3)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


@pytest.mark.slow
def test_it_is_ported_whole(original: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(original, tmp_path / "port")
    zoo_ports.check_proved(target, output)
