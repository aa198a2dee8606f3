"""Oasis: the published script's own rollout, names of both files, what is carried, and mutants that must not pass."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from porting.adapters.oasis.config import OasisConfig
from porting.adapters.oasis.modules import Recorder, Step
from porting.adapters.oasis.renaming import convert_dit
from porting.adapters.oasis.rotation import time_angles
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError, StateContractError
from porting.export import export_component
from porting.rollout import Rollout
from porting.runners.eager import TorchRunner
from tests.adapters import zoo_ports
from zoo.oasis import SETTINGS, TINY, make_dit, make_vae

WINDOW, STEPS = SETTINGS["window"], SETTINGS["steps"]
FRAMES = 7
"""Past the moment when the first real frame leaves the window."""


ENTRY = "oasis"
"""That `original`, `model` and `folder` are of."""


class Published:
    """The published script written over the stored names, whose window grows from the prompt until it is full."""

    def __init__(self) -> None:
        self.dit, self.vae = make_dit(), make_vae()

    @staticmethod
    def linear(weights: dict[str, Tensor], x: Tensor, name: str) -> Tensor:
        made = x @ weights[f"{name}.weight"].T
        return made + weights[f"{name}.bias"] if f"{name}.bias" in weights else made

    @staticmethod
    def turn(x: Tensor, angles: Tensor) -> Tensor:
        """Pairs as complex numbers: x (..., places, width), angles (places, turned / 2)."""
        count = 2 * angles.shape[-1]
        pairs = torch.view_as_complex(x[..., :count].unflatten(-1, (-1, 2)).contiguous())
        turned = torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
        return torch.cat([turned, x[..., count:]], dim=-1)

    @staticmethod
    def place(height: int, width: int, frequencies: Tensor) -> Tensor:
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        return torch.stack([torch.cat([r * frequencies, c * frequencies]) for r in rows for c in columns])

    def attend(self, qkv: Tensor, angles: Tensor, causal: bool = False) -> Tensor:
        """qkv (rows, places, 3 * width), two heads."""
        query, key, value = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        query, key = self.turn(query, angles), self.turn(key, angles)
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        if causal:
            scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
        seen: Tensor = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        return seen

    def transform(self, latents: Tensor, levels: Tensor, actions: Tensor) -> Tensor:
        """latents (T, C, h, w), every frame's velocity."""
        weights, (height, width) = self.dit, TINY.dit.grid
        x = F.conv2d(latents, weights["x_embedder.proj.weight"], weights["x_embedder.proj.bias"], stride=2)
        x = x.flatten(2).transpose(1, 2)
        waves = levels[:, None] * (-math.log(10000) * torch.arange(128) / 128).exp()
        embedded = self.linear(weights, torch.cat([waves.cos(), waves.sin()], dim=-1), "t_embedder.mlp.0")
        conditioning = self.linear(weights, F.silu(embedded), "t_embedder.mlp.2")
        conditioning = F.silu(conditioning + self.linear(weights, actions, "external_cond"))
        space = self.place(height, width, torch.linspace(1, 128, 4) * math.pi)
        time = torch.arange(len(latents))[:, None] / 10000 ** (torch.arange(0, 16, 2) / 16)
        for block in range(2):
            for half, angles in (("s", space), ("t", time)):
                start = f"blocks.{block}.{half}"
                told = self.linear(weights, conditioning, f"{start}_adaLN_modulation.1")[:, None].chunk(6, dim=-1)
                seen = F.layer_norm(x, (32,), eps=1e-6) * (1 + told[1]) + told[0]
                seen = seen if half == "s" else seen.transpose(0, 1)
                made = self.attend(self.linear(weights, seen, f"{start}_attn.to_qkv"), angles, causal=half == "t")
                made = self.linear(weights, made, f"{start}_attn.to_out")
                x = x + told[2] * (made if half == "s" else made.transpose(0, 1))
                seen = F.layer_norm(x, (32,), eps=1e-6) * (1 + told[4]) + told[3]
                hidden = F.gelu(self.linear(weights, seen, f"{start}_mlp.fc1"), approximate="tanh")
                x = x + told[5] * self.linear(weights, hidden, f"{start}_mlp.fc2")
        shift, scale = self.linear(weights, conditioning, "final_layer.adaLN_modulation.1")[:, None].chunk(2, dim=-1)
        x = self.linear(weights, F.layer_norm(x, (32,), eps=1e-6) * (1 + scale) + shift, "final_layer.linear")
        x = x.reshape(-1, height, width, 2, 2, 4)
        velocities: Tensor = torch.einsum("nhwpqc->nchpwq", x).reshape(latents.shape)
        return velocities

    def blocks(self, x: Tensor, half: str, depth: int) -> Tensor:
        height, width = TINY.vae.grid
        angles = self.place(height, width, torch.linspace(1, height * width / 2, 2) * math.pi)
        for index in range(depth):
            start, weights = f"{half}.{index}", self.vae
            seen = F.layer_norm(x, (32,), weights[f"{start}.norm1.weight"], weights[f"{start}.norm1.bias"], 1e-6)
            made = self.attend(self.linear(weights, seen, f"{start}.attn.qkv"), angles)
            x = x + self.linear(weights, made, f"{start}.attn.proj")
            seen = F.layer_norm(x, (32,), weights[f"{start}.norm2.weight"], weights[f"{start}.norm2.bias"], 1e-6)
            x = x + self.linear(weights, F.gelu(self.linear(weights, seen, f"{start}.mlp.fc1")), f"{start}.mlp.fc2")
        norm = f"{half[:3]}_norm"
        return F.layer_norm(x, (32,), self.vae[f"{norm}.weight"], self.vae[f"{norm}.bias"], 1e-6)

    def encode(self, pictures: Tensor) -> Tensor:
        weights = self.vae
        x = F.conv2d(pictures, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=4)
        moments = self.linear(weights, self.blocks(x.flatten(2).transpose(1, 2), "encoder", 1), "quant_conv")
        return moments[..., :4].transpose(1, 2).reshape(-1, 4, 4, 6) * TINY.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        tokens = self.linear(self.vae, latents.flatten(2).transpose(1, 2) / TINY.scaling_factor, "post_quant_conv")
        x = self.linear(self.vae, self.blocks(tokens, "decoder", 2), "predictor")
        x = x.reshape(-1, 4, 6, 3, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, 16, 24)
        return ((x + 1) / 2).clamp(0, 1)

    def generate(self, frames: Tensor, actions: Tensor, noises: list[Tensor]) -> list[Tensor]:
        shares, x = schedule(), self.encode(frames * 2 - 1)
        levels = torch.linspace(-1, 999, STEPS + 1)
        for noise in noises:
            x = torch.cat([x, noise])
            start = max(0, len(x) - WINDOW)
            for index in range(STEPS, 0, -1):
                level = levels[index].long()
                times = torch.full((len(x) - start,), 14.0)
                times[-1] = level
                velocity = self.transform(x[start:], times, actions[start : len(x)])[-1]
                clean = shares[level].sqrt() * x[-1] - (1 - shares[level]).sqrt() * velocity
                rest = ((1 / shares[level]).sqrt() * x[-1] - clean) / (1 / shares[level] - 1).sqrt()
                following = torch.ones(()) if index == 1 else shares[levels[index - 1].long()]
                x[-1] = following.sqrt() * clean + rest * (1 - following).sqrt()
        return list(self.decode(x[len(frames) :]))


