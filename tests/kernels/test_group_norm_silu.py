"""Group norm with SiLU: digits under a large mean, parts of every number, what it refuses, and its mutants."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from porting.kernel_library import kernel_paths, load_kernel
from tests.kernels.harness import killed, launched

KERNEL = load_kernel(kernel_paths()["group_norm_silu"])


def error_of(y: Tensor, exact: Tensor) -> float:
    return float((y.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("mean", [1e2, 1e4, 1e6])
def test_a_large_mean_costs_no_digits(mean: float) -> None:
    """A sum of squares in float32 has nothing left of unit variance under a mean of 1e4."""
    torch.manual_seed(1)
    x = torch.randn(1, 4, 50, 60) + mean
    weight, bias = torch.ones(4), torch.zeros(4)
    exact = KERNEL.reference(x.double(), weight, bias, 2, 1e-6)
    (y,) = launched(KERNEL, (x, weight, bias, 2, 1e-6), BLOCK_CELLS=512, TILES=2)
    assert isinstance(exact, Tensor)
    assert error_of(y, exact) < 1e-6
    sums = x.unflatten(1, (2, 2)).flatten(2).square().mean(-1) - x.unflatten(1, (2, 2)).flatten(2).mean(-1).square()
    assert mean < 1e4 or (sums - 1).abs().max() > 0.1


def test_it_combines_more_parts_than_it_holds_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 channels a group, 10 parts a channel, 8 at once: the last part is the shortest and the loudest."""
    monkeypatch.setattr(KERNEL.module, "BLOCK_PARTS", 8)
    torch.manual_seed(2)
    x = torch.randn(1, 2, 1, 601) * torch.linspace(1, 100, 601)
    weight, bias = torch.randn(2), torch.randn(2)
    exact = KERNEL.reference(x.double(), weight, bias, 1, 1e-6)
    (y,) = launched(KERNEL, (x, weight, bias, 1, 1e-6), BLOCK_CELLS=32, TILES=2)
    assert isinstance(exact, Tensor)
    assert error_of(y, exact) < 3e-7


def test_the_reference_is_group_norm_and_silu() -> None:
    torch.manual_seed(3)
    x, weight, bias = torch.randn(2, 6, 5, 7), torch.randn(6), torch.randn(6)
    expected = F.silu(F.group_norm(x, 3, weight, bias, 1e-3))
    torch.testing.assert_close(KERNEL.reference(x, weight, bias, 3, 1e-3), expected)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "groups", "words"),
    [
        (torch.ones(2, 4, 6), torch.ones(4), torch.ones(4), 2, r"contiguous \(N, C, H, W\)"),
        (torch.ones(2, 4, 6, 6), torch.ones(4), torch.ones(4), 3, "a number that divides it"),
        (torch.ones(2, 4, 6, 6), torch.ones(4), torch.ones(4), 0, "a number that divides it"),
        (torch.ones(2, 4, 6, 6), torch.ones(6), torch.ones(4), 2, "weight is"),
        (torch.ones(2, 4, 6, 6), torch.ones(4), torch.ones(4, 1), 2, "bias is"),
    ],
)
def test_what_does_not_fit_is_refused(x: Any, weight: Any, bias: Any, groups: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KERNEL.launch(x, weight, bias, groups, 1e-6)


MUTANTS = {
    "dropped eps": ("tl.rsqrt(variance + eps)", "tl.rsqrt(variance)"),
    "variance uncentred": ("normed = ((x - mean) - rest) * scale", "normed = x * scale"),
    "variance about zero": (
        "return mean, rest, tl.sum(squares) / number - rest * rest",
        "return mean, rest, tl.sum(squares) / number - rest * rest + mean * mean",
    ),
    "sample variance": ("tl.sum(squares) / number -", "tl.sum(squares) / (number - 1) -"),
    "deviations between parts left out": (
        "squares += spread + distance * distance * count",
        "squares += spread",
    ),
    "what the pivot lacks is lost": ("(pivot - mean) + remainder", "(pivot - mean)"),
    "what the mean lacks is lost": ("((x - mean) - rest)", "(x - mean)"),
    "mean of means": ("sums += distance * count", "sums += distance * tl.sum(count) / total"),
    "parts beyond the group": ("inside = index < total\n", "inside = index < total + 1\n"),
    "the last part is a whole one": ("tl.where(inside, tl.minimum(rest, PART), 0)", "tl.where(inside, PART, 0)"),
    "no pivot": ("distance = tl.where(cell < cells, x - pivot, 0.0)", "distance = tl.where(cell < cells, x, 0.0)"),
    "squares about zero": ("squares += distance * distance\n    number", "squares += x * x\n    number"),
    "squares about the pivot": ("tl.sum(squares) - number * remainder * remainder)", "tl.sum(squares))"),
    "cells outside are distances": ("distance = tl.where(cell < cells, x - pivot, 0.0)", "distance = x - pivot"),
    "cells outside are counted": (
        "number = tl.minimum(cells - start, BLOCK_CELLS * TILES).to(tl.float32)",
        "number = (0 * cells + BLOCK_CELLS * TILES).to(tl.float32)",
    ),
    "a tile too few": (
        "tl.minimum(tl.cdiv(cells - start, BLOCK_CELLS), TILES)):\n"
        "        cell = start + tile * BLOCK_CELLS + tl.arange(0, BLOCK_CELLS)\n        x = tl.load(x_ptr + cell,",
        "tl.minimum((cells - start) // BLOCK_CELLS, TILES)):\n"
        "        cell = start + tile * BLOCK_CELLS + tl.arange(0, BLOCK_CELLS)\n        x = tl.load(x_ptr + cell,",
    ),
    "moments of the first group": ("row // group_channels * total * 3", "row // group_channels * 0"),
    "moments of one channel": ("total = group_channels * parts", "total = parts"),
    "weight of the group": ("tl.load(weight_ptr + channel)", "tl.load(weight_ptr + channel // group_channels)"),
    "weight of the first sample's channel": ("channel = row % channels", "channel = row // channels"),
    "no bias": ("* scale + shift", "* scale"),
    "bias for weight": ("tl.load(weight_ptr + channel)", "tl.load(bias_ptr + channel)"),
    "no silu": ("y = normed / (1 + tl.exp(-normed))", "y = normed"),
    "silu by exp of the value": (
        "y = normed / (1 + tl.exp(-normed))",
        "y = normed * tl.exp(normed * 10) / (1 + tl.exp(normed * 10))",
    ),
    "in bf16": (
        "        x = tl.load(x_ptr + row * cells + cell, mask=cell < cells, other=0.0).to(tl.float32)",
        "        x = tl.load(x_ptr + row * cells + cell, mask=cell < cells, other=0.0).to(tl.bfloat16).to(tl.float32)",
    ),
    "statistics in bf16": ("sums += distance\n", "sums = (sums + distance).to(tl.bfloat16).to(tl.float32)\n"),
    "one cell too many": (
        "tl.store(y_ptr + row * cells + cell, y.to(y_ptr.dtype.element_ty), mask=cell < cells)",
        "tl.store(y_ptr + row * cells + cell, y.to(y_ptr.dtype.element_ty), mask=cell <= cells)",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("group_norm_silu", *MUTANTS[mutant])
