"""Group norm, then SiLU: y = silu((x - mean) / sqrt(variance + eps) * weight + bias).

mean and variance (not Bessel's) are those of one sample's group: C / groups channels, all their cells. Float32 whatever
the dtype of x. Two launches: `measure` gives the moments of every part of every channel, as distances from the part's
pivot, the mean of its first values; `kernel` combines those of a group by Chan's formula and writes y. No square of a
value itself is ever summed, and a mean is two float32, the second what the first lacks: a mean far from zero costs no
digits. silu(v) = v / (1 + exp(-v)).

Shapes: x, y (N, C, H, W) in one dtype; weight, bias (C,) in any float dtype; C is a multiple of groups.
Source: Group Normalization, arXiv 1803.08494, section 3; Chan, Golub, LeVeque, "Updating formulae and a pairwise
algorithm for computing sample variances", STAN-CS-79-773, 1979, equations 2.1.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

DEFAULTS = {"BLOCK_CELLS": 2048, "TILES": 8, "num_warps": 4}
BLOCK_PARTS = 128
"""Parts of a group that `kernel` combines at once."""


@triton.jit
def measure(x_ptr, moments_ptr, cells, parts, BLOCK_CELLS: tl.constexpr, TILES: tl.constexpr):
    """Moments (N, C, parts, 3) of BLOCK_CELLS * TILES cells a program: pivot, mean less pivot, squared deviations."""
    part, channel = tl.program_id(0), tl.program_id(1).to(tl.int64)  # int64: N * C * H * W may pass 2**31
    start = part.to(tl.int64) * BLOCK_CELLS * TILES
    x_ptr += channel * cells
    cell = start + tl.arange(0, BLOCK_CELLS)
    x = tl.load(x_ptr + cell, mask=cell < cells, other=0.0).to(tl.float32)
    pivot = tl.sum(x) / tl.minimum(cells - start, BLOCK_CELLS).to(tl.float32)
    sums = tl.zeros((BLOCK_CELLS,), tl.float32)
    squares = tl.zeros((BLOCK_CELLS,), tl.float32)
    for tile in range(0, tl.minimum(tl.cdiv(cells - start, BLOCK_CELLS), TILES)):
        cell = start + tile * BLOCK_CELLS + tl.arange(0, BLOCK_CELLS)
        x = tl.load(x_ptr + cell, mask=cell < cells, other=0.0).to(tl.float32)
        # A part is few tiles long, so its values cannot all be far from their pivot and near to one another.
        distance = tl.where(cell < cells, x - pivot, 0.0)
        sums += distance
        squares += distance * distance
    number = tl.minimum(cells - start, BLOCK_CELLS * TILES).to(tl.float32)
    remainder = tl.sum(sums) / number
    place = moments_ptr + (channel * parts + part) * 3
    tl.store(place, pivot)
    tl.store(place + 1, remainder)
    tl.store(place + 2, tl.sum(squares) - number * remainder * remainder)


@triton.jit
def load_moments(moments_ptr, first, total, cells, parts, PART: tl.constexpr, BLOCK_PARTS: tl.constexpr):
    """Moments of a group's parts from `first` on, and their cells: PART, fewer in a channel's last, 0 after `total`."""
    index = first + tl.arange(0, BLOCK_PARTS)
    inside = index < total
    pivot = tl.load(moments_ptr + index * 3, mask=inside, other=0.0)
    remainder = tl.load(moments_ptr + index * 3 + 1, mask=inside, other=0.0)
    spread = tl.load(moments_ptr + index * 3 + 2, mask=inside, other=0.0)
    rest = cells - (index % parts).to(tl.int64) * PART
    return pivot, remainder, spread, tl.where(inside, tl.minimum(rest, PART), 0).to(tl.float32)


@triton.jit
def combine(moments_ptr, total, cells, parts, number, PART: tl.constexpr, BLOCK_PARTS: tl.constexpr):
    """A group's mean, as two numbers, and its variance from its `total` parts, which have `number` values."""
    sums = tl.zeros((BLOCK_PARTS,), tl.float32)
    for first in range(0, total, BLOCK_PARTS):
        pivot, remainder, _, count = load_moments(moments_ptr, first, total, cells, parts, PART, BLOCK_PARTS)
        sums += (pivot + remainder) * count
    mean = tl.sum(sums) / number
    sums = tl.zeros((BLOCK_PARTS,), tl.float32)
    squares = tl.zeros((BLOCK_PARTS,), tl.float32)
    for first in range(0, total, BLOCK_PARTS):
        pivot, remainder, spread, count = load_moments(moments_ptr, first, total, cells, parts, PART, BLOCK_PARTS)
        distance = (pivot - mean) + remainder
        sums += distance * count
        squares += spread + distance * distance * count
    rest = tl.sum(sums) / number
    return mean, rest, tl.sum(squares) / number - rest * rest


