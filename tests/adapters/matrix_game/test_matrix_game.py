"""Matrix-Game 2: chunks past the rings' eviction are those of the published network, written over the stored names."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import zoo
from porting.adapters.matrix_game.actions import Windows
from porting.adapters.matrix_game.config import ActionConfig
from porting.adapters.matrix_game.modules import Denoiser
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError, StateContractError
from porting.export import export_component
from porting.rollout import Rollout
from porting.runners.eager import TorchRunner
from tests.adapters import zoo_ports
from zoo.matrix_game import ACTIONS, CHANNELS, CONDITION, CONFIG, IMAGE_WIDTH, make_tensors

CHUNK, PLACES, LAYERS, SLOTS, RATIO, TOLD = 2, 4, 2, 2, 2, 6
"""Latent frames of a chunk, tokens of one, blocks, slots of the rings, pictures of a latent frame, those it is told."""


ENTRY = "matrix-game-2"
"""That `original`, `model` and `folder` are of."""


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Session:
    """So many chunks, all but the last finished, and what they are told."""

    def __init__(self, chunks: int) -> None:
        frames = chunks * CHUNK
        self.chunks = chunks
        self.latents = draw(1, 1, frames, CHANNELS, 4, 4)
        self.condition = draw(2, 1, frames, CONDITION, 4, 4)
        self.image = draw(3, 1, 5, IMAGE_WIDTH)
        self.keyboard = draw(4, 1, 1 + RATIO * (frames - 1), 4)
        self.mouse = draw(5, 1, 1 + RATIO * (frames - 1), 2)
        self.timestep = 625.0

    def slots(self, chunk: int) -> dict[int, int]:
        """Slot of either ring -> the chunk in it when this one is made."""
        return {older % SLOTS: older for older in range(max(0, chunk - SLOTS), chunk)}


class Published:
    """The published forward over all frames at their absolute positions, masked to what each chunk's caches held."""

    def __init__(self) -> None:
        self.weights = make_tensors()

    def linear(self, x: Tensor, name: str) -> Tensor:
        made = x @ self.weights[f"{name}.weight"].T
        return made + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else made

    def norm(self, x: Tensor, name: str | None = None, eps: float = 1e-6) -> Tensor:
        weight, bias = (self.weights.get(f"{name}.{kind}") for kind in ("weight", "bias"))
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    @staticmethod
    def root(x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)

    @staticmethod
    def turn(x: Tensor, angles: Tensor) -> Tensor:
        """x (..., places, width), angles (places, turned / 2): pairs as complex numbers."""
        count = 2 * angles.shape[-1]
        turned = torch.view_as_complex(x[..., :count].double().unflatten(-1, (-1, 2)).contiguous())
        turned = torch.view_as_real(turned * torch.polar(torch.ones_like(angles), angles)).flatten(-2).float()
        return torch.cat([turned, x[..., count:]], dim=-1)

    @staticmethod
    def frequencies(width: int, base: float = 10000.0) -> Tensor:
        return base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)

    def attend(self, block: str, x: Tensor, angles: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (self.linear(x, f"{block}.self_attn.{kind}") for kind in "qkv")
        query = self.root(query) * self.weights[f"{block}.self_attn.norm_q.weight"]
        key = self.root(key) * self.weights[f"{block}.self_attn.norm_k.weight"]
        query, key, value = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in (query, key, value))
        made = F.scaled_dot_product_attention(self.turn(query, angles), self.turn(key, angles), value, mask)
        return self.linear(made.transpose(1, 2).flatten(2), f"{block}.self_attn.o")

    def look(self, block: str, x: Tensor, context: Tensor) -> Tensor:
        query = self.root(self.linear(x, f"{block}.cross_attn.q")) * self.weights[f"{block}.cross_attn.norm_q.weight"]
        key = self.root(self.linear(context, f"{block}.cross_attn.k"))
        key = key * self.weights[f"{block}.cross_attn.norm_k.weight"]
        value = self.linear(context, f"{block}.cross_attn.v")
        query, key, value = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in (query, key, value))
        made = F.scaled_dot_product_attention(query, key, value)
        return self.linear(made.transpose(1, 2).flatten(2), f"{block}.cross_attn.o")

    def act(self, block: str, x: Tensor, keyboard: Tensor, mouse: Tensor, mask: Tensor) -> Tensor:
        name, frames = f"{block}.action_model", x.shape[1] // PLACES
        angles = torch.arange(frames)[:, None] * self.frequencies(8, 256.0)

        def group(actions: Tensor) -> Tensor:
            padded = torch.cat([actions[:, :1].repeat(1, TOLD, 1), actions], dim=1)
            return torch.stack([padded[:, RATIO * i : RATIO * i + TOLD] for i in range(frames)], dim=1).flatten(2)

        rows = x.unflatten(1, (frames, PLACES))[0].transpose(0, 1)
        seen = torch.cat([rows, group(mouse).repeat(PLACES, 1, 1)], dim=-1)
        seen = F.gelu(self.linear(seen, f"{name}.mouse_mlp.0"), approximate="tanh")
        seen = self.norm(self.linear(seen, f"{name}.mouse_mlp.2"), f"{name}.mouse_mlp.3", 1e-5)
        qkv = self.linear(seen, f"{name}.t_qkv").chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in qkv)
        query, key = self.turn(self.root(query), angles), self.turn(self.root(key), angles)
        made = F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)
        x = x + self.linear(made.transpose(0, 1).flatten(0, 1)[None], f"{name}.proj_mouse")
        embedded = self.linear(keyboard, f"{name}.keyboard_embed.0")
        embedded = self.linear(F.silu(embedded), f"{name}.keyboard_embed.2")
        key, value = self.linear(group(embedded), f"{name}.keyboard_attn_kv").chunk(2, dim=-1)
        key, value = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in (key, value))
        query = self.linear(x, f"{name}.mouse_attn_q").unflatten(1, (frames, PLACES))[0].transpose(0, 1)
        query = self.turn(self.root(query.unflatten(-1, (2, -1)).transpose(1, 2)), angles)
        key = self.turn(self.root(key), angles).expand(PLACES, -1, -1, -1)
        made = F.scaled_dot_product_attention(query, key, value.expand(PLACES, -1, -1, -1), mask)
        made = made.transpose(1, 2).flatten(2).transpose(0, 1).flatten(0, 1)[None]
        return x + self.linear(made, f"{name}.proj_keyboard")

    def velocity(self, session: Session) -> Tensor:
        """Of the last chunk's latents (1, T, C, h, w)."""
        weights, frames = self.weights, session.chunks * CHUNK
        whole = torch.cat([session.latents, session.condition], dim=2).transpose(1, 2)
        patches = F.conv3d(whole, weights["patch_embedding.weight"], weights["patch_embedding.bias"], stride=(1, 2, 2))
        x = patches.flatten(2).transpose(1, 2)
        times = torch.zeros(frames)
        times[-CHUNK:] = session.timestep
        waves = times[:, None] * (-math.log(10000) * torch.arange(16) / 16).exp()
        embedded = self.linear(torch.cat([waves.cos(), waves.sin()], dim=-1), "time_embedding.0")
        embedded = self.linear(F.silu(embedded), "time_embedding.2")
        modulation = self.linear(F.silu(embedded), "time_projection.1").unflatten(1, (6, -1))
        context = self.linear(self.norm(session.image, "img_emb.proj.0", 1e-5), "img_emb.proj.1")
        context = self.norm(self.linear(F.gelu(context), "img_emb.proj.3"), "img_emb.proj.4", 1e-5)
        f, h, w = (grid.flatten() for grid in torch.meshgrid(*map(torch.arange, (frames, 2, 2)), indexing="ij"))
        angles = torch.cat([place[:, None] * self.frequencies(8) for place in (f, h, w)], dim=-1)
        chunks = torch.eye(session.chunks, dtype=torch.bool)
        for chunk in range(session.chunks):
            chunks[chunk, list(session.slots(chunk).values())] = True
        of_frames = chunks.repeat_interleave(CHUNK, 0).repeat_interleave(CHUNK, 1)
        of_tokens = of_frames.repeat_interleave(PLACES, 0).repeat_interleave(PLACES, 1)
        for index in range(LAYERS):
            block = f"blocks.{index}"
            told = (weights[f"{block}.modulation"] + modulation).repeat_interleave(PLACES, 0)[None].unbind(2)
            x = x + told[2] * self.attend(block, self.norm(x) * (1 + told[1]) + told[0], angles, of_tokens)
            x = x + self.look(block, self.norm(x, f"{block}.norm3"), context)
            if index in ACTIONS["blocks"]:  # type: ignore[operator]
                x = self.act(block, x, session.keyboard, session.mouse, of_frames)
            hidden = self.linear(self.norm(x) * (1 + told[4]) + told[3], f"{block}.ffn.0")
            x = x + told[5] * self.linear(F.gelu(hidden, approximate="tanh"), f"{block}.ffn.2")
        told = (weights["head.modulation"] + embedded[:, None]).repeat_interleave(PLACES, 0)[None].unbind(2)
        x = self.linear(self.norm(x) * (1 + told[1]) + told[0], "head.head").reshape(1, frames, 2, 2, 2, 2, CHANNELS)
        return torch.einsum("nthwpqc->ntchpwq", x).reshape(session.latents.shape)[:, -CHUNK:]


