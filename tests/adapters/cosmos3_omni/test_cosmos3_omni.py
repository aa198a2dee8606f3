"""Cosmos 3 Omni: the published transformer and pipeline, prompt read once; and pipelines that are not one."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import (
    get_3d_mrope_ids_text_tokens,
    get_3d_mrope_ids_vae_tokens,
)
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

import zoo
from porting.adapters.cosmos3_omni.modules import DynamicsStep, PolicyStep
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError
from porting.program import Program
from tests.adapters import zoo_ports
from zoo.cosmos3_omni import make_transformer

NAMES = ("cosmos3-policy", "cosmos3-dynamics")
SHAPE, ACTIONS, WORDS = (1, 3, 6, 4, 4), (1, 4, 3), 5
"""Of a chunk's latents, frames before channels, of its actions, and how many tokens a prompt has."""


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("zoo")
    return {name: zoo.build(name, folder / name) for name in NAMES}


@pytest.fixture(scope="module")
def models(pipelines: dict[str, Path]) -> dict[str, WorldModel]:
    return {name: load_world_model(path) for name, path in pipelines.items()}


@pytest.fixture
def folder(pipelines: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(pipelines["cosmos3-policy"], tmp_path / "m")


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def words(seed: int) -> Tensor:
    return torch.randint(0, 40, (1, WORDS), generator=torch.Generator().manual_seed(seed))


def constant(program: Program, name: str) -> Tensor:
    return torch.tensor(program.constants[name])


def published_answer(
    network: torch.nn.Module, latents: Tensor, actions: Tensor, timestep: float, prompt: Tensor, *, policy: bool
) -> tuple[Tensor, Tensor]:
    """diffusers' forward on (1, C, T, h, w) and (A, 3), packed as its pipeline packs them."""
    places, offset = get_3d_mrope_ids_text_tokens(WORDS, 0, use_float_positions=True)
    start = offset + 20
    told = {"temporal_offset": start, "fps": 12.0, "base_fps": 24.0}
    frames, _ = get_3d_mrope_ids_vae_tokens(3, 2, 2, temporal_compression_factor=2, **told)
    moves, _ = get_3d_mrope_ids_vae_tokens(
        4, 1, 1, temporal_compression_factor=1, base_temporal_compression_factor=2, start_frame_offset=1, **told
    )
    noisy = torch.arange(4) if policy else torch.arange(0)
    vision, _, made = network(
        input_ids=prompt[0],
        text_indexes=torch.arange(WORDS),
        position_ids=torch.cat([places, frames, moves], dim=1),
        und_len=WORDS,
        sequence_length=WORDS + 16,
        vision_tokens=[latents],
        vision_token_shapes=[(3, 2, 2)],
        vision_sequence_indexes=torch.arange(WORDS, WORDS + 12),
        vision_mse_loss_indexes=torch.arange(WORDS + 4, WORDS + 12),
        vision_timesteps=torch.full((8,), timestep),
        vision_noisy_frame_indexes=[torch.arange(1, 3)],
        action_tokens=[torch.nn.functional.pad(actions, (0, 5))],
        action_token_shapes=[(4, 1, 1)],
        action_sequence_indexes=torch.arange(WORDS + 12, WORDS + 16),
        action_mse_loss_indexes=WORDS + 12 + noisy,
        action_timesteps=torch.full((len(noisy),), timestep),
        action_noisy_frame_indexes=[noisy],
        action_domain_ids=[torch.tensor([2])],
        return_dict=False,
    )
    return vision[0], made[0][:, :3]


@pytest.mark.parametrize("name", NAMES)
def test_headers_tell_parts_and_state(name: str, pipelines: dict[str, Path], models: dict[str, WorldModel]) -> None:
    found, model = inspect_checkpoint(pipelines[name]), models[name]
    assert (found.family, found.format) == ("cosmos3_omni", "parts")
    assert {c.name: c.weights for c in found.components} == {
        "encoder": "vae", "reader": "transformer", "denoiser": "transformer",
        "decoder_first": "vae", "decoder": "vae", "joiner": "",
    }  # fmt: skip
    assert found.parameters == model.parameters
    names = [state.tensor.name for state in found.program.states if not state.tensor.name.startswith("cache")]
    given = {spec.tensor.name: (spec.scope, spec.kind) for spec in found.program.inputs}
    if name == "cosmos3-policy":
        assert names == ["context", "keys", "values", "negative_keys", "negative_values"]
        assert given["action_noise"] == ("frame", "noise")
    else:
        assert names == ["context", "keys", "values"]
        assert given["action"] == ("frame", "action")
    assert found.program.states[1].tensor.shape == (2, 1, WORDS, 16)
    assert model.program.pictures_per_frame == 4


@pytest.mark.parametrize("name", NAMES)
def test_the_transformer_is_the_published_one_with_its_prompt_read_once(
    name: str, models: dict[str, WorldModel]
) -> None:
    modules, network = models[name].modules, make_transformer().eval()
    denoiser = modules["denoiser"]
    assert isinstance(denoiser, PolicyStep | DynamicsStep)
    latents, actions, prompt = draw(1, *SHAPE), draw(2, *ACTIONS), words(3)
    policy = name == "cosmos3-policy"
    with torch.no_grad():
        made = denoiser.predictor.network(latents, actions, torch.tensor([700.0]), *modules["reader"](prompt))
        frames, moves = published_answer(network, latents.transpose(1, 2), actions[0], 700.0, prompt, policy=policy)
        other = denoiser.predictor.network(latents, actions, torch.tensor([700.0]), *modules["reader"](words(4)))
    assert torch.allclose(made[0], frames[:, :, 1:].transpose(1, 2), atol=3e-5)
    assert float((other[0] - made[0]).abs().max()) > 1e-3
    assert len(made) == (2 if policy else 1)
    if policy:
        assert torch.allclose(made[1][0], moves, atol=3e-5)


def test_a_chunk_is_sampled_as_the_published_pipeline_does(models: dict[str, WorldModel]) -> None:
    """The loop of Cosmos3OmniPipeline in policy mode: a scheduler for the latents, and a copy for the actions."""
    model, network = models["cosmos3-policy"], make_transformer().eval()
    reader, denoiser = model.modules["reader"], model.modules["denoiser"]
    schedulers = []
    for _ in range(2):
        scheduler = UniPCMultistepScheduler(
            use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=8.0,
            sigma_min=0.147,
        )  # fmt: skip
        scheduler.set_timesteps(sigmas=[1.0] * 3)  # whose number alone counts
        schedulers.append(scheduler)
    noise, action_noise, context = draw(5, *SHAPE), draw(6, *ACTIONS), draw(7, 1, 1, *SHAPE[2:])
    prompts = [words(8), words(9)]
    latents, actions = torch.cat([context, noise[:, 1:]], dim=1).transpose(1, 2), action_noise[0]
    carried = [noise] * 4 + [action_noise] * 4
    with torch.no_grad():
        read = [tensor for prompt in prompts for tensor in reader(prompt)]
        for index, time in enumerate(schedulers[0].timesteps):
            answers = [
                published_answer(network, latents, actions, float(time), prompt, policy=True) for prompt in prompts
            ]
            frames, moves = (no + 1.5 * (yes - no) for yes, no in zip(*answers, strict=True))
            latents = schedulers[0].step(frames, time, latents, return_dict=False)[0]
            actions = schedulers[1].step(moves[None], time, actions[None], return_dict=False)[0][0]
            told = [constant(model.program, f"{name}_{index}") for name in ("timestep", "level", "weights")]
            assert float(told[0]) == float(time)
            made = denoiser(*carried, context, *told, *read)
            carried = [*made[:3], carried[2], *made[3:], carried[6]]
    assert torch.allclose(carried[0].transpose(1, 2), latents, atol=1e-4 * float(latents.abs().max()))
    assert torch.allclose(carried[4][0], actions, atol=1e-4 * float(actions.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_chunk_after_chunk_lives(name: str, models: dict[str, WorldModel], tmp_path: Path) -> None:
    exported = ("reader",) if name == "cosmos3-policy" else ()
    frames, error = zoo_ports.roll_out(models[name], exported, tmp_path, 4)
    zoo_ports.check_alive(frames)
    assert error < 1e-3


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("transformer", {"num_hidden_layers": 3}, "lacks layers.2."),
        ("transformer", {"action_dim": 7}, "has shape"),
        ("transformer", {"action_gen": False}, "it knows no actions"),
        ("transformer", {"patch_latent_dim": 20}, "patch_latent_dim 20 is not"),
        ("transformer", {"latent_channel": 5, "patch_latent_dim": 20}, "takes 5 channels"),
        ("transformer", {"head_dim": "wide"}, "Cosmos3OmniTransformer refuses it"),
        ("vae", {"_class_name": "AutoencoderKLCosmos"}, "is of a AutoencoderKLCosmos"),
        ("", {"height": 20}, "height 20 is not a multiple of 8"),
        ("", {"actions": 5}, "actions 5 is not a multiple of 2"),
        ("", {"action_width": 9}, "action_width 9: the model knows them up to 8"),
        ("", {"domain": 4}, "domain 4: the model knows them up to 3"),
        ("", {"mode": "inverse_dynamics"}, "mode: Input should be"),
        ("", {"guidance": 2}, "guidance: Extra inputs"),
    ],
)
def test_configs_that_do_not_fit_are_named(folder: Path, part: str, changes: dict[str, object], message: str) -> None:
    name = "config.json" if part else "worldport.json"
    zoo_ports.change_config(folder / part, changes, name)
    with pytest.raises((CheckpointError, ConfigError)) as error:
        inspect_checkpoint(folder)
    assert message in str(error.value)
    assert str(folder) in str(error.value)


def test_weights_that_are_not_finite_are_named(folder: Path) -> None:
    weights = folder / "transformer/diffusion_pytorch_model.safetensors"
    zoo_ports.spoil(weights, "lm_head.weight")
    with pytest.raises(CheckpointError, match=r"lm_head\.weight: holds nan"):
        load_world_model(folder)


def test_the_published_size_is_inspected_without_weights() -> None:
    found = inspect_checkpoint("config:cosmos3-nano")
    assert found.family == "cosmos3_omni"
    assert found.parameters == pytest.approx(15.2e9, rel=0.1)


@pytest.mark.slow
def test_it_is_ported_whole(pipelines: dict[str, Path], tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(pipelines["cosmos3-policy"], tmp_path / "port")
    zoo_ports.check_proved(target, output)
