"""Group norm, then SiLU: y = silu((x - mean) / sqrt(variance + eps) * weight + bias).

mean and variance (not Bessel's) are those of one sample's group: C / groups channels, all their cells. Float32 whatever
the dtype of x. They are taken of the distances from a pivot, the mean of the group's first values, by Welford's
recurrence in each lane and Chan's formula between lanes: no square of a value itself is ever summed, and a mean far
from zero costs no digits. silu(v) = v / (1 + exp(-v)).

A group is SPLITS programs. Each measures the whole group, which the others then find in the cache, and writes its share
of y: reading more is quicker than a second launch, and few groups fill the device.

Shapes: x, y (N, C, H, W) in one dtype; weight, bias (C,) in any float dtype; C is a multiple of groups.
Source: Group Normalization, arXiv 1803.08494, section 3; Chan, Golub, LeVeque, "Updating formulae and a pairwise
algorithm for computing sample variances", STAN-CS-79-773, 1979, equations 1.3 (Welford) and 2.1.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

DEFAULTS = {"BLOCK_CELLS": 4096, "SPLITS": 4, "num_warps": 8}


@triton.jit
def measure(x_ptr, length, BLOCK: tl.constexpr):
    """pivot, mean - pivot and variance of `length` values that lie together."""
    lane = tl.arange(0, BLOCK).to(tl.int64)
    first = tl.load(x_ptr + lane, mask=lane < length, other=0.0).to(tl.float32)
    pivot = tl.sum(first) / tl.minimum(length, BLOCK)
    mean = tl.zeros((BLOCK,), tl.float32)
    deviations = tl.zeros((BLOCK,), tl.float32)
    count = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, length, BLOCK):
        inside = start + lane < length
        distance = tl.load(x_ptr + start + lane, mask=inside, other=0.0).to(tl.float32) - pivot
        # Only the last tile has lanes outside, so a lane that is inside has seen every tile so far.
        step = tl.where(inside, distance - mean, 0.0)
        mean += step / (start // BLOCK + 1)
        deviations += step * tl.where(inside, distance - mean, 0.0)
        count += inside.to(tl.float32)
    rest = tl.sum(mean * count) / length
    return pivot, rest, tl.sum(deviations + count * (mean - rest) * (mean - rest)) / length


@triton.jit
def kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    groups,
    group_channels,
    cells,
    length,
    eps,
    BLOCK_CELLS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    """Every SPLITS-th tile of one group's y; a tile is BLOCK_CELLS cells of one channel, `length` a group's values."""
    group = tl.program_id(1).to(tl.int64)  # int64: N * C * H * W may pass 2**31
    x_ptr += group * length
    y_ptr += group * length
    pivot, rest, variance = measure(x_ptr, length, BLOCK_CELLS)
    inverse = tl.rsqrt(variance + eps)
    tiles = tl.cdiv(cells, BLOCK_CELLS)
    first = group % groups * group_channels
    for index in range(tl.program_id(0), group_channels * tiles, SPLITS):
        channel = first + index // tiles
        scale = inverse * tl.load(weight_ptr + channel).to(tl.float32)
        shift = tl.load(bias_ptr + channel).to(tl.float32)
        cell = index % tiles * BLOCK_CELLS + tl.arange(0, BLOCK_CELLS)
        place = (channel - first) * cells + cell
        x = tl.load(x_ptr + place, mask=cell < cells, other=0.0).to(tl.float32)
        # The mean goes first: folded into the shift, it would cancel after the products were rounded.
        normed = ((x - pivot) - rest) * scale + shift
        # exp(-v) is infinite below -88, and v / infinity is the 0 that silu has there.
        y = normed / (1 + tl.exp(-normed))
        tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=cell < cells)


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
    """Run the kernel on contiguous x (N, C, H, W), weight and bias (C,); returns y in x's shape and dtype.

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
    grid = (options["SPLITS"], samples * groups)
    cells, group_channels = height * width, channels // groups
    kernel[grid](x, weight, bias, y, groups, group_channels, cells, group_channels * cells, eps, **options)
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


EXAMPLES = ((1, 4, 2, 4, 8), (2, 6, 3, 37, 61), (1, 3, 1, 75, 83))
TYPICAL = (1, 128, 32, 360, 640)
TENSOR_CORES = False
TUNABLES = {
    "default": DEFAULTS,
    "cuda:90": {"BLOCK_CELLS": 2048},
    "cuda:100": {"BLOCK_CELLS": 2048},
    "cuda:103": {"BLOCK_CELLS": 2048},
    "cuda:107": {"BLOCK_CELLS": 8192},
    "hip:gfx942": {"BLOCK_CELLS": 8192, "SPLITS": 8},
    "hip:gfx950": {"SPLITS": 8},
    "hip:gfx1201": {"BLOCK_CELLS": 2048},
    "hip:gfx1250": {"BLOCK_CELLS": 8192, "SPLITS": 8},
}
SEARCH = {"BLOCK_CELLS": (1024, 2048, 4096, 8192), "SPLITS": (1, 2, 4, 8), "num_warps": (4, 8, 16)}
