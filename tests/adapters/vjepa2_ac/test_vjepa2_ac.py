"""V-JEPA 2-AC: the published predictor's own arithmetic, a rollout under actions, and a planner that nears its goal."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional as F

import zoo
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.vjepa2_ac.modules import Planner, Step, move
from porting.adapters.world_model import WorldModel
from porting.errors import ConfigError
from tests.adapters import zoo_ports
from zoo.vjepa2_ac import TINY, WINDOW, make_halves

ENTRY = "vjepa2-ac"
"""That `original`, `model` and `folder` are of."""


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def published_forward(weights: dict[str, Tensor], latents: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
    """The published predictor, written token by token: action, pose, then the frame's own, frame after frame."""
    tokens, heads = TINY.tokens, TINY.pred_num_attention_heads
    third = 2 * ((TINY.pred_hidden_size // heads // 3) // 2)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def turn(x: Tensor, position: int) -> Tensor:
        omega = 1.0 / 10000 ** (torch.arange(third // 2) / (third / 2.0))
        angle = position * omega
        pairs = x.unflatten(-1, (-1, 2))
        swapped = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
        return x * angle.cos().repeat(2) + swapped * angle.sin().repeat(2)

    def place(x: Tensor, frame: int, row: int, column: int) -> Tensor:
        parts = [turn(x[..., i * third : (i + 1) * third], p) for i, p in enumerate((frame, row, column))]
        return torch.cat([*parts, x[..., 3 * third :]], dim=-1)

    sequence, where = [], []
    for frame in range(WINDOW):
        sequence += [linear(actions[0, frame], "action_encoder"), linear(poses[0, frame], "state_encoder")]
        where += [(frame, 0, 0)] * 2
        sequence += list(linear(latents[0, frame], "predictor_embed"))
        where += [(frame, token // TINY.grid[1], token % TINY.grid[1]) for token in range(tokens)]
    x = torch.stack(sequence)
    for layer in range(TINY.pred_num_hidden_layers):
        block = f"predictor_blocks.{layer}"
        query, key, value = (
            linear(normed(x, f"{block}.norm1"), f"{block}.attn.qkv").unflatten(-1, (3, heads, -1)).unbind(1)
        )
        query, key = (torch.stack([place(t, *at) for t, at in zip(s, where, strict=True)]) for s in (query, key))
        scores = torch.einsum("qhd,khd->hqk", query, key) / query.shape[-1] ** 0.5
        frames = torch.tensor([at[0] for at in where])
        scores = scores.masked_fill(frames[:, None] < frames[None, :], -torch.inf)
        attended = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value).flatten(1)
        x = x + linear(attended, f"{block}.attn.proj")
        x = x + linear(F.gelu(linear(normed(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
    made: Tensor = linear(normed(x, "predictor_norm"), "predictor_proj").unflatten(0, (WINDOW, -1))
    return made[None, :, 2:]


def test_the_predictor_is_the_published_one(model: WorldModel) -> None:
    step = model.modules["predictor"]
    assert isinstance(step, Step)
    given = draw(1, 1, WINDOW, TINY.tokens, 48), draw(2, 1, WINDOW, 7), draw(3, 1, WINDOW, 7)
    with torch.no_grad():
        made = step.predictor(*given)
    assert torch.allclose(made, published_forward(make_halves()["predictor"], *given), atol=2e-5)


def test_a_frame_does_not_see_those_after_it(model: WorldModel) -> None:
    step = model.modules["predictor"]
    assert isinstance(step, Step)
    latents, actions, poses = draw(1, 1, WINDOW, TINY.tokens, 48), draw(2, 1, WINDOW, 7), draw(3, 1, WINDOW, 7)
    with torch.no_grad():
        before = step.predictor(latents, actions, poses)
        actions[0, 2] += 1
        after = step.predictor(latents, actions, poses)
    assert torch.equal(before[:, :2], after[:, :2])
    assert (before[:, 2:] != after[:, 2:]).all(dim=-1).any()


def test_a_pose_moves_as_rotations_compose() -> None:
    pose, action = draw(4, 5, 7) * 0.4, draw(5, 5, 7) * 0.3
    moved = move(pose, action)
    assert torch.allclose(moved[:, :3], pose[:, :3] + action[:, :3])
    turned = Rotation.from_euler("xyz", action[:, 3:6]) * Rotation.from_euler("xyz", pose[:, 3:6])
    assert np.allclose(moved[:, 3:6].numpy(), turned.as_euler("xyz"), atol=1e-6)
    assert torch.equal(moved[:, 6], (pose[:, 6] + action[:, 6]).clamp(0, 1))


def test_original_files_are_recognised_without_a_config(folder: Path, model: WorldModel) -> None:
    zoo_ports.change_config(folder, {"crop_size": None})
    (folder / "config.json").rename(folder / "sizes.json")
    with pytest.raises(ConfigError, match=r"num_attention_heads: is not told, and width 48 is no published one"):
        inspect_checkpoint(folder)
    zoo_ports.change_config(folder, {"num_attention_heads": 2, "pred_num_attention_heads": 2, "crop_size": 32})
    found = inspect_checkpoint(folder)
    assert found.family == "vjepa2_ac"
    assert found.parameters == model.parameters
    assert {state.tensor.name: state.tensor.shape for state in found.program.states} == {
        "latents": (1, WINDOW, 16, 48),
        "past_actions": (1, WINDOW - 1, 7),
        "poses": (1, WINDOW, 7),
    }


def test_the_exported_step_feeds_itself_past_the_window(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("predictor",), tmp_path, 3 * WINDOW)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


def test_planning_brings_the_latents_nearer_to_the_goal(tmp_path: Path) -> None:
    """Each iteration's mean does better than the one before, on the energy that it is chosen by."""
    model = load_world_model(zoo.build("vjepa2-ac-planner", tmp_path / "m"))
    planner = model.modules["planner"]
    assert isinstance(planner, Planner)
    window = (
        F.layer_norm(draw(1, 1, WINDOW, 16, 48), (48,)),
        draw(2, 1, WINDOW - 1, 7) * 0.05,
        draw(3, 1, WINDOW, 7) * 0.1,
    )
    wanted = torch.tensor([0.04, -0.04, 0.03, 0, 0, 0, 0.5]).expand(2, 7)
    with torch.no_grad():
        reached, state = window[0][:, -1], window
        for action in wanted:
            reached, *rolled = planner.step(*state, action[None])
            state = (rolled[0], rolled[1], rolled[2])
        mean, std = torch.zeros(8), torch.tensor([0.05, 0.05, 0.05, 0.75] * 2)
        energies = []
        for iteration in range(4):
            mean, std, action = planner(*window, reached, mean, std, draw(10 + iteration, 8, 2, 4))
            predicted, *_ = planner.step(*window, action)
            energies.append(float((predicted - planner.step(*window, wanted[:1])[0]).abs().mean()))
    assert energies[-1] < energies[0]
    assert (std < 0.75).all()
    assert torch.equal(action[0, 3:6], torch.zeros(3))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"window": 1}, "window: Input should be greater than or equal to 2"),
        ({"samples": 4, "elites": 4}, "elites 4 must be fewer than samples 4"),
        ({"mode": "dream"}, "mode: "),
        ({"windw": 3}, "windw: Extra inputs are not permitted"),
    ],
)
def test_impossible_settings_are_named(folder: Path, settings: dict[str, object], words: str) -> None:
    zoo_ports.change_config(folder, settings, "worldport.json")
    with pytest.raises(ConfigError) as error:
        inspect_checkpoint(folder)
    assert str(error.value).startswith(f"{folder / 'worldport.json'}: ")
    assert words in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vjepa2-ac", "vjepa2-ac-planner"])
def test_it_is_ported_whole(name: str, tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(zoo.build(name, tmp_path / "m"), tmp_path / "port")
    zoo_ports.check_proved(target, output)