def run(model: WorldModel, session: Session) -> Tensor:
    """The same by the rings, chunk by chunk, the actions through the host's components."""
    states = {state.tensor.name: torch.zeros(state.tensor.shape) for state in model.program.states}
    rings = {state.tensor.name for state in model.program.states if state.update == "ring"}
    spec = model.program.component("denoiser")
    pasts: dict[str, Tensor] = {}
    made = torch.zeros(())
    with torch.no_grad():
        kept = model.modules["conditioner"](session.image)
        states |= dict(zip([t.name for t in model.program.component("conditioner").outputs], kept, strict=True))
        for chunk in range(session.chunks):
            own = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
            if chunk == 0:
                first = 1 + RATIO * (CHUNK - 1)
                opened = model.modules["opener"](session.keyboard[:, :first], session.mouse[:, :first])
                names = ("past_keyboard", "keyboard", "past_mouse", "mouse")
                given = dict(zip(names, opened, strict=True))
            else:
                pictures = slice(RATIO * (own.start - 1) + 1, RATIO * (own.stop - 1) + 1)
                given = {**pasts, "keyboard": session.keyboard[:, pictures], "mouse": session.mouse[:, pictures]}
            told = model.modules["windows"](*(given[t.name] for t in model.program.component("windows").inputs))
            pasts = {"past_keyboard": told[1], "past_mouse": told[3]}
            age = torch.zeros(SLOTS, dtype=torch.int64)
            for slot, older in session.slots(chunk).items():
                age[slot] = chunk - older
            latents = session.latents[:, own]
            level = torch.tensor([session.timestep if chunk == session.chunks - 1 else 0.0])
            inputs = {
                **states, "latents": latents, "noise": latents, "timestep": level, "next_timestep": torch.zeros(1),
                "condition": session.condition[:, own], "age": age, "action_age": age, "keyboard_windows": told[0],
                "mouse_windows": told[2],
            }  # fmt: skip
            made, *new = model.modules["denoiser"](*(inputs[t.name] for t in spec.inputs))
            for output, value in zip(spec.outputs[1:], new, strict=True):
                assert output.name.removeprefix("new_") in rings
                states[output.name.removeprefix("new_")][:, :, chunk % SLOTS] = value
    return (session.latents[:, -CHUNK:] - made) / (session.timestep / 1000)


