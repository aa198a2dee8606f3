"""SkyReels-V2: the published transformer, sampler and autoencoder, chunk after chunk; and what is not one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2Transformer3DModel
from diffusers.pipelines.skyreels_v2.pipeline_skyreels_v2_diffusion_forcing import SkyReelsV2DiffusionForcingPipeline
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.skyreels_v2.adapter import build_transformer, convert_transformer
from porting.adapters.skyreels_v2.modules import Denoiser
from porting.adapters.skyreels_v2.schedule import list_calls, list_sigmas, list_timesteps
from porting.adapters.world_model import WorldModel
from porting.checkpoint import open_checkpoint
from porting.errors import CheckpointError, ConfigError
from tests.adapters import zoo_ports
from zoo.skyreels_v2 import make_scheduler, make_transformer
from zoo.wan import make_autoencoder, original_transformer
from zoo.weights import write_folder

ASYNCHRONOUS = {"lag": 1, "block": 3, "frames": 17}
"""Two new blocks of three latent frames, the second a step behind."""


ENTRY = "skyreels-v2"
"""That `original`, `model` and `folder` are of."""


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def start_scheduler(steps: int, shift: float) -> UniPCMultistepScheduler:
    made = make_scheduler(shift)
    made.set_timesteps(steps)
    return made


def plan_published(frames: int, given: int, steps: int, shift: float, lag: int, block: int) -> tuple[Tensor, Tensor]:
    """Timesteps and whether to step, each (runs, frames), of the published pipeline."""
    times = start_scheduler(steps, shift).timesteps
    matrix, _, moving, _ = SkyReelsV2DiffusionForcingPipeline.generate_timestep_matrix(
        None, frames, times, frames, lag, given, block
    )
    return matrix, moving


def test_headers_tell_parts_and_state(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert (found.family, found.format) == ("skyreels_v2", "parts")
    assert found.parameters == model.parameters
    assert {c.name: c.weights for c in found.components} == {
        "encoder": "vae", "denoiser": "transformer", "decoder_first": "vae", "decoder": "vae", "joiner": "",
    }  # fmt: skip
    assert {state.update for state in found.program.states} == {"replace"}
    assert found.program.states[0].tensor.shape == (1, 3, 4, 4, 4)
    assert model.program.pictures_per_frame == 6


@pytest.mark.parametrize(("steps", "shift", "lag", "block"), [(1, 8.0, 0, 1), (4, 5.0, 0, 1), (6, 8.0, 2, 3)])
def test_the_schedule_is_the_published_one(steps: int, shift: float, lag: int, block: int) -> None:
    scheduler = start_scheduler(steps, shift)
    assert scheduler.timesteps.tolist() == list(list_timesteps(steps, shift))
    assert scheduler.sigmas.tolist() == list(list_sigmas(steps, shift))
    matrix, moving = plan_published(12, 3, steps, shift, lag, block)
    calls = list_calls(9, block, steps, shift, lag)
    assert [list(call.timesteps) for call in calls] == matrix[:, 3:].tolist()
    assert [[step.sigma > 0 for step in call.steps] for call in calls] == moving[:, 3:].tolist()


@pytest.mark.parametrize("changes", [{}, ASYNCHRONOUS], ids=["synchronous", "asynchronous"])
def test_a_chunk_is_sampled_as_the_published_pipeline_does(folder: Path, changes: dict[str, int]) -> None:
    """The published loop with a scheduler a frame, the same noise given to both; the transformer is held by it too."""
    zoo_ports.change_config(folder, changes, "worldport.json")
    world = load_world_model(folder)
    published = make_transformer().eval()
    if "block" in changes:
        published._set_ar_attention(changes["block"])
    given, window = 3, world.program.component("denoiser").inputs[5].shape[0]
    matrix, moving = plan_published(window, given, 3, 3.0, changes.get("lag", 0), changes.get("block", 1))
    noise, context = draw(1, 1, window - given, 4, 4, 4), draw(2, 1, given, 4, 4, 4)
    noises = [draw(10 + index, 1, given, 4, 4, 4) for index in range(len(matrix))]
    prompts = [draw(3, 1, 6, 24), draw(4, 1, 6, 24)]
    schedulers = [start_scheduler(3, 3.0) for _ in range(window)]
    latents = torch.cat([context, noise], dim=1).transpose(1, 2)
    with torch.no_grad():
        for index, times in enumerate(matrix):
            seen, told = latents.clone(), times[None].clone()
            seen[:, :, :given] = seen[:, :, :given] * 0.98 + noises[index].transpose(1, 2) * 0.02
            told[:, :given] = 20
            wanted, unwanted = (
                published(seen, told, p, enable_diffusion_forcing=True, fps=[1], return_dict=False)[0] for p in prompts
            )
            velocity = unwanted + 2.0 * (wanted - unwanted)
            for frame in range(window):
                if moving[index, frame]:
                    step = schedulers[frame].step
                    latents[:, :, frame] = step(velocity[:, :, frame], times[frame], latents[:, :, frame]).prev_sample
        made, following = sample(world, noise, context, noises, prompts)
    assert len(matrix) == sum(call.component == "denoiser" for call in world.program.frame)
    wanted = latents.transpose(1, 2)
    assert torch.allclose(made, wanted[:, given:], atol=1e-4 * float(wanted.abs().max()))
    assert torch.allclose(following, wanted[:, -given:], atol=1e-4 * float(wanted.abs().max()))


def sample(
    world: WorldModel, noise: Tensor, context: Tensor, noises: list[Tensor], prompts: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """The denoiser's calls of one frame: the new latents, and the context of the next chunk."""
    latents = last = previous = older = noise
    following = context
    for index, given in enumerate(noises):
        times, sums = (torch.tensor(world.program.constants[f"{name}_{index}"]) for name in ("timesteps", "sums"))
        latents, last, clean, following = world.modules["denoiser"](
            latents, last, previous, older, context, times, sums, given, *prompts
        )
        previous, older = clean, previous
    return latents, following


