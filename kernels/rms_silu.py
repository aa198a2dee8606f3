"""RMS norm over the channels of every cell, then SiLU: y = silu(x / sqrt(mean over C of x^2 + eps) * weight).

BLOCK_CELLS cells a program, all their channels; the sum of squares is float32 whatever the dtype of x, and nothing is
subtracted, so a large mean costs no digits. silu(v) = v / (1 + exp(-v)).
Shapes: x, y (N, C, H, W) in one dtype; weight (C,) in any float dtype.
Source: RMSNorm, arXiv 1910.07467, section 3; over the channels of a causal video autoencoder, so that no frame sees
another: Wan, arXiv 2503.20314, section 4.1.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

DEFAULTS = {"BLOCK_CHANNELS": 16, "BLOCK_CELLS": 128, "num_warps": 4}


@triton.jit
def kernel(x_ptr, weight_ptr, y_ptr, channels, cells, eps, BLOCK_CHANNELS: tl.constexpr, BLOCK_CELLS: tl.constexpr):
    """BLOCK_CELLS neighbouring cells of one sample: the channels are read twice, the second time from the cache."""
    cell = tl.program_id(0).to(tl.int64) * BLOCK_CELLS + tl.arange(0, BLOCK_CELLS)
    # int64: N * C * H * W may pass 2**31.
    sample = tl.program_id(1).to(tl.int64) * channels * cells
    squares = tl.zeros((BLOCK_CHANNELS, BLOCK_CELLS), tl.float32)
    for start in range(0, channels, BLOCK_CHANNELS):
        channel = start + tl.arange(0, BLOCK_CHANNELS).to(tl.int64)
        inside = (channel < channels)[:, None] & (cell < cells)[None, :]
        place = sample + channel[:, None] * cells + cell[None, :]
        x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
        squares += x * x
    scale = tl.rsqrt(tl.sum(squares, axis=0) / channels + eps)
    for start in range(0, channels, BLOCK_CHANNELS):
        channel = start + tl.arange(0, BLOCK_CHANNELS).to(tl.int64)
        inside = (channel < channels)[:, None] & (cell < cells)[None, :]
        place = sample + channel[:, None] * cells + cell[None, :]
        x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + channel, mask=channel < channels, other=0.0).to(tl.float32)
        normed = x * scale[None, :] * weight[:, None]
        # exp(-v) is infinite below -88, and v / infinity is the 0 that silu has there.
        y = normed / (1 + tl.exp(-normed))
        tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=inside)


def reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The same in PyTorch, in float32, or float64 for float64."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    normed = wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + eps)
    return torch.nn.functional.silu(normed * weight.to(wide.dtype).reshape(-1, 1, 1))


def launch(x: Tensor, weight: Tensor, eps: float, **tuning: int) -> Tensor:
    """Run the kernel on contiguous x (N, C, H, W) and weight (C,); returns y in x's shape and dtype.

    Raises:
        ValueError: x or weight is not contiguous, or their shapes do not fit together.
    """
    if x.ndim != 4 or not x.is_contiguous():
        raise ValueError(f"x is {tuple(x.shape)} with strides {x.stride()}; give a contiguous (N, C, H, W)")
    samples, channels, height, width = x.shape
    if weight.shape != (channels,) or not weight.is_contiguous():
        raise ValueError(f"weight is {tuple(weight.shape)}; x has C = {channels}, give a contiguous ({channels},)")
    y = torch.empty_like(x)
    options = {**DEFAULTS, **tuning}
    cells = height * width
    grid = (triton.cdiv(cells, options["BLOCK_CELLS"]), samples)
    kernel[grid](x, weight, y, channels, cells, eps, **options)
    return y


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def example(samples: int, channels: int, height: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    """x, weight, eps. A cell as small as eps, one of zeros, one with a large mean; channel 0 is far below zero."""
    x = torch.randn(samples, channels, height * width)
    x[:, :, 0] *= 1e-3
    x[:, :, 1 % (height * width)] = 0
    x[:, :, -1] += 200
    weight = 1 + torch.randn(channels) / 2
    weight[0] = -90
    return x.unflatten(2, (height, width)).to(dtype), weight.to(dtype), 1e-6


EXAMPLES = ((1, 16, 4, 8), (2, 37, 3, 57), (3, 7, 5, 9))
TYPICAL = (1, 96, 360, 640)
TENSOR_CORES = False
TUNABLES = {
    "default": DEFAULTS,
    "cuda:90": {"BLOCK_CELLS": 256},
    "cuda:100": {"BLOCK_CELLS": 64, "num_warps": 2},
    "cuda:100 float32": {"BLOCK_CHANNELS": 32},
    "cuda:103": {"BLOCK_CELLS": 64, "num_warps": 2},
    "cuda:103 float32": {"BLOCK_CHANNELS": 32},
    "hip:gfx950": {"BLOCK_CELLS": 512},
    "hip:gfx1201": {"BLOCK_CHANNELS": 8},
}
SEARCH = {"BLOCK_CHANNELS": (4, 8, 16, 32), "BLOCK_CELLS": (64, 128, 256, 512), "num_warps": (2, 4, 8)}
