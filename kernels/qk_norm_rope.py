"""RMS norm of queries and keys over the head's width, then rotary position embedding, and heads before tokens.

    n = x / sqrt(mean(x^2) + eps) * weight
    y[real] = n[real] * cos - n[imaginary] * sin,   y[imaginary] = n[real] * sin + n[imaginary] * cos

for x the query and the key of each head; the value is passed on as it is. `real` is the columns [start, start + P),
`imaginary` the P columns after them; the others are normalised only. With GWM, which turns a head's second half by the
token's row and column, start = D / 2 and P = D / 4; several axes are one table, their angles side by side.

Computed in float32 and rounded once. One pass: the packed projection is read once from memory, its results are
written once.

Inputs, contiguous:
    qkv: (B, T, 3, H, D), query, key and value of each token side by side.
    query_weight, key_weight: (D,) floats.
    cos, sin: (T, P) floats, by each token's place.
    eps: float, added to the mean square.
    start: int in [0, D - 2 * P], the first column that is turned.
Outputs: query, key, value, each (B, H, T, D) in the dtype of qkv.

Source: RMSNorm, arXiv 1910.07467, equation 4; RoFormer, arXiv 2104.09864, section 3.2.2; norm of queries and keys:
Scaling Vision Transformers to 22 Billion Parameters, arXiv 2302.05442, section 2.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

DEFAULTS = {"BLOCK_TOKENS": 16, "num_warps": 4}


@triton.jit
def norm_and_turn(
    x_ptr,
    weight_ptr,
    y_ptr,
    cos,
    sin,
    partner,
    inside,
    eps,
    WIDTH: tl.constexpr,
):
    """Write one head of BLOCK_TOKENS tokens, read from x_ptr: normalised, weighted, turned by cos and sin."""
    column = tl.arange(0, inside.shape[1])
    x = tl.load(x_ptr + column[None, :], mask=inside, other=0.0).to(tl.float32)
    # The same values, each in its partner's place: from the first-level cache, without a way through shared memory.
    y = tl.load(x_ptr + partner[None, :], mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, 1) / WIDTH + eps)[:, None]
    weight = tl.load(weight_ptr + column, mask=column < WIDTH, other=0.0).to(tl.float32)
    partner_weight = tl.load(weight_ptr + partner, mask=column < WIDTH, other=0.0).to(tl.float32)
    out = x * scale * weight[None, :] * cos + y * scale * partner_weight[None, :] * sin
    tl.store(y_ptr + column[None, :], out.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def kernel(
    qkv_ptr,
    query_weight_ptr,
    key_weight_ptr,
    cos_ptr,
    sin_ptr,
    query_ptr,
    key_ptr,
    value_ptr,
    tokens,
    heads,
    eps,
    WIDTH: tl.constexpr,
    START: tl.constexpr,
    PAIRS: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
):
    """One program: BLOCK_TOKENS tokens of one head. Grid: (tiles of tokens, H, B)."""
    token = tl.program_id(0) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    column = tl.arange(0, BLOCK_WIDTH)
    inside = (token < tokens)[:, None] & (column < WIDTH)[None, :]
    real = (column >= START) & (column < START + PAIRS)
    imaginary = (column >= START + PAIRS) & (column < START + 2 * PAIRS)
    partner = tl.where(real, column + PAIRS, tl.where(imaginary, column - PAIRS, column))
    angle = tl.where(real, column - START, column - START - PAIRS)
    # Both come in aligned groups, which the compiler cannot see: without this it loads them one by one.
    partner = tl.max_contiguous(tl.multiple_of(partner, GROUP), GROUP)
    angle = tl.max_contiguous(tl.multiple_of(angle, GROUP), GROUP)
    turned = inside & (real | imaginary)[None, :]
    place = token.to(tl.int64)[:, None] * PAIRS + angle[None, :]
    cos = tl.load(cos_ptr + place, mask=turned, other=1.0).to(tl.float32)
    sin = tl.load(sin_ptr + place, mask=turned, other=0.0).to(tl.float32)
    sin = tl.where(real[None, :], -sin, sin)
    # 64 bits: B * T * 3 * H * D may pass 2**31.
    source = ((batch * tokens + token) * 3 * heads + head)[:, None] * WIDTH
    target = ((batch * heads + head) * tokens + token)[:, None] * WIDTH
    step = heads * WIDTH
    norm_and_turn(qkv_ptr + source, query_weight_ptr, query_ptr + target, cos, sin, partner, inside, eps, WIDTH)
    norm_and_turn(qkv_ptr + source + step, key_weight_ptr, key_ptr + target, cos, sin, partner, inside, eps, WIDTH)
    value = tl.load(qkv_ptr + source + 2 * step + column[None, :], mask=inside)
    tl.store(value_ptr + target + column[None, :], value, mask=inside)


def reference(
    qkv: Tensor, query_weight: Tensor, key_weight: Tensor, cos: Tensor, sin: Tensor, eps: float, start: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The same in PyTorch, in float32, or in float64 where qkv is."""
    wide = torch.promote_types(qkv.dtype, torch.float32)
    width, pairs = qkv.shape[-1], cos.shape[1]
    query, key, value = qkv.to(wide).permute(2, 0, 3, 1, 4).unbind(0)
    cos, sin = cos.to(wide), sin.to(wide)
    outputs = []
    for x, weight in ((query, query_weight), (key, key_weight)):
        normed = F.rms_norm(x, (width,), weight.to(wide), eps)
        before, real, imaginary, after = normed.split([start, pairs, pairs, width - start - 2 * pairs], dim=-1)
        turned = (real * cos - imaginary * sin, real * sin + imaginary * cos)
        outputs.append(torch.cat([before, *turned, after], dim=-1))
    return outputs[0], outputs[1], value.contiguous()


