"""Norm and turn of queries and keys: equal to the bundled model's own, what it refuses, and its mutants."""

from typing import Any

import pytest
import torch
from torch import Tensor

from porting.adapters.gwm.config import MINI
from porting.adapters.gwm.denoiser import EPS, RingAttention, RotaryAngles
from porting.kernel_library import kernel_paths, load_kernel
from tests.kernels.harness import killed, launched

KERNEL = load_kernel(kernel_paths()["qk_norm_rope"])


def projection(tokens: int = 5, width: int = 16) -> list[Any]:
    """Inputs that fit: half of each head is turned."""
    torch.manual_seed(4)
    angles = torch.randn(tokens, width // 4)
    weights = torch.randn(2, width)
    return [torch.randn(2, tokens, 3, 2, width), weights[0], weights[1], angles.cos(), angles.sin(), 1e-6, width // 2]


def test_it_is_the_norm_and_turn_of_the_bundled_denoiser() -> None:
    torch.manual_seed(3)
    width, heads = MINI.denoiser.width, MINI.denoiser.heads
    layer, angles = RingAttention(width, heads), RotaryAngles(MINI)
    for norm in (layer.norm_query, layer.norm_key):
        norm.load_state_dict({"weight": torch.randn(width // heads)})
    qkv = torch.randn(2, MINI.tokens_per_frame, 3, heads, width // heads)
    with torch.no_grad():
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        expected = (
            angles.turn_in_space(layer.norm_query(query)),
            angles.turn_in_space(layer.norm_key(key)),
            value.contiguous(),
        )
    inputs = (
        qkv,
        layer.norm_query.weight.detach(),
        layer.norm_key.weight.detach(),
        angles.place_cos,
        angles.place_sin,
        EPS,
        angles.temporal_width,
    )
    for made in (launched(KERNEL, inputs), KERNEL.reference(*inputs)):
        torch.testing.assert_close(tuple(made), expected, rtol=2e-6, atol=2e-6)


def test_a_turn_keeps_lengths_and_the_angle_between_tokens() -> None:
    """At equal weights, a pair's product depends on the difference of the angles alone."""
    width, tokens = 8, 6
    steps = torch.arange(tokens)[:, None] * torch.tensor([0.3, 0.7, 1.1, 0.01])
    vector = torch.randn(width)
    qkv = vector.expand(1, tokens, 3, 1, width).contiguous()
    ones = torch.ones(width)
    query, key, _ = launched(KERNEL, (qkv, ones, ones, steps.cos(), steps.sin(), 0.0, 0))
    products = query[0, 0] @ key[0, 0].T
    torch.testing.assert_close(products.diagonal(), torch.full((tokens,), float(width)), rtol=1e-5, atol=1e-5)
    for distance in range(1, tokens):
        line = products.diagonal(distance)
        torch.testing.assert_close(line, line[:1].expand_as(line), rtol=1e-4, atol=1e-4)


def test_columns_outside_of_the_turned_ones_are_only_normalised() -> None:
    qkv, query_weight, key_weight, cos, sin, eps, _ = projection()
    query, key, value = launched(KERNEL, (qkv, query_weight, key_weight, cos, sin, eps, 3))
    still = [*range(3), *range(3 + 2 * cos.shape[1], 16)]
    for part, (made, weight) in enumerate(((query, query_weight), (key, key_weight))):
        normed = torch.nn.functional.rms_norm(qkv[:, :, part], (16,), weight, eps).transpose(1, 2)
        torch.testing.assert_close(made[..., still], normed[..., still], rtol=2e-6, atol=2e-6)
    assert torch.equal(value, qkv[:, :, 2].transpose(1, 2))


@pytest.mark.parametrize(
    ("index", "change", "words"),
    [
        (0, lambda x: x[:, :, :2].contiguous(), r"give \(B, T, 3, H, D\)"),
        (0, lambda x: x[0], r"give \(B, T, 3, H, D\)"),
        (0, lambda x: x.transpose(0, 1).contiguous().transpose(0, 1), "not contiguous"),
        (2, lambda x: x[:-1], "key_weight is"),
        (3, lambda x: x[:-1], "cos is"),
        (4, lambda x: x[:, :-1].contiguous(), "sin is"),
        (6, lambda x: 9, "4 pairs from column 9 on do not fit"),
        (6, lambda x: -1, "do not fit into a head of width 16"),
    ],
)
def test_what_does_not_fit_is_refused(index: int, change: Any, words: str) -> None:
    inputs = projection()
    inputs[index] = change(inputs[index])
    with pytest.raises(ValueError, match=words):
        KERNEL.launch(*inputs)


def test_tables_and_weights_may_be_wider_than_the_projection() -> None:
    qkv, *rest = projection()
    assert all(x.dtype == torch.float32 for x in rest if isinstance(x, Tensor))
    made = launched(KERNEL, (qkv.bfloat16(), *rest))
    for output, wanted in zip(made, KERNEL.reference(qkv.bfloat16(), *rest), strict=True):
        assert output.dtype == torch.bfloat16
        torch.testing.assert_close(output.float(), wanted, rtol=2**-8, atol=1e-6)


MUTANTS = {
    "dropped eps": ("/ WIDTH + eps)", "/ WIDTH)"),
    "eps outside of the root": ("/ WIDTH + eps)[:, None]", "/ WIDTH + eps * eps)[:, None] - eps"),
    "sum for mean": ("tl.sum(x * x, 1) / WIDTH", "tl.sum(x * x, 1)"),
    "mean over the block": ("tl.sum(x * x, 1) / WIDTH", "tl.sum(x * x, 1) / inside.shape[1]"),
    "squares in bf16": ("tl.sum(x * x, 1)", "tl.sum((x * x).to(tl.bfloat16).to(tl.float32), 1)"),
    "squares in fp16": ("tl.sum(x * x, 1)", "tl.sum((x * x).to(tl.float16), 1).to(tl.float32)"),
    "no weight": ("x * scale * weight[None, :] * cos", "x * scale * cos"),
    "partners without their weight": ("y * scale * partner_weight[None, :] * sin", "y * scale * sin"),
    "partners with the other's weight": ("weight_ptr + partner, mask", "weight_ptr + column, mask"),
    "keys with the queries' weight": ("+ step, key_weight_ptr,", "+ step, query_weight_ptr,"),
    "turned the other way": ("tl.where(real[None, :], -sin, sin)", "tl.where(real[None, :], sin, -sin)"),
    "a mirror": ("tl.where(real[None, :], -sin, sin)", "sin"),
    "cos and sin swapped": ("cos = tl.load(cos_ptr + place", "cos = tl.load(sin_ptr + place"),
    "halves swapped": (
        "x * scale * weight[None, :] * cos + y * scale * partner_weight[None, :] * sin",
        "y * scale * partner_weight[None, :] * cos + x * scale * weight[None, :] * sin",
    ),
    "neighbours are pairs": ("imaginary, column - PAIRS, column)", "imaginary, column - 1, column)"),
    "each half has its angles": ("column - START - PAIRS)\n", "(column - START) // 2)\n"),
    "turned from the first column on": (
        "imaginary = (column >= START + PAIRS)",
        "imaginary = (column >= PAIRS)",
    ),
    "one column too few": ("(column < START + 2 * PAIRS)", "(column < START + 2 * PAIRS - 1)"),
    "every token has the first one's place": ("[:, None] * PAIRS + angle", "[:, None] * 0 + angle"),
    "tokens are not masked": ("(token < tokens)[:, None]", "(token < token + 1)[:, None]"),
    "the last token is left out": ("(token < tokens)[:, None]", "(token < tokens - 1)[:, None]"),
    "columns are not masked": ("& (column < WIDTH)[None, :]", "& (column < BLOCK_WIDTH)[None, :]"),
    "values of the keys": ("+ 2 * step", "+ step"),
    "values of the next head": ("+ 2 * step + column", "+ 2 * step - WIDTH + column"),
    "tokens before heads": ("(batch * heads + head) * tokens + token", "(batch * tokens + token) * heads + head"),
    "every sample is the first": ("tl.program_id(1), tl.program_id(2)", "tl.program_id(1), 0 * tl.program_id(2)"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("qk_norm_rope", *MUTANTS[mutant])
