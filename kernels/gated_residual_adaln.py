"""A branch's gated residual and the next branch's adaptive layer norm in one pass over the residual stream.

stream = x + (1 + gate) * branch
y = (stream - mean(stream)) / sqrt(var(stream) + eps) * (1 + scale) + shift

Some tokens of one batch entry a program. Everything is float32 whatever the dtype of x, the variance from centred
values; the norm sees the stream before it is rounded to x's dtype.
Shapes: x, branch (B, T, W); gate, scale, shift (B, W), one modulation for all tokens of an entry;
stream, y (B, T, W) in x's dtype.
Source: DiT, https://arxiv.org/abs/2212.09748, section 3.2; the gate is an offset from 1, so that a branch whose gate is
zero still learns.
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
    x_ptr,
    branch_ptr,
    gate_ptr,
    scale_ptr,
    shift_ptr,
    stream_ptr,
    y_ptr,
    tokens,
    width,
    eps,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """BLOCK_TOKENS tokens of batch entry program_id(1); BLOCK_WIDTH is the power of two that holds the width."""
    token = tl.program_id(0) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)[:, None]
    batch = tl.program_id(1).to(tl.int64)  # int64: batch * tokens * width may pass 2**31
    column = tl.arange(0, BLOCK_WIDTH)[None, :]
    inside = (token < tokens) & (column < width)
    place = (batch * tokens + token) * width + column
    modulation = batch * width + column
    x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
    branch = tl.load(branch_ptr + place, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(gate_ptr + modulation, mask=column < width, other=0.0).to(tl.float32)
    stream = x + (1 + gate) * branch
    tl.store(stream_ptr + place, stream.to(stream_ptr.dtype.element_ty), mask=inside)
    mean = tl.sum(stream, axis=1, keep_dims=True) / width
    centred = tl.where(inside, stream - mean, 0.0)
    variance = tl.sum(centred * centred, axis=1, keep_dims=True) / width
    normed = centred / tl.sqrt(variance + eps)
    scale = tl.load(scale_ptr + modulation, mask=column < width, other=0.0).to(tl.float32)
    shift = tl.load(shift_ptr + modulation, mask=column < width, other=0.0).to(tl.float32)
    y = normed * (1 + scale) + shift
    tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=inside)


def reference(
    x: Tensor, branch: Tensor, gate: Tensor, scale: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """The same in PyTorch, in float32, or float64 for float64: stream and y."""
    inputs = (x, branch, gate, scale, shift)
    x, branch, gate, scale, shift = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in inputs)
    stream = x + (1 + gate[:, None]) * branch
    normed = torch.nn.functional.layer_norm(stream, stream.shape[-1:], eps=eps)
    return stream, normed * (1 + scale[:, None]) + shift[:, None]


def launch(
    x: Tensor, branch: Tensor, gate: Tensor, scale: Tensor, shift: Tensor, eps: float, **tuning: int
) -> tuple[Tensor, Tensor]:
    """Run the kernel on contiguous x, branch (B, T, W), gate, scale, shift (B, W).

    Returns:
        The stream and y, (B, T, W) in x's dtype.

    Raises:
        ValueError: the shapes do not fit together, a tensor has gaps, or the width is over WIDEST.
    """
    inputs = {"x": x, "branch": branch, "gate": gate, "scale": scale, "shift": shift}
    shapes = {name: tuple(t.shape) for name, t in inputs.items()}
    modulations = [shapes[name] for name in ("gate", "scale", "shift")]
    if x.ndim != 3 or branch.shape != x.shape or modulations != 3 * [(x.shape[0], x.shape[2])] or x.shape[2] > WIDEST:
        raise ValueError(f"shapes are {shapes}; give x, branch (B, T, W), the others (B, W), W up to {WIDEST}")
    if not all(t.is_contiguous() for t in inputs.values()):
        strides = {name: t.stride() for name, t in inputs.items()}
        raise ValueError(f"strides are {strides}; give contiguous tensors")
    batch, tokens, width = x.shape
    stream, y = torch.empty_like(x), torch.empty_like(x)
    options = {"BLOCK_WIDTH": triton.next_power_of_2(width), **DEFAULTS, **tuning}
    grid = (triton.cdiv(tokens, options["BLOCK_TOKENS"]), batch)
    kernel[grid](x, branch, gate, scale, shift, stream, y, tokens, width, eps, **options)
    return stream, y


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def example(
    batch: int, tokens: int, width: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float]:
    """x, branch, gate, scale, shift, eps.

    Token 0 of the stream is constant, as its branch is zero, so only eps keeps it finite; token 1 lies far from zero.
    """
    x, branch = torch.randn(2, batch, tokens, width).unbind()
    x[:, 0], branch[:, 0] = 3.0, 0.0
    x[:, 1:2] = torch.randint(-2, 3, (batch, 1, width)) + 40.0
    gate, scale, shift = torch.randn(3, batch, width).unbind()
    return x.to(dtype), branch.to(dtype), gate.to(dtype), scale.to(dtype), shift.to(dtype), 1e-6


EXAMPLES = ((1, 2, 64), (3, 5, 37), (2, 9, 1152))
TYPICAL = (1, 3600, 2048)
TENSOR_CORES = False
TUNABLES = {
    "default": DEFAULTS,
    "cuda:90": {"BLOCK_TOKENS": 1, "num_warps": 2},
    "cuda:100": {"BLOCK_TOKENS": 1},
    "cuda:103": {"BLOCK_TOKENS": 1},
    "cuda:107": {"BLOCK_TOKENS": 1},
    "hip:gfx942": {"num_warps": 1},
    "hip:gfx950": {"BLOCK_TOKENS": 4, "num_warps": 2},
    "hip:gfx1201": {"BLOCK_TOKENS": 4},
    "hip:gfx1250": {"BLOCK_TOKENS": 1},
}
SEARCH = {"BLOCK_TOKENS": (1, 2, 4, 8), "num_warps": (1, 2, 4, 8)}
