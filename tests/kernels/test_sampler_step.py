"""The sampler's step: the bundled model's own arithmetic, every variant of it, what it refuses, and its mutants."""

from typing import Any

import pytest
import torch
from torch import Tensor

from porting.kernel_library import kernel_paths, load_kernel
from tests.kernels.harness import killed, launched

KERNEL = load_kernel(kernel_paths()["sampler_step"])
LEVEL, NEXT = torch.tensor([1.0, 0.7, 0.25]), torch.tensor([0.8, 0.35, 0.0])


def tensors(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(8)
    return torch.randn(shape), torch.randn(shape), torch.randn(shape)


def stepped(*inputs: Any) -> Tensor:
    (out,) = launched(KERNEL, inputs, BLOCK=64)
    return out


def test_without_guidance_it_is_the_step_of_the_bundled_denoiser() -> None:
    latent, clean, _ = tensors(3, 4, 5, 7)
    level, next_level = LEVEL.view(-1, 1, 1, 1), NEXT.view(-1, 1, 1, 1)
    velocity = (latent - clean) / level
    expected = latent + (next_level - level) * velocity
    torch.testing.assert_close(stepped(latent, clean, None, LEVEL, NEXT, 1.0, "clean"), expected)


def test_guidance_goes_from_the_unconditional_to_the_conditional_velocity_and_beyond() -> None:
    latent, conditional, unconditional = tensors(3, 40)
    expected = latent + (NEXT - LEVEL)[:, None] * (unconditional + 3.0 * (conditional - unconditional))
    torch.testing.assert_close(stepped(latent, conditional, unconditional, LEVEL, NEXT, 3.0, "velocity"), expected)


def test_guiding_the_clean_latent_is_guiding_the_velocity() -> None:
    latent, conditional, unconditional = tensors(3, 4, 30)
    level = LEVEL.view(-1, 1, 1)
    by_clean = stepped(latent, conditional, unconditional, LEVEL, NEXT, 4.5, "clean")
    velocities = ((latent - conditional) / level, (latent - unconditional) / level)
    torch.testing.assert_close(
        by_clean, stepped(latent, *velocities, LEVEL, NEXT, 4.5, "velocity"), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_scale_0_is_the_unconditional_and_scale_1_the_conditional_prediction(scale: float) -> None:
    latent, conditional, unconditional = tensors(3, 100)
    guided = stepped(latent, conditional, unconditional, LEVEL, NEXT, scale, "clean")
    plain = stepped(latent, conditional if scale else unconditional, None, LEVEL, NEXT, 1.0, "clean")
    torch.testing.assert_close(guided, plain)


def test_the_step_to_level_0_ends_at_the_clean_latent() -> None:
    latent, clean, _ = tensors(2, 50)
    end = stepped(latent, clean, None, torch.tensor([0.9, 0.1]), torch.zeros(2), 1.0, "clean")
    torch.testing.assert_close(end, clean, rtol=0, atol=5e-7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prediction": "noise"}, "one of clean, velocity"),
        ({"unconditional": None}, "give both, or 1 and None"),
        ({"conditional": torch.ones(2, 9)}, "conditional is"),
        ({"unconditional": torch.ones(2, 8).half()}, "unconditional is"),
        ({"latent": torch.ones(8, 2).T}, "latent is"),
        ({"level": torch.ones(1)}, "level is"),
        ({"next_level": torch.ones(2, 1)}, "next_level is"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    inputs = dict.fromkeys(("latent", "conditional", "unconditional"), torch.ones(2, 8))
    inputs |= dict.fromkeys(("level", "next_level"), torch.ones(2))
    with pytest.raises(ValueError, match=words):
        KERNEL.launch(**{**inputs, "guidance_scale": 2.0, "prediction": "clean", **change})


MUTANTS = {
    "scale on the other branch": (
        "unconditional + guidance_scale * (guided - unconditional)",
        "guided + guidance_scale * (unconditional - guided)",
    ),
    "guidance backwards": ("(guided - unconditional)", "(unconditional - guided)"),
    "scale one less": ("unconditional + guidance_scale * (guided", "unconditional + (guidance_scale - 1) * (guided"),
    "from the conditional": ("        guided = unconditional +", "        guided = guided +"),
    "no guidance": ("if GUIDED:", "if False:"),
    "levels exchanged": (
        "tl.load(next_level_ptr + sample).to(tl.float32) - level",
        "level - tl.load(next_level_ptr + sample).to(tl.float32)",
    ),
    "divided by the next level": (
        "step = tl.div_rn(step, level)",
        "step = tl.div_rn(step, level + step + 1e-6)",
    ),
    "away from the clean latent": ("step = tl.div_rn(step, level)", "step = -tl.div_rn(step, level)"),
    "velocity not divided by the level": ("step = tl.div_rn(step, level)", "step = step"),
    "clean latent for the velocity": ("guided = latent - guided", "guided = guided"),
    "velocity backwards": ("guided = latent - guided", "guided = guided - latent"),
    "level of the first sample": ("tl.load(level_ptr + sample)", "tl.load(level_ptr)"),
    "next level of the first sample": ("tl.load(next_level_ptr + sample)", "tl.load(next_level_ptr)"),
    "samples overlap": ("place = sample * width + column", "place = sample * 2 + column"),
    "one value too many": ("inside = column < width", "inside = column <= width"),
    "the last value is not written": ("inside = column < width", "inside = column < width - 1"),
    "first block only": ("tl.program_id(0).to(tl.int64) * BLOCK", "tl.program_id(0).to(tl.int64) * 0"),
    "in bf16": (
        "latent = tl.load(latent_ptr + place, mask=inside, other=0.0).to(tl.float32)",
        "latent = tl.load(latent_ptr + place, mask=inside, other=0.0).to(tl.bfloat16).to(tl.float32)",
    ),
    "levels in bf16": (
        "level = tl.load(level_ptr + sample).to(tl.float32)\n",
        "level = tl.load(level_ptr + sample).to(tl.bfloat16).to(tl.float32)\n",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("sampler_step", *MUTANTS[mutant])
