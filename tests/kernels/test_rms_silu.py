"""RMS norm with SiLU: equal to the bundled model's own layer, what it refuses, and its mutants."""

from typing import Any

import pytest
import torch

from porting.adapters.gwm.autoencoder import RmsSilu
from porting.kernel_library import kernel_paths, load_kernel
from tests.kernels.harness import killed, launched

KERNEL = load_kernel(kernel_paths()["rms_silu"])


def test_it_is_the_norm_and_activation_of_the_bundled_decoder() -> None:
    torch.manual_seed(1)
    norm = RmsSilu(24)
    weight = torch.randn(24)
    norm.load_state_dict({"weight": weight.reshape(24, 1, 1)})
    x = torch.randn(2, 24, 9, 13)
    with torch.no_grad():
        expected = norm(x)
    for y in (launched(KERNEL, (x, weight, 1e-6))[0], KERNEL.reference(x, weight, 1e-6)):
        torch.testing.assert_close(y, expected, rtol=2e-6, atol=2e-6)


def test_a_weight_may_be_wider_than_the_features() -> None:
    torch.manual_seed(2)
    x, weight = torch.randn(1, 8, 4, 4).bfloat16(), 1 + torch.randn(8) / 1000
    (y,) = launched(KERNEL, (x, weight, 1e-6))
    assert torch.equal(y, KERNEL.reference(x, weight, 1e-6).bfloat16())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("x", "weight", "words"),
    [
        (torch.ones(2, 4, 6), torch.ones(4), r"contiguous \(N, C, H, W\)"),
        (torch.ones(2, 4, 6, 6).transpose(2, 3)[:, :, :3], torch.ones(4), r"contiguous \(N, C, H, W\)"),
        (torch.ones(2, 4, 6, 6), torch.ones(4, 1, 1), r"give a contiguous \(4,\)"),
        (torch.ones(2, 4, 6, 6), torch.ones(6), r"give a contiguous \(4,\)"),
    ],
)
def test_what_does_not_fit_is_refused(x: Any, weight: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KERNEL.launch(x, weight, 1e-6)


MUTANTS = {
    "dropped eps": ("/ channels + eps)", "/ channels)"),
    "eps outside of the root": (
        "tl.rsqrt(tl.sum(squares, axis=0) / channels + eps)",
        "tl.rsqrt(tl.sum(squares, axis=0) / channels + eps * eps) - eps",
    ),
    "mean over the block of channels": ("axis=0) / channels", "axis=0) / BLOCK_CHANNELS"),
    "sum for mean": ("axis=0) / channels", "axis=0)"),
    "centred": ("squares += x * x", "squares += x * x - x"),
    "only the last channels are measured": ("squares += x * x", "squares = x * x"),
    "squares in bf16": ("squares += x * x", "squares += (x * x).to(tl.bfloat16).to(tl.float32)"),
    "sum in bf16": ("squares += x * x", "squares = (squares + x * x).to(tl.bfloat16).to(tl.float32)"),
    "weight of the wrong channel": ("weight_ptr + channel,", "weight_ptr + channel - start,"),
    "no weight": ("* scale[None, :] * weight[:, None]", "* scale[None, :] * (0 * weight[:, None] + 1)"),
    "no silu": ("y = normed / (1 + tl.exp(-normed))", "y = normed"),
    "sigmoid for silu": ("y = normed / (1 + tl.exp(-normed))", "y = 1 / (1 + tl.exp(-normed))"),
    "silu by exp of the value": (
        "y = normed / (1 + tl.exp(-normed))",
        "y = normed * tl.exp(normed) / (1 + tl.exp(normed))",
    ),
    "samples overlap": ("tl.program_id(1).to(tl.int64) * channels * cells", "tl.program_id(1).to(tl.int64) * cells"),
    "first block of cells only": ("tl.program_id(0).to(tl.int64) * BLOCK_CELLS", "0 * tl.program_id(0).to(tl.int64)"),
    "cells are not masked": (
        "inside = (channel < channels)[:, None] & (cell < cells)[None, :]\n"
        "        place = sample + channel[:, None] * cells + cell[None, :]\n"
        "        x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)\n        squares",
        "inside = (channel < channels)[:, None] & (cell < cells + 1)[None, :]\n"
        "        place = sample + channel[:, None] * cells + cell[None, :]\n"
        "        x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)\n        squares",
    ),
    "the last channel is not written": (
        "tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=inside)",
        "tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=inside & (channel < channels - 1)[:, None])",
    ),
    "weight beyond the channels": ("mask=channel < channels, other=0.0)", "mask=channel <= channels, other=0.0)"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("rms_silu", *MUTANTS[mutant])
