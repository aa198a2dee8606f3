"""Group norm with SiLU: digits under a large mean, any share of the work, what it refuses, and its mutants."""

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
    (y,) = launched(KERNEL, (x, weight, bias, 2, 1e-6), BLOCK_CELLS=512, SPLITS=2)
    assert isinstance(exact, Tensor)
    assert error_of(y, exact) < 1e-6
    sums = x.unflatten(1, (2, 2)).flatten(2).square().mean(-1) - x.unflatten(1, (2, 2)).flatten(2).mean(-1).square()
    assert mean < 1e4 or (sums - 1).abs().max() > 0.1


@pytest.mark.parametrize("splits", [1, 3, 16])
def test_any_number_of_programs_shares_a_group(splits: int) -> None:
    """2 channels of 19 tiles each, the last tile the shortest and the loudest, and the first values unlike the rest."""
    torch.manual_seed(2)
    x = torch.randn(1, 2, 1, 601) * torch.linspace(1, 100, 601)
    x[..., :32] = 1000
    weight, bias = torch.randn(2), torch.randn(2)
    exact = KERNEL.reference(x.double(), weight, bias, 1, 1e-6)
    (y,) = launched(KERNEL, (x, weight, bias, 1, 1e-6), BLOCK_CELLS=32, SPLITS=splits)
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
    "values not centred": ("normed = ((x - pivot) - rest) * scale", "normed = x * scale"),
    "values centred on the pivot": ("((x - pivot) - rest)", "(x - pivot)"),
    "variance about zero": ("return pivot, rest, tl.sum(", "return pivot, rest, pivot * pivot + tl.sum("),
    "variance about the pivot": ("(mean - rest) * (mean - rest)) / length", "mean * mean) / length"),
    "sample variance": ("(mean - rest) * (mean - rest)) / length", "(mean - rest) * (mean - rest)) / (length - 1)"),
    "deviations between lanes left out": ("deviations + count * (mean - rest) * (mean - rest)", "deviations"),
    "deviations within lanes left out": ("tl.sum(deviations + count", "tl.sum(count"),
    "no pivot": (
        "pivot = tl.sum(first) / tl.minimum(length, BLOCK)",
        "pivot = tl.sum(first) * 0",
    ),
    "mean of means": ("rest = tl.sum(mean * count) / length", "rest = tl.sum(mean) / BLOCK"),
    "values outside are counted": ("count += inside.to(tl.float32)", "count += 1.0"),
    "values outside move the mean": ("step = tl.where(inside, distance - mean, 0.0)", "step = distance - mean"),
    "mean of one tile more": ("mean += step / (start // BLOCK + 1)", "mean += step / (start // BLOCK + 2)"),
    "not Welford's product": ("step * tl.where(inside, distance - mean, 0.0)", "step * step"),
    "a tile too few": ("range(0, length, BLOCK)", "range(0, length // BLOCK * BLOCK, BLOCK)"),
    "one channel is measured": (
        "measure(x_ptr, length, BLOCK_CELLS)",
        "measure(x_ptr, cells, BLOCK_CELLS)",
    ),
    "the first group is measured": ("x_ptr += group * length", "x_ptr += group * 0"),
    "weight of the first group": ("tl.load(weight_ptr + channel)", "tl.load(weight_ptr + channel - first)"),
    "weight of the group's first channel": ("tl.load(weight_ptr + channel)", "tl.load(weight_ptr + first)"),
    "no bias": ("* scale + shift", "* scale"),
    "bias for weight": ("tl.load(weight_ptr + channel)", "tl.load(bias_ptr + channel)"),
    "no silu": ("y = normed / (1 + tl.exp(-normed))", "y = normed"),
    "silu by exp of the value": (
        "y = normed / (1 + tl.exp(-normed))",
        "y = normed * tl.exp(normed * 10) / (1 + tl.exp(normed * 10))",
    ),
    "in bf16": (
        "x = tl.load(x_ptr + place, mask=cell < cells, other=0.0).to(tl.float32)",
        "x = tl.load(x_ptr + place, mask=cell < cells, other=0.0).to(tl.bfloat16).to(tl.float32)",
    ),
    "statistics in bf16": (
        "mean += step / (start // BLOCK + 1)",
        "mean = (mean + step / (start // BLOCK + 1)).to(tl.bfloat16).to(tl.float32)",
    ),
    "a share is never written": ("group_channels * tiles, SPLITS)", "group_channels * tiles, SPLITS + 1)"),
    "one cell too many": (
        "tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=cell < cells)",
        "tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=cell <= cells)",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("group_norm_silu", *MUTANTS[mutant])