def schedule() -> Tensor:
    """The published sigmoid schedule: (1000,)."""
    places = torch.linspace(0, 1000, 1001, dtype=torch.float64) / 1000
    low, high = torch.tensor(-3.0).sigmoid(), torch.tensor(3.0).sigmoid()
    kept = (high - (places * 6 - 3).sigmoid()) / (high - low)
    return torch.cumprod(1 - (1 - kept[1:] / kept[:-1]).clip(0, 0.999).float(), dim=0)


def compare_with_published(model: WorldModel) -> float:
    """Largest difference of a rollout from the published one, in brightness."""
    program, sample = model.program, model.samples[0]
    runners = {spec.name: TorchRunner(model.modules[spec.name], spec, compute="fp32") for spec in program.components}
    rollout, generator = Rollout(program, runners), np.random.default_rng(8)
    noises = [generator.standard_normal((1, 4, 4, 6)).astype(np.float32) for _ in range(FRAMES)]
    given = sample.frame_inputs["action"][:FRAMES]
    rollout.open(sample.session_inputs)
    made = [rollout.step({"noise": n, "action": a}).copy() for n, a in zip(noises, given, strict=True)]
    actions = torch.from_numpy(np.concatenate([sample.session_inputs["first_actions"][0], given[:, 0]]))
    frames = torch.from_numpy(sample.session_inputs["frames"][0])
    with torch.no_grad():
        expected = Published().generate(frames, actions, [torch.from_numpy(noise) for noise in noises])
    return max(float(np.abs(m[0] - e.numpy()).max()) for m, e in zip(made, expected, strict=True))


def test_a_rollout_is_the_published_one_past_the_window(model: WorldModel) -> None:
    assert compare_with_published(model) < 1e-3


def keep_present(model: WorldModel) -> None:
    class Stuck(Recorder):
        def forward(self, latents: Tensor, context: Tensor, past_actions: Tensor, present: Tensor, action: Tensor):  # type: ignore[no-untyped-def]
            return (*super().forward(latents, context, past_actions, present, action)[:2], present.clone())

    model.modules["recorder"] = Stuck().eval()


