"""Causal Wan: chunks past the ring's eviction are those of the published network under a windowed causal mask."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanAttnProcessor, WanTransformer3DModel
from torch import Tensor

import zoo
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.wan_causal.config import Settings
from porting.adapters.wan_causal.modules import Denoiser
from porting.adapters.world_model import WorldModel
from porting.errors import CheckpointError, ConfigError, StateContractError
from porting.export import export_component
from porting.rollout import Rollout
from porting.runners.eager import TorchRunner
from tests.adapters import zoo_ports
from zoo.wan import make_transformer
from zoo.wan_causal import CHANNELS, SETTINGS

CHUNK, TOKENS, LAYERS, SLOTS = 2, 8, 2, 3
"""Latent frames of a chunk, its tokens, the network's blocks, the ring's slots."""


ENTRY = "wan-causal"
"""That `original`, `model` and `folder` are of."""


@pytest.fixture
def denoiser(model: WorldModel) -> Denoiser:
    made = model.modules["denoiser"]
    assert isinstance(made, Denoiser)
    return made


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def visible(model: WorldModel, made: int) -> dict[int, int]:
    """Slot -> the chunk that it holds, when so many chunks were committed."""
    ring = model.program.ring("memory")
    return {ring.slot(chunk): chunk for chunk in range(made)}


class MaskedAttention(WanAttnProcessor):  # type: ignore[misc]
    """diffusers' own attention, with a mask over the sequence's tokens where it attends to itself."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None):  # type: ignore[no-untyped-def]
        """See the class."""
        mask = self.mask if encoder_hidden_states is None else None
        return super().__call__(attn, hidden_states, encoder_hidden_states, mask, rotary_emb)


def published_velocity(model: WorldModel, chunks: list[Tensor], timestep: float, prompt: Tensor) -> Tensor:
    """The velocity of the last chunk, all chunks in one pass of the published class at their absolute positions.

    Each chunk sees what its ring held when it was made; all but the last are clean.
    """
    network: WanTransformer3DModel = make_transformer(CHANNELS).eval()
    mask = torch.zeros(len(chunks), len(chunks), dtype=torch.bool)
    for chunk in range(len(chunks)):
        mask[chunk, [chunk, *visible(model, chunk).values()]] = True
    tokens = mask.repeat_interleave(TOKENS, 0).repeat_interleave(TOKENS, 1)
    for block in network.blocks:
        block.attn1.set_processor(MaskedAttention(tokens[None, None]))
    times = torch.tensor([0.0] * (len(chunks) - 1) + [timestep]).repeat_interleave(TOKENS)[None]
    with torch.no_grad():
        velocity: Tensor = network(torch.cat(chunks, 1).transpose(1, 2), times, prompt, return_dict=False)[0]
    return velocity.transpose(1, 2)[:, -CHUNK:]


def run(
    model: WorldModel, denoiser: Denoiser, chunks: list[Tensor], timestep: float, prompt: Tensor, wrong_by: int = 0
) -> Tensor:
    """The same by the ring: every chunk but the last is committed, the last denoised to its clean latents."""
    width = 24
    rings = [torch.zeros(1, 2, SLOTS, TOKENS, width) for _ in range(2 * LAYERS)]
    with torch.no_grad():
        prompts = model.modules["conditioner"](prompt)
        for index, latents in enumerate(chunks):
            age = torch.zeros(SLOTS, dtype=torch.int64)
            for slot, chunk in visible(model, index).items():
                age[slot] = index - chunk + wrong_by
            level = torch.tensor([timestep if index == len(chunks) - 1 else 0.0])
            made, *new = denoiser(latents, latents, level, torch.zeros(1), age, *prompts, *rings)
            slot = model.program.ring("memory").slot(index)
            for ring, slice_ in zip(rings, new, strict=True):
                ring[:, :, slot] = slice_
    velocity: Tensor = (chunks[-1] - made) / (timestep / 1000)
    return velocity


def test_headers_tell_parts_and_state(original: Path, model: WorldModel) -> None:
    found = inspect_checkpoint(original)
    assert found.family == "wan_causal"
    assert {c.name: c.weights for c in found.components} == {
        "conditioner": "self_forcing_dmd", "denoiser": "self_forcing_dmd", "decoder_first": "Wan2.1_VAE",
        "decoder": "Wan2.1_VAE", "joiner": "",
    }  # fmt: skip
    ring = model.program.ring("memory")
    assert (ring.window, ring.sink) == (3, 1)
    rings = [state.tensor for state in model.program.states if state.update == "ring"]
    assert [tensor.shape for tensor in rings] == [(1, 2, SLOTS, TOKENS, 24)] * 4
    assert model.program.pictures_per_frame == 4