@triton.jit
def kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    moments_ptr,
    y_ptr,
    channels,
    group_channels,
    cells,
    parts,
    eps,
    BLOCK_CELLS: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK_PARTS: tl.constexpr,
):
    """The y of BLOCK_CELLS * TILES cells of one channel; every program combines its group's moments anew."""
    row = tl.program_id(1).to(tl.int64)
    total = group_channels * parts
    moments_ptr += row // group_channels * total * 3
    number = group_channels * cells.to(tl.float32)
    mean, rest, variance = combine(moments_ptr, total, cells, parts, number, BLOCK_CELLS * TILES, BLOCK_PARTS)
    channel = row % channels
    scale = tl.rsqrt(variance + eps) * tl.load(weight_ptr + channel).to(tl.float32)
    shift = tl.load(bias_ptr + channel).to(tl.float32)
    start = tl.program_id(0).to(tl.int64) * BLOCK_CELLS * TILES
    for tile in range(0, tl.minimum(tl.cdiv(cells - start, BLOCK_CELLS), TILES)):
        cell = start + tile * BLOCK_CELLS + tl.arange(0, BLOCK_CELLS)
        x = tl.load(x_ptr + row * cells + cell, mask=cell < cells, other=0.0).to(tl.float32)
        # The mean goes first: folded into the shift, it would cancel after the products were rounded.
        normed = ((x - mean) - rest) * scale + shift
        # exp(-v) is infinite below -88, and v / infinity is the 0 that silu has there.
        y = normed / (1 + tl.exp(-normed))
        tl.store(y_ptr + row * cells + cell, y.to(y_ptr.dtype.element_ty), mask=cell < cells)


def reference(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
    """The same in PyTorch, in float32, or float64 for float64.

    Step by step: one group norm would be exported as InstanceNormalization, which onnxruntime 1.31 on a CPU computes
    with an error of 2e-2 under a mean of a hundred deviations.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    grouped = wide.unflatten(1, (groups, -1)).flatten(2)
    centred = grouped - grouped.mean(-1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
    normed = (centred * scale).reshape(x.shape)
    weight, bias = (vector.to(wide.dtype).reshape(-1, 1, 1) for vector in (weight, bias))
    return torch.nn.functional.silu(normed * weight + bias)


def launch(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, **tuning: int) -> Tensor:
    """Run the kernels on contiguous x (N, C, H, W), weight and bias (C,); returns y in x's shape and dtype.

    Raises:
        ValueError: an input is not contiguous, or their shapes do not fit together.
    """
    if x.ndim != 4 or not x.is_contiguous():
        raise ValueError(f"x is {tuple(x.shape)} with strides {x.stride()}; give a contiguous (N, C, H, W)")
    samples, channels, height, width = x.shape
    if groups < 1 or channels % groups:
        raise ValueError(f"groups is {groups}; x has C = {channels}, give a number that divides it")
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector.shape != (channels,) or not vector.is_contiguous():
            raise ValueError(f"{name} is {tuple(vector.shape)}; x has C = {channels}, give a contiguous ({channels},)")
    y = torch.empty_like(x)
    options = {**DEFAULTS, **tuning}
    cells = height * width
    parts = triton.cdiv(cells, options["BLOCK_CELLS"] * options["TILES"])
    moments = torch.empty(samples, channels, parts, 3, dtype=torch.float32, device=x.device)
    grid = (parts, samples * channels)
    measure[grid](x, moments, cells, parts, **options)
    kernel[grid](
        x, weight, bias, moments, y, channels, channels // groups, cells, parts, eps, BLOCK_PARTS=BLOCK_PARTS, **options
    )
    return y


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def example(
    samples: int, channels: int, groups: int, height: int, width: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, int, float]:
    """x, weight, bias, groups, eps.

    The first group's deviations are as small as eps, the last group's mean is a hundred deviations from zero, each
    channel of a group has a mean of its own, and an activation reaches -90.
    """
    x = torch.randn(samples, channels, height, width) + torch.randn(channels, 1, 1)
    grouped = x.unflatten(1, (groups, -1))
    grouped[:, -1] += 100
    grouped[:, 0] *= 1e-3
    weight, bias = 1 + torch.randn(channels) / 2, torch.randn(channels)
    bias[0] = -90
    return x.to(dtype), weight.to(dtype), bias.to(dtype), groups, 1e-6


EXAMPLES = ((1, 4, 2, 4, 8), (2, 6, 3, 37, 61), (1, 2, 1, 150, 112))
TYPICAL = (1, 128, 32, 360, 640)
TENSOR_CORES = False
TUNABLES = {"default": DEFAULTS}
SEARCH = {"BLOCK_CELLS": (512, 1024, 2048, 4096), "TILES": (2, 4, 8, 16), "num_warps": (2, 4, 8)}
