"""CogVideoX: the published transformer, sampler and autoencoder, clip after clip; and pipelines that are not one."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.pipelines.cogvideo.pipeline_cogvideox import CogVideoXPipeline
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from porting.adapters.cogvideox.config import Scheduler
from porting.adapters.cogvideox.decoder import LATER, SteadyDecoder
from porting.adapters.cogvideox.transformer import Transformer
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError, StateContractError
from porting.export import export_component
from tests.adapters import zoo_ports
from zoo.cogvideox import PUBLISHED_SCHEDULER, make_autoencoder, make_transformer

ENTRY = "cogvideox"
"""That `original`, `model` and `folder` are of."""


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotations(published: Any, height: int, width: int, frames: int) -> tuple[Tensor, Tensor] | None:
    """What the published pipeline hands to its transformer for latents of this size."""
    if not published.config.use_rotary_positional_embeddings:
        return None
    around: Any = SimpleNamespace(vae_scale_factor_spatial=2, transformer=published)
    found: tuple[Tensor, Tensor] = CogVideoXPipeline._prepare_rotary_positional_embeddings(
        around, 2 * height, 2 * width, frames, torch.device("cpu")
    )
    return found


def test_headers_tell_parts_and_state(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert (found.family, found.format) == ("cogvideox", "parts")
    assert {c.name: c.weights for c in found.components} == {
        "denoiser": "transformer", "decoder_first": "vae", "decoder": "vae", "joiner": "",
    }  # fmt: skip
    assert found.parameters == model.parameters
    assert {state.update for state in found.program.states} == {"replace"}
    # One in front of each convolution over time: the first and last, and two of every residual layer.
    assert len(found.program.states) == 2 + 2 * (2 + 2 * 2)
    assert all(state.tensor.shape[2] == 2 for state in found.program.states)
    assert model.program.pictures_per_frame == 9


@pytest.mark.parametrize(
    ("changes", "size"),
    [({}, (4, 4)), ({}, (4, 8)), ({"use_rotary_positional_embeddings": False}, (4, 8)), ({"patch_size_t": 2}, (4, 6))],
    ids=["rotary", "wide", "added positions", "patches over time"],
)
def test_the_transformer_is_the_published_one(changes: dict[str, Any], size: tuple[int, int]) -> None:
    published = make_transformer(**changes).eval()
    frames = 6 if "patch_size_t" in changes else 5
    latents, prompts, time = draw(1, 1, frames, 4, *size), draw(2, 2, 6, 24), torch.tensor([441.0])
    with torch.no_grad():
        wanted = published(
            latents.expand(2, -1, -1, -1, -1), prompts, time.expand(2),
            image_rotary_emb=rotations(published, *size, frames), return_dict=False,
        )[0]  # fmt: skip
        made = Transformer(make_transformer(**changes).eval(), tuple(latents.shape))(latents, time, prompts)
    assert float(wanted.std()) > 0.1
    assert torch.allclose(made, wanted, atol=3e-5)


def test_a_clip_is_sampled_as_the_published_pipeline_does(model: WorldModel) -> None:
    """The loop of CogVideoXPipeline with its scheduler, the same noise given to both."""
    published = make_transformer().eval()
    scheduler = CogVideoXDDIMScheduler(**PUBLISHED_SCHEDULER)
    scheduler.set_timesteps(2)
    latents, prompts = draw(1, 1, 5, 4, 4, 4), [draw(2, 1, 6, 24), draw(3, 1, 6, 24)]
    made, turns = latents, rotations(published, 4, 4, 5)
    with torch.no_grad():
        for index, time in enumerate(scheduler.timesteps):
            wanted, unwanted = (
                published(latents, prompt, time[None], image_rotary_emb=turns, return_dict=False)[0]
                for prompt in prompts
            )
            velocity = unwanted + 2.0 * (wanted - unwanted)
            latents = scheduler.step(velocity, time, latents, return_dict=False)[0]
            numbers = (torch.tensor(model.program.constants[f"{n}_{index}"]) for n in ("timestep", "keep", "move"))
            made = model.modules["denoiser"](made, *numbers, *prompts)
    assert torch.allclose(made, latents.float(), atol=1e-4 * float(latents.abs().max()))


@pytest.mark.parametrize(("count", "changes"), [(1, {}), (50, {}), (7, {"snr_shift_scale": 3.0})])
def test_the_steps_are_the_schedulers(count: int, changes: dict[str, float]) -> None:
    config = {**PUBLISHED_SCHEDULER, **changes}
    scheduler = CogVideoXDDIMScheduler(**config)
    scheduler.set_timesteps(count)
    steps = Scheduler.model_validate(config).list_steps(count)
    assert [step.timestep for step in steps] == scheduler.timesteps.tolist()
    for step in steps:
        sample, velocity = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
        made = scheduler.step(velocity, step.timestep, sample, return_dict=False)[0]
        assert made.tolist() == pytest.approx([step.keep, step.move], abs=1e-9)


def test_a_streamed_clip_is_the_one_decoded_whole(model: WorldModel) -> None:
    """Three latent frames, then pairs: seven."""
    vae = make_autoencoder().eval()
    latents = draw(4, 1, 7, 4, 4, 4)
    with torch.no_grad():
        video = vae.decode(latents.transpose(1, 2) / 0.7).sample / 2 + 0.5
        pictures, *caches = model.modules["decoder_first"](*latents[:, :3].unbind(1))
        made = [pictures]
        for start in (3, 5):
            pictures, *caches = model.modules["decoder"](*latents[:, start : start + 2].unbind(1), *caches)
            made.append(pictures)
    assert video.shape[2] == 13
    assert float(video.std()) > 0.02
    assert torch.allclose(torch.cat(made, dim=2), video.clamp(0, 1).flatten(2, 3), atol=1e-5)


def test_patches_over_time_leave_frames_undecoded(folder: Path) -> None:
    """As CogVideoX 1.5 does: five latent frames are filled up to six, of which the first is dropped."""
    make_transformer(patch_size_t=2).save_pretrained(folder / "transformer")
    program = inspect_checkpoint(folder).program
    assert program.inputs[-1].tensor.shape == (1, 6, 4, 4, 4)
    calls = load_world_model(folder).program.frame
    taken = [source.at for call in calls for source in call.inputs.values() if source.at is not None]
    assert taken == [1, 2, 3, 4, 5]


def test_the_exported_decoder_streams_clip_after_clip(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("decoder",), tmp_path, 4)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


class Forgetful(SteadyDecoder):
    """Looks back with all of its convolutions but the first."""

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """See `SteadyDecoder.forward`."""
        latents, caches = given[:LATER], given[LATER:]
        return super().forward(*latents, torch.zeros_like(caches[0]), *caches[1:])


def test_a_cache_that_is_dropped_is_named(model: WorldModel, tmp_path: Path) -> None:
    decoder = model.modules["decoder"]
    assert isinstance(decoder, SteadyDecoder)
    spoilt = replace(model, modules={**model.modules, "decoder": Forgetful(decoder.stream).eval()})
    with pytest.raises(StateContractError, match=r"decoder: .*cache_0"):
        export_component(spoilt, "decoder", tmp_path, zoo_ports.OPSET)


def test_a_tensor_stored_as_another_layers_is_named(folder: Path) -> None:
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["transformer_blocks.2.attn1.to_q.weight"] = tensors.pop("transformer_blocks.1.attn1.to_q.weight")
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"lacks transformer_blocks\.1\.attn1\.to_q\.weight"):
        inspect_checkpoint(folder)


def test_the_scheduler_is_read_where_it_is_there(folder: Path) -> None:
    moves = load_world_model(folder).program.constants["move_1"]
    zoo_ports.change_config(folder / "scheduler", {"snr_shift_scale": 3.0}, "scheduler_config.json")
    assert load_world_model(folder).program.constants["move_1"] != moves
    zoo_ports.change_config(folder / "scheduler", {"_class_name": "CogVideoXDPMScheduler"}, "scheduler_config.json")
    with pytest.raises(ConfigError, match=r"scheduler_config\.json: _class_name: Input should be"):
        inspect_checkpoint(folder)
    zoo_ports.change_config(folder, {"scheduler": {"snr_shift_scale": 1.0}}, "worldport.json")
    assert load_world_model(folder).program.constants["move_1"] == moves
    (folder / "scheduler/scheduler_config.json").write_text("{")
    zoo_ports.change_config(folder, {"scheduler": None}, "worldport.json")
    with pytest.raises(ConfigError, match=r"scheduler_config\.json: is not valid JSON"):
        inspect_checkpoint(folder)


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("transformer", {"num_layers": 3}, "lacks transformer_blocks.2."),
        ("transformer", {"in_channels": 8}, "conditioned on pictures"),
        ("transformer", {"in_channels": 5, "out_channels": 5}, "takes 5 channels, the autoencoder's latents have 4"),
        ("transformer", {"time_embed_dim": 16}, "asks for (16, 32)"),
        ("transformer", {"num_layers": "many"}, "CogVideoXTransformer3DModel refuses it"),
        ("transformer", {"temporal_compression_ratio": 4}, "is not the autoencoder's 2"),
        ("vae", {"_class_name": "AutoencoderKLWan"}, "is of a AutoencoderKLWan"),
        ("vae", {"block_out_channels": [8, 16]}, "has shape"),
        ("", {"height": 18}, "height 18 is not a multiple of 4"),
        ("", {"frames": 7}, "frames 7 is not 1 more than a multiple of 4"),
        ("", {"guidance": 2}, "guidance: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    zoo_ports.check_config_refused(folder, part, changes, words)


def test_weights_that_are_not_finite_are_named(folder: Path) -> None:
    zoo_ports.check_spoilt(folder, folder / "vae/diffusion_pytorch_model.safetensors", "decoder.conv_out.conv.bias")


@pytest.mark.parametrize(("name", "parameters"), [("cogvideox-2b", 1.81e9), ("cogvideox-5b", 5.69e9)])
def test_published_sizes_are_inspected_without_weights(name: str, parameters: float) -> None:
    found = inspect_checkpoint(f"config:{name}")
    assert found.family == "cogvideox"
    assert found.parameters == pytest.approx(parameters, rel=0.03)


@pytest.mark.slow
def test_it_is_ported_whole(original: Path, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(original, tmp_path / "port")
    zoo_ports.check_proved(target, output)