def test_the_average_is_what_is_loaded(denoiser: Denoiser) -> None:
    state = denoiser.state_dict()
    for name, tensor in make_transformer(CHANNELS).state_dict().items():
        assert torch.equal(state[f"transformer.{name}"], tensor), name


@pytest.mark.parametrize("made", [0, 2, 3, 6])
def test_a_chunk_is_that_of_the_published_network(model: WorldModel, denoiser: Denoiser, made: int) -> None:
    """With an empty ring, a part, a full one, and one that has evicted."""
    chunks = [draw(10 + index, 1, CHUNK, CHANNELS, 4, 4) for index in range(made + 1)]
    prompt = draw(9, 1, 6, 24)
    wanted = published_velocity(model, chunks, 625.0, prompt)
    ours = run(model, denoiser, chunks, 625.0, prompt)
    assert torch.allclose(ours, wanted, atol=1e-4 * float(wanted.abs().max()))
    if made:
        wrong = run(model, denoiser, chunks, 625.0, prompt, wrong_by=1)
        assert not torch.allclose(wrong, wanted, atol=1e-4 * float(wanted.abs().max()))


def change_base(denoiser: Denoiser) -> None:
    angles = torch.arange(denoiser.rotation.age_cos.shape[0])[:, None] * CHUNK * 100.0 ** (-torch.arange(4) / 4)
    denoiser.rotation.age_cos.copy_(angles.cos())
    denoiser.rotation.age_sin.copy_(angles.sin())


def swap_layers(denoiser: Denoiser) -> None:
    first, second = denoiser.transformer.blocks
    first.attn1, second.attn1 = second.attn1, first.attn1


@pytest.mark.parametrize("spoil", [change_base, swap_layers])
def test_a_world_that_is_another_one_is_noticed(spoil: Callable[[Denoiser], None], original: Path) -> None:
    spoilt = load_world_model(original)
    denoiser = spoilt.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    spoil(denoiser)
    chunks = [draw(10 + index, 1, CHUNK, CHANNELS, 4, 4) for index in range(3)]
    prompt = draw(9, 1, 6, 24)
    wanted = published_velocity(spoilt, chunks, 625.0, prompt)
    assert not torch.allclose(
        run(spoilt, denoiser, chunks, 625.0, prompt), wanted, atol=1e-4 * float(wanted.abs().max())
    )