def change_base(model: WorldModel) -> None:
    step = model.modules["denoiser"]
    assert isinstance(step, Step)
    step.dit.time.fill(time_angles(WINDOW, 5000.0 ** -(torch.arange(8) / 8)))


def swap_layers(model: WorldModel) -> None:
    step = model.modules["denoiser"]
    assert isinstance(step, Step)
    first, second = step.dit.blocks
    first.s_attn, second.s_attn = second.s_attn, first.s_attn


@pytest.mark.parametrize("spoil", [keep_present, change_base, swap_layers])
def test_a_world_that_is_another_one_is_noticed(spoil: Callable[[WorldModel], None], original: Path) -> None:
    model = load_world_model(original)
    spoil(model)
    assert compare_with_published(model) > 0.01


class Forgetful(Recorder):
    """Takes the actions along, and no latents before the last."""

    def forward(
        self, latents: Tensor, context: Tensor, past_actions: Tensor, present: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Recorder.forward`."""
        return super().forward(latents, torch.zeros_like(context), past_actions, present, action)


def test_a_window_that_is_dropped_is_named(model: WorldModel, tmp_path: Path) -> None:
    spoilt = replace(model, modules={**model.modules, "recorder": Forgetful().eval()})
    with pytest.raises(StateContractError, match=r"recorder: .*context"):
        export_component(spoilt, "recorder", tmp_path, zoo_ports.OPSET)


def test_the_schedule_is_the_published_one() -> None:
    assert np.allclose(OasisConfig().signal_shares(), schedule().numpy(), rtol=1e-4)


def test_files_are_told_apart_by_their_tensors(folder: Path, model: WorldModel) -> None:
    (folder / "oasis500m.safetensors").rename(folder / "weights-b.safetensors")
    (folder / "vit-l-20.safetensors").rename(folder / "weights-a.safetensors")
    found = inspect_checkpoint(folder)
    assert found.family == "oasis"
    assert {key: found.config[key] for key in ("dit", "vae")} == {
        "dit": TINY.dit.model_dump(mode="json"),
        "vae": TINY.vae.model_dump(mode="json"),
    }
    assert found.parameters == model.parameters
    assert {state.tensor.name: state.tensor.shape for state in found.program.states} == {
        "context": (1, WINDOW - 1, 4, 4, 6),
        "past_actions": (1, WINDOW - 1, 25),
        "present": (1, WINDOW - 1),
    }
    (folder / "weights-a.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"post_quant_conv\.weight, the mark of Oasis' autoencoder"):
        inspect_checkpoint(folder)


def test_frequencies_may_have_any_of_their_names_or_none() -> None:
    tensors = make_dit()
    computed = {f"{axis}_rotary_emb.freqs": torch.zeros(8) for axis in ("spatial", "temporal")}
    kept = convert_dit(tensors, computed)
    assert torch.equal(kept["temporal_rotary_emb.freqs"], tensors["blocks.0.t_attn.rotary_emb.freqs"])
    everywhere = {**kept, "blocks.1.t_attn.rotary_emb.freqs": kept["temporal_rotary_emb.freqs"]}
    assert convert_dit({f"module.{name}": t for name, t in everywhere.items()}, computed).keys() == kept.keys()
    bare = {name: tensor for name, tensor in tensors.items() if "rotary_emb" not in name}
    assert torch.equal(convert_dit(bare, computed)["temporal_rotary_emb.freqs"], torch.zeros(8))


def test_what_does_not_fit_is_named(folder: Path) -> None:
    zoo_ports.change_config(folder, {"dit": {"input_h": 8, "input_w": 6}})
    with pytest.raises(ConfigError, match=r"config\.json: .*takes latents of \(4, 8, 6\).*makes \(4, 4, 6\)"):
        inspect_checkpoint(folder)
    zoo_ports.change_config(folder, {"dit": {"input_h": 4, "input_w": 6, "mlp_width": 96}})
    with pytest.raises(CheckpointError, match=r"blocks\.0\.s_mlp\.fc1\.weight: has shape \(64, 32\).*\(96, 32\)"):
        inspect_checkpoint(folder)
    zoo_ports.change_config(folder, {"dit": {"input_h": 4, "input_w": 6}})
    zoo_ports.change_config(folder, {"prompt_frames": WINDOW}, "worldport.json")
    with pytest.raises(ConfigError, match=r"worldport\.json: .*prompt_frames 5 leave no room in a window of 5"):
        inspect_checkpoint(folder)


def test_the_exported_window_feeds_itself_past_eviction(model: WorldModel, tmp_path: Path) -> None:
    frames, error = zoo_ports.roll_out(model, ("recorder",), tmp_path, 2 * WINDOW)
    zoo_ports.check_alive(frames)
    assert error < 1e-4


@pytest.mark.slow
def test_it_is_ported_whole(tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(zoo.build("oasis", tmp_path / "m"), tmp_path / "port")
    zoo_ports.check_proved(target, output)