def error(model: WorldModel, chunks: int) -> float:
    session = Session(chunks)
    wanted = Published().velocity(session)
    return float((run(model, session) - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_a_chunk_is_that_of_the_published_network(model: WorldModel, chunks: int) -> None:
    """With empty rings, a part, and rings that have evicted."""
    assert error(model, chunks) < 1e-4


def lose_ages(denoiser: Denoiser) -> None:
    denoiser.action_rotation.age_cos.zero_()
    denoiser.action_rotation.age_sin.zero_()


def change_base(denoiser: Denoiser) -> None:
    places = torch.arange(CHUNK)[:, None] * Published.frequencies(8, 100.0)
    denoiser.action_rotation.cos.copy_(places.cos())
    denoiser.action_rotation.sin.copy_(places.sin())


def swap_keys(denoiser: Denoiser) -> None:
    embed: Any = denoiser.actions["0"]
    embed.keyboard_embed[0].weight = torch.nn.Parameter(embed.keyboard_embed[0].weight.flip(1))


@pytest.mark.parametrize("spoil", [lose_ages, change_base, swap_keys])
def test_actions_that_are_followed_otherwise_are_noticed(spoil: Callable[[Denoiser], None], original: Path) -> None:
    spoilt = load_world_model(original)
    denoiser = spoilt.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    spoil(denoiser)
    assert error(spoilt, 3) > 1e-3


class Forgetful(Windows):
    """Tells of a chunk's own actions alone."""

    def forward(self, *actions: Tensor) -> tuple[Tensor, ...]:
        """See `Windows.forward`."""
        pairs = zip(actions[::2], actions[1::2], strict=True)
        return super().forward(*(one for past, own in pairs for one in (torch.zeros_like(past), own)))


def test_actions_that_are_forgotten_are_named(model: WorldModel, tmp_path: Path) -> None:
    forgetful = Forgetful(ActionConfig.model_validate(ACTIONS), CHUNK).eval()
    spoilt = replace(model, modules={**model.modules, "windows": forgetful})
    with pytest.raises(StateContractError, match=r"windows: input `past_keyboard` does not reach any output"):
        export_component(spoilt, "windows", tmp_path, zoo_ports.OPSET)


def test_headers_tell_actions_and_both_rings(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert found.family == "matrix_game"
    assert {ring.name: (ring.window, ring.sink) for ring in found.program.rings} == {
        "memory": (SLOTS, 0), "actions": (SLOTS, 0)
    }  # fmt: skip
    shapes = {state.tensor.name: state.tensor.shape for state in model.program.states}
    assert shapes["mouse_key_0"] == (PLACES, 2, SLOTS, CHUNK, 16)
    assert shapes["keyboard_value_0"] == (1, 2, SLOTS, CHUNK, 16)
    assert shapes["past_mouse"] == (1, TOLD - 1, 2)
    assert "mouse_key_1" not in shapes
    given = {one.tensor.name: (one.kind, one.scope, one.tensor.shape) for one in model.program.inputs}
    assert given["keyboard"] == ("action", "frame", (1, CHUNK * RATIO, 4))
    assert given["opening_mouse"] == ("action", "session", (1, 3, 2))
    assert given["image"] == ("conditioning", "session", (1, 5, IMAGE_WIDTH))


def test_every_stored_tensor_is_where_its_name_says(model: WorldModel) -> None:
    own = model.modules["denoiser"].state_dict()
    tensors = make_tensors()
    for ours, theirs in (
        ("transformer.blocks.1.attn1.to_q.weight", "blocks.1.self_attn.q.weight"),
        ("transformer.blocks.1.norm2.weight", "blocks.1.norm3.weight"),
        ("transformer.condition_embedder.image_embedder.ff.net.2.bias", "img_emb.proj.3.bias"),
        ("actions.0.keyboard_attn_kv.weight", "blocks.0.action_model.keyboard_attn_kv.weight"),
        ("actions.0.mouse_mlp.3.bias", "blocks.0.action_model.mouse_mlp.3.bias"),
    ):
        assert torch.equal(own[ours], tensors[theirs]), ours


def test_every_action_shapes_its_chunk(model: WorldModel) -> None:
    """All but the last picture's: what is told ends before it, so that it shapes the next chunk alone."""
    runners = {s.name: TorchRunner(model.modules[s.name], s, compute="fp32") for s in model.program.components}
    rollout, sample = Rollout(model.program, runners), model.samples[0]
    noise = {
        given.tensor.name: draw(5, *given.tensor.shape).numpy()
        for given in model.program.inputs
        if given.kind == "noise"
    }
    frames: dict[tuple[str, int], list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = {}
    for changed, picture in (("", 0), ("keyboard", 0), ("keyboard", 3), ("mouse", 2), ("mouse", 3)):
        rollout.open(sample.session_inputs)
        frames[changed, picture] = []
        for index in range(2):
            given = {name: array[index].copy() for name, array in sample.frame_inputs.items()}
            if changed and index == 0:
                given[changed][:, picture] += 1
            frames[changed, picture].append(rollout.step({**noise, **given}).copy())
    plain = frames.pop(("", 0))
    for (changed, picture), made in frames.items():
        moved = [float(np.abs(one - other).max()) for one, other in zip(made, plain, strict=True)]
        assert (moved[0] > 1e-5) == (picture < 3), (changed, picture, moved)
        assert moved[1] > 1e-5, (changed, picture, moved)


def test_what_does_not_fit_is_named(folder: Path) -> None:
    for changes, words in (
        ({"action_config": {**ACTIONS, "blocks": [2]}}, r"action_config\.blocks name block 2 of 2"),
        ({"action_config": {**ACTIONS, "mouse_hidden_dim": 48}}, r"mouse_hidden_dim 48 over 2 heads is not 16"),
        ({"action_config": {**ACTIONS, "enable_keyboard": False}}, r"every published model has a keyboard"),
        ({"action_config": {**ACTIONS, "vae_time_compression_ratio": 4}}, r"latent frames stand for 2 pictures"),
        ({"action_config": {**ACTIONS, "keyboard_dim_in": 7}}, r"keyboard_embed\.0\.weight: has shape \(8, 4\)"),
        ({"in_dim": 16}, r"in_dim 16 has no room for the opening picture"),
        ({"local_attn_size": 5}, r"window 5 is not a multiple of chunk 2"),
    ):
        zoo_ports.change_config(folder, {**CONFIG, **changes})
        with pytest.raises((ConfigError, CheckpointError), match=words):
            inspect_checkpoint(folder)


def test_a_config_without_actions_is_another_familys(folder: Path) -> None:
    zoo_ports.change_config(folder, {"action_config": None})
    with pytest.raises(
        CheckpointError, match=r"of family wan_causal .*, not matrix_game, which finds: .*lacks action_config"
    ):
        inspect_checkpoint(f"matrix_game@{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"lacks action_config"):  # recognised by its tensors alone
        inspect_checkpoint(folder)


def test_a_world_without_a_mouse(folder: Path) -> None:
    """As published for Temple Run."""
    zoo_ports.change_config(folder, {"action_config": {**ACTIONS, "enable_mouse": False}})
    path = folder / "base_distill.safetensors"
    gone = ("mouse_mlp", "t_qkv", "img_attn", "proj_mouse")
    save_file({n: t for n, t in load_file(path).items() if not any(part in n for part in gone)}, path)
    found = load_world_model(folder)
    assert [one.tensor.name for one in found.program.inputs if one.kind == "action"] == ["opening_keyboard", "keyboard"]
    runners = {s.name: TorchRunner(found.modules[s.name], s, compute="fp32") for s in found.program.components}
    rollout, sample = Rollout(found.program, runners), found.samples[0]
    rollout.open(sample.session_inputs)
    noise = {one.tensor.name: draw(6, *one.tensor.shape).numpy() for one in found.program.inputs if one.kind == "noise"}
    given = {name: array[0] for name, array in sample.frame_inputs.items()}
    assert np.isfinite(rollout.step({**noise, **given})).all()


def test_actions_of_another_width_are_named(folder: Path, model: WorldModel) -> None:
    sample = {}
    for one in model.program.inputs:
        if one.kind != "noise":
            lead = (1,) if one.scope == "session" else (1, 3)
            sample[one.tensor.name] = torch.zeros(*lead, *one.tensor.shape)
    sample["keyboard"] = torch.zeros(1, 3, 1, CHUNK * RATIO, 7)
    save_file(sample, folder / "sample.safetensors")
    with pytest.raises(CheckpointError, match=r"keyboard: is \(1, 3, 1, 4, 7\) float32, the model takes .*1, 4, 4\)"):
        load_world_model(folder)


def test_the_published_size_is_inspected_without_weights() -> None:
    found = inspect_checkpoint("config:matrix-game-2-universal")
    assert found.family == "matrix_game"
    assert found.parameters == pytest.approx(1.69e9, rel=0.03)


@pytest.mark.slow
def test_it_is_ported_whole(tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(zoo.build("matrix-game-2", tmp_path / "m"), tmp_path / "port")
    zoo_ports.check_proved(target, output)
