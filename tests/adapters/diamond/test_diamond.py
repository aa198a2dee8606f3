"""DIAMOND: the published networks and sampler, names and sizes, what is carried, and a memory that is forgotten."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from porting.adapters.diamond.config import Settings
from porting.adapters.diamond.modules import Denoiser, EulerStep, HeunCorrection, Recorder, RewardEnd
from porting.adapters.diamond.renaming import convert
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError, StateContractError
from porting.export import export_component
from tests.adapters import zoo_ports
from zoo.diamond import TINY, make_tensors

FILE = "Breakout.pt"


ENTRY = "diamond"
"""That `original`, `model` and `folder` are of."""


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def one_hot(*chosen: int) -> Tensor:
    return torch.eye(TINY.num_actions)[list(chosen)]


class Published:
    """The published forward passes, written over the stored names: actions are indices, pictures -1 to 1."""

    def __init__(self) -> None:
        self.weights = make_tensors()

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        return F.conv2d(x, weight, self.weights[f"{name}.bias"], stride, padding=weight.shape[-1] // 2)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", torch.zeros(()))

    def modulated(self, x: Tensor, name: str, conditioning: Tensor) -> Tensor:
        normed = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
        scale, shift = self.linear(conditioning, f"{name}.linear").chunk(2)
        return F.silu(normed * (1 + scale[:, None, None]) + shift[:, None, None])

    def block(self, x: Tensor, name: str, conditioning: Tensor) -> Tensor:
        rest = self.conv(x, f"{name}.proj") if f"{name}.proj.weight" in self.weights else x
        x = self.conv(self.modulated(x, f"{name}.norm1", conditioning), f"{name}.conv1")
        x = self.conv(self.modulated(x, f"{name}.norm2", conditioning), f"{name}.conv2") + rest
        if f"{name}.attn.qkv_proj.weight" not in self.weights:
            return x
        _, channels, height, width = x.shape
        start = f"{name}.attn"
        normed = F.group_norm(x, 1, self.weights[f"{start}.norm.norm.weight"], self.weights[f"{start}.norm.norm.bias"])
        heads = self.conv(normed, f"{start}.qkv_proj").view(1, channels // 8 * 3, 8, -1).transpose(2, 3)
        query, key, value = heads.chunk(3, dim=1)
        attended = (query @ key.transpose(-2, -1) / 8**0.5).softmax(-1) @ value
        return normed + self.conv(attended.transpose(2, 3).reshape(1, channels, height, width), f"{start}.out_proj")

    def network(self, noisy: Tensor, level: Tensor, observations: Tensor, actions: list[int]) -> Tensor:
        start = "denoiser.inner_model"
        waves = 2 * torch.pi * level * self.weights[f"{start}.noise_emb.weight"][0]
        conditioning = torch.cat([waves.cos(), waves.sin()])
        conditioning = conditioning + self.weights[f"{start}.act_emb.0.weight"][actions].flatten()
        conditioning = self.linear(F.silu(self.linear(conditioning, f"{start}.cond_proj.0")), f"{start}.cond_proj.2")
        x = self.conv(torch.cat([observations.flatten(0, 1)[None], noisy], dim=1), f"{start}.conv_in")
        unet = f"{start}.unet"
        top = self.block(x, f"{unet}.d_blocks.0.resblocks.0", conditioning)
        half = self.conv(top, f"{unet}.downsamples.1.conv", stride=2)
        low = self.block(half, f"{unet}.d_blocks.1.resblocks.0", conditioning)
        deep = low
        for index in range(2):
            deep = self.block(deep, f"{unet}.mid_blocks.resblocks.{index}", conditioning)
        for index, skip in enumerate((low, half)):
            deep = self.block(torch.cat([deep, skip], 1), f"{unet}.u_blocks.0.resblocks.{index}", conditioning)
        high = self.conv(deep.repeat_interleave(2, 2).repeat_interleave(2, 3), f"{unet}.upsamples.1.conv")
        for index, skip in enumerate((top, x)):
            high = self.block(torch.cat([high, skip], 1), f"{unet}.u_blocks.1.resblocks.{index}", conditioning)
        norm = f"{start}.norm_out.norm"
        normed = F.group_norm(high, 1, self.weights[f"{norm}.weight"], self.weights[f"{norm}.bias"])
        return self.conv(F.silu(normed), f"{start}.conv_out")

    def denoise(self, noisy: Tensor, sigma: Tensor, observations: Tensor, actions: list[int], cut: bool) -> Tensor:
        sigma = (sigma**2 + 0.3**2).sqrt()
        skip = 0.5**2 / (sigma**2 + 0.5**2)
        given = noisy / (sigma**2 + 0.5**2).sqrt()
        made = self.network(given, sigma.log() / 4, observations / 0.5, actions)
        clean = (skip * noisy + sigma * skip.sqrt() * made).clamp(-1, 1)
        return clean.add(1).div(2).mul(255).byte().div(255).mul(2).sub(1) if cut else clean

    def judge(self, before: Tensor, after: Tensor, action: int, memory: torch.nn.LSTM, state: tuple[Tensor, Tensor]):  # type: ignore[no-untyped-def]
        start = "rew_end_model.encoder"
        conditioning = self.weights["rew_end_model.act_emb.weight"][action]
        x = self.conv(torch.cat([before, after], dim=1), f"{start}.conv_in")
        x = self.block(x, f"{start}.blocks.0.resblocks.0", conditioning)
        x = self.block(self.conv(x, f"{start}.downsamples.1.conv", 2), f"{start}.blocks.1.resblocks.0", conditioning)
        for index in range(2):
            x = self.block(x, f"{start}.blocks.2.resblocks.{index}", conditioning)
        shown, state = memory(x.reshape(1, 1, -1), state)
        hidden = F.silu(self.linear(shown[0, 0], "rew_end_model.head.0"))
        return self.linear(hidden, "rew_end_model.head.2"), state


def take(model: WorldModel, name: str, kind: type[torch.nn.Module]) -> torch.nn.Module:
    found = model.modules[name]
    assert isinstance(found, kind)
    return found


def test_a_step_is_the_published_one(model: WorldModel) -> None:
    published, step = Published(), take(model, "denoiser", EulerStep)
    noisy, observations = draw(1, 1, 3, 16, 16), draw(2, 4, 3, 16, 16).tanh()
    actions = [2, 0, 3, 1]
    for sigma, following in ((5.0, 0.3), (0.3, 0.002), (0.002, 0.0)):
        clean = published.denoise(noisy, torch.tensor(sigma), observations, actions, cut=False)
        expected = noisy + (noisy - clean) / sigma * (following - sigma)
        levels = torch.tensor([sigma]), torch.tensor([following])
        made = step(noisy, *levels, observations[None], one_hot(2, 0, 3)[None], one_hot(1))
        assert torch.allclose(made, expected, atol=1e-5)
        assert not torch.allclose(made, step(noisy, *levels, observations[None], one_hot(2, 0, 3)[None], one_hot(0)))


def test_heuns_step_takes_the_slope_at_both_ends(original: Path, folder: Path) -> None:
    zoo_ports.change_config(folder, {"order": 2, "steps": 2}, "worldport.json")
    model = load_world_model(folder)
    called = [call.component for call in model.program.frame]
    assert called == ["denoiser", "corrector", "denoiser", "rew_end", "recorder"]
    published, noisy, observations = Published(), draw(1, 1, 3, 16, 16), draw(2, 4, 3, 16, 16).tanh()
    actions, sigma, following = [2, 0, 3, 1], 5.0, 0.002
    slope = (noisy - published.denoise(noisy, torch.tensor(sigma), observations, actions, cut=False)) / sigma
    euler = noisy + slope * (following - sigma)
    clean = published.denoise(euler, torch.tensor(following), observations, actions, cut=False)
    expected = noisy + (slope + (euler - clean) / following) / 2 * (following - sigma)
    given = torch.tensor([sigma]), torch.tensor([following]), observations[None], one_hot(2, 0, 3)[None], one_hot(1)
    stepped = take(model, "denoiser", EulerStep)(noisy, *given)
    made = take(model, "corrector", HeunCorrection)(noisy, stepped, *given)
    assert torch.allclose(made, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_pictures_are_cut_to_8_bits_as_the_published_sampler_does(folder: Path) -> None:
    zoo_ports.change_config(folder, {"quantise": None}, "worldport.json")
    denoiser = take(load_world_model(folder), "denoiser", EulerStep).denoiser
    assert isinstance(denoiser, Denoiser)
    noisy, observations = draw(1, 1, 3, 16, 16), draw(2, 4, 3, 16, 16).tanh()
    made = denoiser(noisy, torch.tensor([0.3]), observations[None], one_hot(2, 0, 3, 1)[None])
    expected = Published().denoise(noisy, torch.tensor(0.3), observations, [2, 0, 3, 1], cut=True)
    # Where a value lies on a level's edge, rounding decides between two levels.
    apart = ((made - expected).abs() * 127.5).round()
    assert (apart == 0).float().mean() > 0.99
    assert apart.max() <= 1
    assert torch.allclose((made + 1) * 127.5, ((made + 1) * 127.5).round(), atol=1e-4)


def test_reward_and_end_are_the_published_ones_and_remember_the_game(model: WorldModel) -> None:
    published, judge = Published(), take(model, "rew_end", RewardEnd)
    memory = torch.nn.LSTM(8 * 8 * 8, 16, batch_first=True)
    memory.load_state_dict({name: published.weights[f"rew_end_model.lstm.{name}"] for name in memory.state_dict()})
    pictures, actions = draw(5, 5, 1, 3, 16, 16).tanh(), (1, 3, 0, 0)
    state = torch.zeros(1, 1, 16), torch.zeros(1, 1, 16)
    carried: tuple[Tensor, ...] = state
    with torch.no_grad():
        for index, action in enumerate(actions):
            logits, state = published.judge(pictures[index], pictures[index + 1], action, memory, state)
            reward, end, *carried = judge(pictures[index], one_hot(action), pictures[index + 1], *carried)
            assert torch.allclose(torch.cat([reward, end], dim=-1)[0], logits, atol=1e-5)
            assert all(torch.allclose(made, wanted, atol=1e-5) for made, wanted in zip(carried, state, strict=True))


def test_noise_levels_are_the_published_ones() -> None:
    assert Settings().sigmas == pytest.approx((5.0, 0.31, 0.002, 0.0), abs=0.2)
    low, high = 0.002 ** (1 / 7), 5.0 ** (1 / 7)
    assert Settings().sigmas[1] == pytest.approx(((low + high) / 2) ** 7)
    assert Settings(steps=1).sigmas == pytest.approx((5.0, 0.0))


def test_a_file_without_a_config_tells_its_sizes(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert found.family == "diamond"
    assert {key: found.config[key] for key in TINY.model_dump(mode="json")} == TINY.model_dump(mode="json")
    assert found.parameters == model.parameters
    assert {state.tensor.name: state.tensor.shape for state in found.program.states} == {
        "observations": (1, 4, 3, 16, 16),
        "past_actions": (1, 3, 4),
        "hidden": (1, 1, 16),
        "cell": (1, 1, 16),
    }
    assert found.program.prime_calls == 1 + 3


def test_what_was_compiled_or_wrapped_has_the_same_names(folder: Path) -> None:
    tensors = make_tensors()
    compiled = {f"agent.{name.replace('denoiser.', 'denoiser._orig_mod.')}": t for name, t in tensors.items()}
    assert convert(compiled).keys() == tensors.keys()
    torch.save(compiled, folder / FILE)
    zoo_ports.change_config(folder, {"model_type": "diamond", "rew_end_model": {"img_size": "${env.train.size}"}})
    assert inspect_checkpoint(folder).config["rew_end_model"]["img_size"] == 16


def test_a_config_that_disagrees_is_named(folder: Path) -> None:
    zoo_ports.change_config(folder, {"model_type": "diamond", "num_actions": 5})
    with pytest.raises(CheckpointError, match=r"act_emb\.0\.weight: has shape \(4, 4\).*\(5, 4\)"):
        inspect_checkpoint(folder)
    zoo_ports.change_config(folder, {"num_actions": None, "rew_end_model": {"img_size": 18, "depths": [1, 1, 1]}})
    with pytest.raises(ConfigError, match=r"config\.json: rew_end_model: .*are not of one length"):
        inspect_checkpoint(folder)
    (folder / "config.json").unlink()
    zoo_ports.change_config(folder, {"order": 3}, "worldport.json")
    with pytest.raises(ConfigError, match=r"worldport\.json: order: Input should be 1 or 2"):
        inspect_checkpoint(folder)


def test_a_game_without_reward_and_end_is_of_no_family(folder: Path) -> None:
    torch.save({n: t for n, t in make_tensors().items() if not n.startswith("rew_end_model.")}, folder / FILE)
    with pytest.raises(CheckpointError, match=r"nearest are: diamond .*lacks rew_end_model\.encoder\.conv_in\.weight"):
        inspect_checkpoint(folder)


def test_the_exported_past_feeds_itself_beyond_the_window(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("recorder",), tmp_path, 12)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


class Forgetful(Recorder):
    """Takes the observations along, and no action before the last."""

    def forward(
        self, latents: Tensor, observations: Tensor, past_actions: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Recorder.forward`."""
        return super().forward(latents, observations, torch.zeros_like(past_actions), action)


def test_a_past_that_is_dropped_is_named(model: WorldModel, tmp_path: Path) -> None:
    """The picture is right: what is wrong is what the next ones are conditioned on."""
    spoilt = replace(model, modules={**model.modules, "recorder": Forgetful().eval()})
    with pytest.raises(StateContractError, match=r"recorder: .*past_actions"):
        export_component(spoilt, "recorder", tmp_path, zoo_ports.OPSET)


@pytest.mark.slow
def test_it_is_ported_whole(tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(zoo.build("diamond", tmp_path / "m"), tmp_path / "port")
    zoo_ports.check_proved(target, output)