class Forgetful(Denoiser):
    """Looks back at the chunks of every block but the last."""

    def forward(self, latents: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """See `Denoiser.forward`."""
        caches = rest[4:]
        kept = (*caches[:-2], *(torch.zeros_like(ring) for ring in caches[-2:]))
        return super().forward(latents, *rest[:4], *kept)


def test_a_ring_that_is_dropped_is_named(folder: Path, tmp_path: Path) -> None:
    """Of a single block, which is exported sooner."""
    path = folder / "self_forcing_dmd.pt"
    sets = {key: {n: t for n, t in one.items() if ".blocks.1." not in n} for key, one in torch.load(path).items()}
    torch.save(sets, path)
    zoo_ports.change_config(folder, {"num_layers": 1})
    small = load_world_model(folder)
    whole = small.modules["denoiser"]
    assert isinstance(whole, Denoiser)
    forgetful = Forgetful(whole.transformer, (1, CHUNK, CHANNELS, 4, 4)).eval().requires_grad_(False)
    spoilt = replace(small, modules={**small.modules, "denoiser": forgetful})
    with pytest.raises(StateContractError, match=r"denoiser: input `key_0` does not reach any output"):
        export_component(spoilt, "denoiser", tmp_path, zoo_ports.OPSET)


def test_ages_stay_exact_for_ever(denoiser: Denoiser) -> None:
    """A ring without a sink looks the same at chunk 1,000,000; a sink's age ends where the table does."""
    keys = draw(1, 1, 2, SLOTS, TOKENS, 24)
    turn = denoiser.rotation.turn_back
    rows = denoiser.rotation.age_cos.shape[0]
    assert rows == 1024 // CHUNK
    end = turn(keys, torch.tensor([rows - 1, 2, 1]))
    assert torch.equal(turn(keys, torch.tensor([10**6, 2, 1])), end)
    assert not torch.equal(turn(keys, torch.tensor([rows - 2, 2, 1])), end)


def test_the_steps_are_mixed_as_the_published_sampler_does(model: WorldModel, denoiser: Denoiser) -> None:
    """x0 = x - sigma v, then (1 - sigma') x0 + sigma' noise; the last step ends at x0."""
    latents, noise, prompt = draw(1, 1, 2, 16, 4, 4), draw(2, 1, 2, 16, 4, 4), draw(3, 1, 6, 24)
    rings = [torch.zeros(1, 2, SLOTS, TOKENS, 24)] * 4
    with torch.no_grad():
        caches = (*model.modules["conditioner"](prompt), *rings)
        clean, mixed = (
            denoiser(latents, noise, torch.tensor([1000.0]), torch.tensor([t]), torch.zeros(3).long(), *caches)[0]
            for t in (0.0, 625.0)
        )
    assert torch.allclose(mixed, 0.375 * clean + 0.625 * noise, atol=1e-5)
    assert Settings(denoising_steps=(1000, 750, 500, 250), shift=5).timesteps == pytest.approx(
        (1000, 937.5, 833.3333, 625)
    )


@pytest.fixture
def rollout(model: WorldModel) -> Rollout:
    runners = {s.name: TorchRunner(model.modules[s.name], s, compute="fp32") for s in model.program.components}
    return Rollout(model.program, runners)


def test_a_prompt_and_the_opening_shape_a_session(model: WorldModel, rollout: Rollout) -> None:
    """Nothing that a session is conditioned on is lost on the way."""
    sample = model.samples[0]
    given = [one.tensor for one in model.program.inputs if one.kind == "noise"]
    noise = {tensor.name: draw(5, *tensor.shape).numpy() for tensor in given}
    frames = []
    for changed in (None, "prompt", "opening_noise_0", "opening_noise_1"):
        inputs = {name: array + np.float32(name == changed) for name, array in sample.session_inputs.items()}
        rollout.open(inputs)
        frames.append(rollout.step(noise).copy())
    for other in frames[1:]:
        assert float(np.abs(other - frames[0]).mean()) > 1e-3


def test_a_world_is_alive_past_eviction(model: WorldModel, tmp_path: Path) -> None:
    frames, _ = zoo_ports.roll_out(model, (), tmp_path, 8)
    zoo_ports.check_alive(frames)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": 7}, "window 7 is not a multiple of chunk 2"),
        ({"sink": 6}, "window 8 has no room for a chunk of 2 beside sink 6"),
        ({"window": 2, "sink": 0}, "window 2 has no room"),
        ({"denoising_steps": [500, 1000]}, "do not fall"),
        ({"window": 2000}, "window 2000 is over the 1024 frames that have rotations"),
        ({"height": 10}, "height 10 is not a multiple of 4"),
        ({"local_attn_size": 8}, "local_attn_size: Extra inputs"),
    ],
)
def test_settings_that_do_not_fit_are_named(folder: Path, changes: dict[str, object], words: str) -> None:
    zoo_ports.change_config(folder, changes, "worldport.json")
    with pytest.raises(ConfigError) as error:
        inspect_checkpoint(folder)
    assert words in str(error.value)
    assert str(folder / "worldport.json") in str(error.value)


def test_a_config_that_disagrees_and_a_missing_autoencoder(folder: Path) -> None:
    zoo_ports.change_config(folder, {"ffn_dim": 64})
    with pytest.raises(CheckpointError, match=r"has shape \(96, 48\)"):
        inspect_checkpoint(folder)
    zoo_ports.change_config(folder, {"ffn_dim": 96, "num_heads": 0})
    with pytest.raises(ConfigError, match=r"dim or num_heads is no size"):
        inspect_checkpoint(folder)
    zoo_ports.change_config(folder, {"num_heads": 2, "_class_name": None, "model_type": None})
    with pytest.raises(CheckpointError, match=r"several families recognise it: wan, wan_causal"):
        inspect_checkpoint(folder)
    zoo_ports.change_config(folder, {"family": "wan_causal"})
    assert inspect_checkpoint(folder).family == "wan_causal"
    (folder / "Wan2.1_VAE.pth").unlink()
    with pytest.raises(CheckpointError, match=r"has 0 parts that are a Wan transformer"):
        inspect_checkpoint(folder)


def test_a_single_latent_frame_is_a_chunk_too(folder: Path) -> None:
    zoo_ports.change_config(
        folder, {"chunk": 1, "window": 4, "sink": 1, "denoising_steps": SETTINGS["denoising_steps"]}, "worldport.json"
    )
    found = load_world_model(folder)
    assert found.program.pictures_per_frame == 2
    assert found.program.ring("memory").window == 3


def test_the_published_size_is_inspected_without_weights() -> None:
    found = inspect_checkpoint("config:self-forcing-1.3b")
    assert found.family == "wan_causal"
    assert found.parameters == pytest.approx(1.49e9, rel=0.02)


@pytest.mark.slow
def test_it_is_ported_whole(tmp_path: Path) -> None:
    _, target, output = zoo_ports.port(zoo.build("wan-causal", tmp_path / "m"), tmp_path / "port")
    zoo_ports.check_proved(target, output)
