import pytest
import torch
from pydantic import ValidationError

from porting.adapters.gwm.autoencoder import Decoder, DecoderFirst, DecoderSteady, Encoder
from porting.adapters.gwm.config import HD_2B, MINI, GwmConfig
from porting.adapters.gwm.denoiser import Denoiser, Past
from porting.adapters.gwm.world_model import build_modules, build_program, random_world_model

SMALL = MINI.model_copy(
    update={
        "frame_height": 32,
        "frame_width": 48,
        "denoiser": MINI.denoiser.model_copy(
            update={"width": 32, "heads": 2, "depth": 2, "mlp_width": 48, "window": 5}
        ),
    }
)


def changed(config: GwmConfig, section: str, **values: object) -> GwmConfig:
    """The config with some values replaced, validated anew."""
    table = config.model_dump()
    table[section] |= values
    return GwmConfig.model_validate(table)


@pytest.fixture(scope="module")
def modules() -> dict[str, torch.nn.Module]:
    return random_world_model(SMALL, seed=3).modules


def ring_inputs(config: GwmConfig, slots: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    d = config.denoiser
    shape = (1, d.heads, slots, config.tokens_per_frame, d.head_width)
    return [torch.randn(shape, generator=generator) for _ in range(2 * d.depth)]


def step(
    denoiser: Denoiser, age: list[int], rings: list[torch.Tensor], action: float = 0.3
) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    latent_shape = denoiser.config.latent_shape
    result: tuple[torch.Tensor, ...] = denoiser(
        torch.randn(1, *latent_shape, generator=generator),
        torch.randn(1, 2, *latent_shape, generator=generator),
        torch.tensor([1.0]),
        torch.tensor([0.5]),
        torch.tensor([[action, -action]]),
        torch.tensor(age),
        *rings,
    )
    return result


@pytest.mark.parametrize("temporal_kernel", [2, 3])
def test_streaming_decoder_equals_decoding_the_whole_clip(temporal_kernel: int) -> None:
    config = changed(SMALL, "autoencoder", temporal_kernel=temporal_kernel)
    decoder = random_world_model(config, seed=1).modules["decoder"].decoder
    assert isinstance(decoder, Decoder)
    latents = torch.randn(1, 6, *config.latent_shape, generator=torch.Generator().manual_seed(2))
    whole = decoder(latents).clamp(0, 1)
    frame, *caches = DecoderFirst(decoder)(latents[:, 0])
    frames = [frame]
    for t in range(1, 6):
        frame, *caches = DecoderSteady(decoder)(latents[:, t], *caches)
        frames.append(frame)
    torch.testing.assert_close(torch.stack(frames, 1), whole, atol=2e-6, rtol=0)
    assert [tuple(c.shape) for c in caches] == decoder.cache_shapes(*config.latent_shape[1:])


def test_decoder_depends_on_its_caches(modules: dict[str, torch.nn.Module]) -> None:
    latent = torch.randn(1, *SMALL.latent_shape)
    _, *caches = modules["decoder_first"](latent)
    usual = modules["decoder"](latent * 0.5, *caches)[0]
    for index in range(len(caches)):
        emptied = [c * 0 if i == index else c for i, c in enumerate(caches)]
        assert (modules["decoder"](latent * 0.5, *emptied)[0] - usual).abs().max() > 1e-3


def test_encoder_is_causal(modules: dict[str, torch.nn.Module]) -> None:
    encoder = modules["encoder"]
    assert isinstance(encoder, Encoder)
    clip = torch.rand(1, 5, 3, 32, 48)
    other = clip.clone()
    other[:, 3:] = torch.rand(1, 2, 3, 32, 48)
    before, after = encoder(clip), encoder(other)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert (before[:, 3] - after[:, 3]).abs().max() > 1e-3


def test_order_of_slots_does_not_matter_but_ages_do(modules: dict[str, torch.nn.Module]) -> None:
    denoiser = modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    rings = ring_inputs(SMALL, slots=5)
    usual = step(denoiser, [9, 1, 2, 3, 4], rings)[0]
    turned = [0, 4, 1, 2, 3]
    moved = [r[:, :, turned] for r in rings]
    torch.testing.assert_close(step(denoiser, [9, 4, 1, 2, 3], moved)[0], usual, atol=1e-5, rtol=1e-5)
    assert (step(denoiser, [9, 1, 2, 3, 4], moved)[0] - usual).abs().max() > 1e-4


def test_sink_is_as_old_as_the_ring_reaches(modules: dict[str, torch.nn.Module]) -> None:
    denoiser = modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    rings = ring_inputs(SMALL, slots=5)
    at_thousand = step(denoiser, [1_000, 1, 2, 3, 4], rings)
    at_million = step(denoiser, [1_000_000, 1, 2, 3, 4], rings)
    for thousand, million in zip(at_thousand, at_million, strict=True):
        assert torch.equal(thousand, million)
    without = step(denoiser, [0, 1, 2, 3, 4], rings)
    assert (without[0] - at_million[0]).abs().max() > 1e-4


def test_slots_never_written_are_not_seen(modules: dict[str, torch.nn.Module]) -> None:
    denoiser = modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    rings = ring_inputs(SMALL, slots=5)
    filled = [r.clone() for r in rings]
    for ring in filled:
        ring[:, :, 3:] = 1e4
    usual, hidden = (step(denoiser, [3, 2, 1, 0, 0], r) for r in (rings, filled))
    assert all(torch.equal(a, b) for a, b in zip(usual, hidden, strict=True))
    short = Past(SMALL, torch.tensor([3, 2, 1]), tuple(r[:, :, :3] for r in rings))
    assert short.mask.shape[-1] == 4 * SMALL.tokens_per_frame


def test_every_input_matters(modules: dict[str, torch.nn.Module]) -> None:
    denoiser = modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    rings = ring_inputs(SMALL, slots=5)
    usual = step(denoiser, [9, 1, 2, 3, 4], rings)[0]
    assert (step(denoiser, [9, 1, 2, 3, 4], rings, action=0.9)[0] - usual).abs().max() > 1e-3
    for index in range(len(rings)):
        other = [r * 0.5 if i == index else r for i, r in enumerate(rings)]
        assert (step(denoiser, [9, 1, 2, 3, 4], other)[0] - usual).abs().max() > 1e-4


def test_two_billion_parameters_at_720p_are_described_without_memory() -> None:
    with torch.device("meta"):
        modules = build_modules(HD_2B)
    parameters = sum(p.numel() for name in ("encoder", "denoiser", "decoder") for p in modules[name].parameters())
    assert 1.9e9 < parameters < 2.1e9
    program = build_program(HD_2B)
    assert program.component("decoder").outputs[0].shape == (1, 3, 720, 1280)
    assert HD_2B.tokens_per_frame == 3600
    assert len(program.states) == 1 + 2 * 30 + len(program.component("decoder").inputs) - 1


@pytest.mark.parametrize(
    ("section", "values", "complaint"),
    [
        ("denoiser", {"heads": 5}, "multiple of 8"),
        ("denoiser", {"sink": 5}, "leaves no slot"),
        ("sampler", {"noise_levels": (1.0, 1.0)}, "must start at 1.0 and fall"),
        ("sampler", {"noise_levels": (0.9, 0.5)}, "must start at 1.0 and fall"),
        ("autoencoder", {"temporal_kernel": 1}, "temporal_kernel"),
        ("autoencoder", {"patch": 7}, "not a multiple of"),
        ("denoiser", {"windw": 5}, "windw"),
    ],
)
def test_impossible_configs_are_refused(section: str, values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        changed(SMALL, section, **values)