def launch(
    qkv: Tensor,
    query_weight: Tensor,
    key_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float,
    start: int,
    **tuning: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the kernel on contiguous tensors; returns query, key, value (B, H, T, D) in qkv's dtype.

    Raises:
        ValueError: shapes or strides that do not fit together.
    """
    if qkv.ndim != 5 or qkv.shape[2] != 3:
        raise ValueError(f"qkv is {tuple(qkv.shape)}; give (B, T, 3, H, D)")
    batch, tokens, _, heads, width = qkv.shape
    pairs = cos.shape[-1]
    expected = {
        "query_weight": (query_weight, (width,)),
        "key_weight": (key_weight, (width,)),
        "cos": (cos, (tokens, pairs)),
        "sin": (sin, (tokens, pairs)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor.shape != torch.Size(shape):
            raise ValueError(f"{name} is {tuple(tensor.shape)}; qkv {tuple(qkv.shape)} wants {shape}")
    if not all(x.is_contiguous() for x in (qkv, query_weight, key_weight, cos, sin)):
        raise ValueError("an input is not contiguous; call contiguous() on it")
    if pairs < 1 or not 0 <= start <= width - 2 * pairs:
        raise ValueError(f"{pairs} pairs from column {start} on do not fit into a head of width {width}")
    options = {**DEFAULTS, **tuning}
    query, key, value = (torch.empty(batch, heads, tokens, width, dtype=qkv.dtype, device=qkv.device) for _ in range(3))
    common = math.gcd(start, pairs)
    kernel[(triton.cdiv(tokens, options["BLOCK_TOKENS"]), heads, batch)](
        qkv,
        query_weight,
        key_weight,
        cos,
        sin,
        query,
        key,
        value,
        tokens,
        heads,
        eps,
        WIDTH=width,
        START=start,
        PAIRS=pairs,
        GROUP=common & -common,
        BLOCK_WIDTH=triton.next_power_of_2(width),
        **options,
    )
    return query, key, value


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def example(
    batch: int, tokens: int, heads: int, width: int, start: int, pairs: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float, int]:
    """Token 0 is zero and token 1 as small as eps, so that eps shows; the squares of token 2 leave float16."""
    qkv = torch.randn(batch, tokens, 3, heads, width)
    qkv[:, 0] = 0
    qkv[:, 1:2] *= 1e-3
    qkv[:, 2:3] *= 300
    query_weight, key_weight = torch.randn(2, width).to(dtype)
    angles = torch.randn(tokens, pairs) * 10
    return qkv.to(dtype), query_weight, key_weight, angles.cos(), angles.sin(), 1e-6, start


# (batch, tokens, heads, head width, first column turned, pairs)
EXAMPLES = ((1, 16, 3, 32, 16, 8), (2, 21, 2, 24, 4, 7), (1, 33, 1, 128, 0, 64))
TYPICAL = (1, 3600, 18, 128, 64, 32)
TENSOR_CORES = False
TUNABLES = {
    "default": DEFAULTS,
    "cuda:90": {"BLOCK_TOKENS": 8},
    "cuda:100": {"BLOCK_TOKENS": 8},
    "cuda:103": {"BLOCK_TOKENS": 8},
    "cuda:107": {"BLOCK_TOKENS": 8},
    "cuda:120": {"BLOCK_TOKENS": 8},
    "cuda:121": {"BLOCK_TOKENS": 8},
    "hip:gfx950": {"BLOCK_TOKENS": 32},
}
SEARCH = {"BLOCK_TOKENS": (4, 8, 16, 32, 64), "num_warps": (1, 2, 4, 8)}
