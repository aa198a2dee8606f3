"""What conditions a clip's transformer: the sinusoid as published to the last digit, and prompts that are padded."""

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding

from porting.adapters.clip_flow import float_tensor, list_levels
from porting.adapters.conditioning import Sinusoid, draw_padded_prompts, exclude, keep_tokens
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source


@pytest.mark.parametrize("level", [1.0, 700.0, 1000.0, 6000.0])
def test_the_sinusoid_is_the_published_one(level: float) -> None:
    """To rounding of the cosine alone: frequencies of another rounding would differ by 6e-5 at a thousand."""
    wanted = get_timestep_embedding(torch.tensor([level]), 256, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert torch.allclose(Sinusoid()(torch.tensor([level])), wanted, atol=2e-7, rtol=0)


def test_missing_tokens_take_no_part_in_attention() -> None:
    mask = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 8]])
    assert keep_tokens(mask).tolist() == [[1, 1, 0, 0], [1, 0, 0, 1]]
    shares = torch.softmax(torch.tensor([3.0, -2, 40, 7]) + exclude(keep_tokens(mask)), dim=-1)
    assert torch.equal(shares == 0, keep_tokens(mask) == 0)


def test_drawn_prompts_fill_half_of_their_tokens_or_more() -> None:
    prompt, mask = float_tensor("prompt", (1, 8, 3)), float_tensor("prompt_mask", (1, 8))
    frame = float_tensor("frame", (1, 3, 2, 2))
    calls = {tensor.name: Source(kind="input", name=tensor.name) for tensor in (prompt, mask)}
    program = Program(
        components=(ComponentSpec(name="show", inputs=(prompt, mask), outputs=(frame,)),),
        inputs=tuple(InputSpec(tensor=tensor, scope="session", kind="conditioning") for tensor in (prompt, mask)),
        states=(),
        prime=(),
        frame=(Call(component="show", inputs=calls, outputs={"frame": Sink(kind="value", name="frame")}),),
    )
    for seed in range(20):
        drawn = draw_padded_prompts(program, np.random.default_rng(seed), 3).session_inputs["prompt_mask"][0]
        assert drawn.dtype == np.float32
        assert sorted(drawn, reverse=True) == list(drawn)
        assert 4 <= drawn.sum() <= 8


def test_steps_go_from_level_to_level() -> None:
    levels = list_levels((1.0, 0.25, 0.0))
    assert levels == {"timestep_0": (1000.0,), "step_0": (-0.75,), "timestep_1": (250.0,), "step_1": (-0.25,)}
