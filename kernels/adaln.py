"""Adaptive layer norm: y = (x - mean(x)) / sqrt(var(x) + eps) * (1 + scale) + shift, per token over its width.

Some tokens of one batch entry a program; sums in float32 whatever the dtype of x, the variance from centred values.
Shapes: x (B, T, W); scale, shift (B, W), one modulation for all tokens of an entry; y (B, T, W) in x's dtype.
Source: DiT, https://arxiv.org/abs/2212.09748, section 3.2.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

DEFAULTS = {"BLOCK_TOKENS": 2, "num_warps": 4}
WIDEST = 16384
"""A token is held whole; above this its registers would not do."""


@triton.jit
def kernel(
    x_ptr, scale_ptr, shift_ptr, y_ptr, tokens, width, eps, BLOCK_TOKENS: tl.constexpr, BLOCK_WIDTH: tl.constexpr
):
    """BLOCK_TOKENS tokens of batch entry program_id(1); BLOCK_WIDTH is the power of two that holds the width."""
    token = tl.program_id(0) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)[:, None]
    batch = tl.program_id(1).to(tl.int64)  # int64: batch * tokens * width may pass 2**31
    column = tl.arange(0, BLOCK_WIDTH)[None, :]
    inside = (token < tokens) & (column < width)
    place = (batch * tokens + token) * width + column
    x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(x, axis=1, keep_dims=True) / width
    centred = tl.where(inside, x - mean, 0.0)
    variance = tl.sum(centred * centred, axis=1, keep_dims=True) / width
    normed = centred / tl.sqrt(variance + eps)
    modulation = batch * width + column
    scale = tl.load(scale_ptr + modulation, mask=column < width, other=0.0).to(tl.float32)
    shift = tl.load(shift_ptr + modulation, mask=column < width, other=0.0).to(tl.float32)
    y = normed * (1 + scale) + shift
    tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=inside)


def reference(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The same in PyTorch, in float32, or float64 for float64."""
    x, scale, shift = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (x, scale, shift))
    normed = torch.nn.functional.layer_norm(x, x.shape[-1:], eps=eps)
    return normed * (1 + scale[:, None]) + shift[:, None]


def launch(x: Tensor, scale: Tensor, shift: Tensor, eps: float, **tuning: int) -> Tensor:
    """Run the kernel on contiguous x (B, T, W), scale and shift (B, W); returns y (B, T, W) in x's dtype.

    Raises:
        ValueError: the shapes do not fit together, a tensor has gaps, or the width is over WIDEST.
    """
    shapes = {name: tuple(t.shape) for name, t in (("x", x), ("scale", scale), ("shift", shift))}
    if x.ndim != 3 or not shapes["scale"] == shapes["shift"] == (x.shape[0], x.shape[2]) or x.shape[2] > WIDEST:
        raise ValueError(f"shapes are {shapes}; give x (B, T, W), scale and shift (B, W), W up to {WIDEST}")
    if not all(t.is_contiguous() for t in (x, scale, shift)):
        raise ValueError(f"strides are {x.stride()}, {scale.stride()}, {shift.stride()}; give contiguous tensors")
    batch, tokens, width = x.shape
    y = torch.empty_like(x)
    options = {"BLOCK_WIDTH": triton.next_power_of_2(width), **DEFAULTS, **tuning}
    grid = (triton.cdiv(tokens, options["BLOCK_TOKENS"]), batch)
    kernel[grid](x, scale, shift, y, tokens, width, eps, **options)
    return y


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def example(batch: int, tokens: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, float]:
    """x, scale, shift, eps. Token 0 is constant, so only eps keeps it finite; token 1 lies far from zero."""
    x = torch.randn(batch, tokens, width)
    x[:, 0] = 3.0
    x[:, 1:2] = torch.randint(-2, 3, (batch, 1, width)) + 40.0
    scale, shift = torch.randn(2, batch, width).unbind()
    return x.to(dtype), scale.to(dtype), shift.to(dtype), 1e-6


EXAMPLES = ((1, 2, 64), (3, 5, 37), (2, 9, 1152))
TYPICAL = (1, 3600, 2048)
TENSOR_CORES = False
TUNABLES = {
    "default": DEFAULTS,
    "cuda:100": {"BLOCK_TOKENS": 1},
    "cuda:103": {"BLOCK_TOKENS": 1},
    "cuda:120": {"BLOCK_TOKENS": 4},
    "cuda:121": {"BLOCK_TOKENS": 4},
    "hip:gfx942": {"BLOCK_TOKENS": 1, "num_warps": 1},
    "hip:gfx950": {"BLOCK_TOKENS": 4, "num_warps": 1},
    "hip:gfx1250": {"BLOCK_TOKENS": 1},
}
SEARCH = {"BLOCK_TOKENS": (1, 2, 4, 8), "num_warps": (1, 2, 4, 8)}