def test_clips_go_through_the_published_autoencoder(model: WorldModel) -> None:
    """A session's clip to latents, and the stream of its pictures and two chunks to those of the whole video."""
    vae = make_autoencoder().eval()
    mean, std = (torch.tensor(v).view(1, 1, -1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    clip = torch.rand(1, 5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    latents = draw(5, 1, 9, 4, 4, 4)
    with torch.no_grad():
        raw = vae.encode(clip.transpose(1, 2) * 2 - 1).latent_dist.mode().transpose(1, 2)
        assert torch.allclose(model.modules["encoder"](clip), (raw - mean) / std, atol=1e-5)
        video = vae.decode((latents * std + mean).transpose(1, 2)).sample / 2 + 0.5
        _, *caches = model.modules["decoder_first"](latents[:, 0])
        made = []
        for t in range(1, 9):
            pictures, *caches = model.modules["decoder"](latents[:, t], *caches)
            made.append(pictures)
    assert float(video.std()) > 0.02
    assert torch.allclose(torch.cat(made, dim=2), video[:, :, 1:].flatten(2, 3), atol=1e-5)


def test_chunk_follows_chunk(model: WorldModel, tmp_path: Path) -> None:
    """Past the last latent frame of a session's clip; exported, it is rolled out by the whole port below."""
    frames, _ = zoo_ports.roll_out(model, (), tmp_path, 5)
    zoo_ports.check_alive(frames)


def turn_otherwise(denoiser: Denoiser) -> None:
    """The rotations of a base of 5000 where the published one is 10000."""
    rope = type(denoiser.transformer.transformer.rope)(24, (1, 2, 2), 64, theta=5000.0)
    cos, sin = rope(torch.zeros(1, 4, 6, 4, 4))
    denoiser.transformer.cos = torch.nn.Buffer(cos[..., ::2].transpose(1, 2).contiguous(), persistent=False)
    denoiser.transformer.sin = torch.nn.Buffer(sin[..., 1::2].transpose(1, 2).contiguous(), persistent=False)


def tell_another_rate(denoiser: Denoiser) -> None:
    denoiser.transformer.rate = 0


def keep_the_old_context(denoiser: Denoiser) -> None:
    made = denoiser.forward
    denoiser.forward = lambda *given: (*made(*given)[:3], given[4] + 0)  # type: ignore[method-assign]


@pytest.mark.parametrize("spoil", [turn_otherwise, tell_another_rate, keep_the_old_context])
def test_a_denoiser_that_is_another_one_makes_other_chunks(
    spoil: Callable[[Denoiser], None], original: Path, model: WorldModel
) -> None:
    spoilt = load_world_model(original)
    denoiser = spoilt.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    spoil(denoiser)
    noise, context, *noises = (draw(seed, 1, 3, 4, 4, 4) for seed in range(5))
    prompts = [draw(7, 1, 6, 24), draw(8, 1, 6, 24)]
    with torch.no_grad():
        right, wrong = (torch.cat(sample(world, noise, context, noises, prompts)) for world in (model, spoilt))
    assert float((right - wrong).abs().max()) > 1e-3


def test_original_names_go_through_the_published_converter(tmp_path: Path) -> None:
    """Those of Wan, and the frame rate's, which the converter does not know; the config is then the original one."""
    published = make_transformer().state_dict()
    original = original_transformer(published)
    for ours, theirs in (("net.0.proj", "0"), ("net.2", "2")):
        for kind in ("weight", "bias"):
            original[f"fps_projection.{theirs}.{kind}"] = original.pop(f"fps_projection.{ours}.{kind}")
    converted = convert_transformer(original)
    assert converted.keys() == published.keys()
    assert all(torch.equal(converted[name], tensor) for name, tensor in published.items())
    config = {"_class_name": "WanModel", "dim": 48, "num_heads": 2, "ffn_dim": 96, "freq_dim": 32, "num_layers": 2,
              "in_dim": 4, "text_dim": 24}  # fmt: skip
    write_folder(tmp_path / "m", config, original, "model.safetensors")
    made = build_transformer(open_checkpoint(tmp_path / "m"))
    assert isinstance(made, SkyReelsV2Transformer3DModel)
    assert {name: t.shape for name, t in made.state_dict().items()} == {n: t.shape for n, t in published.items()}


def test_a_tensor_of_another_layer_and_weights_that_are_not_finite_are_named(folder: Path) -> None:
    weights = folder / "transformer/diffusion_pytorch_model.safetensors"
    zoo_ports.spoil(weights, "fps_embedding.weight")
    with pytest.raises(CheckpointError, match=r"fps_embedding\.weight: holds nan"):
        load_world_model(folder)
    zoo_ports.change_config(folder / "transformer", {"inject_sample_info": False})
    with pytest.raises(CheckpointError, match=r"has fps_embedding\.weight.* does not ask for"):
        inspect_checkpoint(folder)


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("transformer", {"num_layers": 3}, "lacks blocks.2."),
        ("transformer", {"in_channels": 8}, "conditioned on pictures"),
        ("transformer", {"in_channels": 5, "out_channels": 5}, "makes 5 channels, the autoencoder's latents have 4"),
        ("transformer", {"ffn_dim": 64}, "asks for (64, 48)"),
        ("transformer", {"num_frame_per_block": "all"}, "num_frame_per_block 'all' is no number of frames"),
        ("vae", {"_class_name": "AutoencoderKLCosmos"}, "is of a AutoencoderKLCosmos"),
        ("vae", {"base_dim": 12}, "has shape"),
        ("", {"height": 18}, "height 18 is not a multiple of 8"),
        ("", {"frames": 12}, "frames 12 is not 1 more than a multiple of 2"),
        ("", {"context_frames": 4}, "context_frames 4 is not 1 more than a multiple of 2"),
        ("", {"context_frames": 11}, "leave nothing to make"),
        ("", {"block": 2}, "which blocks of 2 do not divide"),
        ("", {"context_noise": 61}, "context_noise: Input should be less than or equal to 60"),
        ("", {"guidance": 2}, "guidance: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    zoo_ports.check_config_refused(folder, part, changes, words)


def test_a_pipeline_of_one_noise_level_is_refused(folder: Path) -> None:
    zoo_ports.change_config(folder, {"_class_name": "SkyReelsV2Pipeline"}, "model_index.json")
    with pytest.raises(ConfigError, match=r"is of a SkyReelsV2Pipeline, whose frames share one noise level"):
        inspect_checkpoint(folder)


def test_a_clean_context_takes_no_noise(folder: Path) -> None:
    zoo_ports.change_config(folder, {"context_noise": 0, "guidance_scale": 1}, "worldport.json")
    program = inspect_checkpoint(folder).program
    assert [given.tensor.name for given in program.inputs] == ["clip", "prompt", "noise"]


@pytest.mark.parametrize("name", ["skyreels-v2-df-1.3b-540p", "skyreels-v2-df-14b-720p"])
def test_published_sizes_are_inspected_without_weights(name: str) -> None:
    sizes = {"skyreels-v2-df-1.3b-540p": 1.56e9, "skyreels-v2-df-14b-720p": 14.4e9}
    found = inspect_checkpoint(f"config:{name}")
    assert found.family == "skyreels_v2"
    assert found.parameters == pytest.approx(sizes[name], rel=0.05)


@pytest.mark.slow
def test_it_is_ported_whole(original: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(original, tmp_path / "port")
    zoo_ports.check_proved(target, output)
