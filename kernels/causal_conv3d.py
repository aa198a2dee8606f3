"""A causal (kt, 3, 3) convolution of one new frame over the features of the frames before it, and the next cache.

    out = bias + sum over stacked channels and 3 x 3 taps of weight * [cache, x],   next = [cache, x] without its oldest

with zeros around each frame. An implicit matrix product (O, kt * C * 9) @ (kt * C * 9, H * W), whose right side is
gathered while it is used and never stored: first the cache's rows, then the frame's own. Weights are read as they lie
in a checkpoint, a row an output channel. Sums in float32, products of float32 in full precision.

Inputs, contiguous:
    x: (N, C, H, W), the new frame.
    cache: (N, (kt - 1) * C, H, W), the frames before it, oldest first; kt >= 2.
    weight: (O, kt * C, 3, 3), oldest frame first: a 3-D weight (O, C, kt, 3, 3) with its axes C and kt swapped.
    bias: (O,).
Outputs: out (N, O, H, W), and the cache for the next frame, shaped like cache; both in x's dtype.

Source: causal convolution over a feature cache: Wan, arXiv 2503.20314, section 4.1; implicit product: cuDNN, arXiv
1410.0759, section 3.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

TAPS = tl.constexpr(9)
IMAGE_LIMIT = 2**31
"""Elements of one sample's cache: offsets within it are 32-bit, those of samples 64-bit."""
DEFAULTS = {"BLOCK_O": 128, "BLOCK_Y": 8, "BLOCK_X": 16, "BLOCK_K": 32, "num_warps": 8, "num_stages": 3}


@triton.jit
def gather(frames_ptr, start, rows, pixel, visible, image, width, BLOCK_K: tl.constexpr):
    """The rows [start, start + BLOCK_K) of the right side at these pixels: row k is tap k % 9 of channel k // 9."""
    k = start + tl.arange(0, BLOCK_K)
    tap = k % TAPS
    offset = k // TAPS * image + (tap // 3 - 1) * width + tap % 3 - 1
    # Each pixel says in a bit a tap which of its neighbours lie in the image.
    inside = (k < rows)[:, None] & ((visible[None, :] >> tap[:, None]) & 1 != 0)
    return tl.load(frames_ptr + (offset[:, None] + pixel[None, :]), mask=inside, other=0.0)


@triton.jit
def multiply(
    sums,
    weight_ptr,
    frames_ptr,
    output,
    outputs,
    row_length,
    rows,
    pixel,
    visible,
    image,
    width,
    BLOCK_K: tl.constexpr,
):
    """`sums` and the product of `rows` columns of these outputs' weights and as many rows that the frames give."""
    taps = gather(frames_ptr, 0, rows, pixel, visible, image, width, BLOCK_K)
    for start in range(0, rows, BLOCK_K):
        # No aligned vectors, so no asynchronous copies: the next taps are fetched while these are multiplied.
        following = gather(frames_ptr, start + BLOCK_K, rows, pixel, visible, image, width, BLOCK_K)
        k = start + tl.arange(0, BLOCK_K)
        inside = (output < outputs)[:, None] & (k < rows)[None, :]
        weights = tl.load(weight_ptr + output[:, None] * row_length + k[None, :], mask=inside, other=0.0)
        sums = tl.dot(weights, taps, sums, input_precision="ieee")
        taps = following
    return sums


@triton.jit
def kernel(
    x_ptr,
    cache_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    next_ptr,
    channels,
    past_channels,
    outputs,
    height,
    width,
    BLOCK_O: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """One program: BLOCK_O channels of a tile of pixels. Grid: (tiles of channels, tiles of pixels, N)."""
    # Tiles of channels vary fastest: those that run at a time share the pixels that they gather.
    columns = tl.cdiv(width, BLOCK_X)
    place = tl.arange(0, BLOCK_Y * BLOCK_X)
    y = tl.program_id(1) // columns * BLOCK_Y + place // BLOCK_X
    x = tl.program_id(1) % columns * BLOCK_X + place % BLOCK_X
    pixel = y * width + x
    in_image = (y < height) & (x < width)
    visible = tl.zeros((BLOCK_Y * BLOCK_X,), tl.int32)
    for tap in tl.static_range(9):
        tap_y, tap_x = y + (tap // 3 - 1), x + (tap % 3 - 1)
        seen = in_image & (tap_y >= 0) & (tap_y < height) & (tap_x >= 0) & (tap_x < width)
        visible |= seen.to(tl.int32) << tap
    image = height * width
    sample = tl.program_id(2).to(tl.int64)
    x_ptr += sample * channels * image
    cache_ptr += sample * past_channels * image
    next_ptr += sample * past_channels * image

    output = tl.program_id(0).to(tl.int64) * BLOCK_O + tl.arange(0, BLOCK_O)
    past_rows, rows = past_channels * TAPS, channels * TAPS
    length = past_rows + rows
    sums = tl.zeros((BLOCK_O, BLOCK_Y * BLOCK_X), tl.float32)
    sums = multiply(
        sums, weight_ptr, cache_ptr, output, outputs, length, past_rows, pixel, visible, image, width, BLOCK_K
    )
    sums = multiply(
        sums, weight_ptr + past_rows, x_ptr, output, outputs, length, rows, pixel, visible, image, width, BLOCK_K
    )
    sums += tl.load(bias_ptr + output, mask=output < outputs, other=0.0).to(tl.float32)[:, None]
    target = out_ptr + (sample * outputs + output)[:, None] * image + pixel[None, :]
    tl.store(target, sums.to(out_ptr.dtype.element_ty), mask=(output < outputs)[:, None] & in_image[None, :])

    # Each program moves its share of the cache's channels at its pixels: one frame on, the new one last.
    share = tl.cdiv(past_channels, tl.num_programs(0))
    first = tl.program_id(0) * share
    last = tl.minimum(first + share, past_channels)
    for start in range(first, last, BLOCK_K):
        channel = start + tl.arange(0, BLOCK_K)
        source = channel + channels
        inside = (channel < last)[:, None] & in_image[None, :]
        old = (source < past_channels)[:, None]
        kept = tl.load(cache_ptr + source[:, None] * image + pixel[None, :], mask=inside & old, other=0.0)
        fresh_ptr = x_ptr + (source - past_channels)[:, None] * image + pixel[None, :]
        fresh = tl.load(fresh_ptr, mask=inside & (old == 0), other=0.0)
        tl.store(next_ptr + channel[:, None] * image + pixel[None, :], tl.where(old, kept, fresh), mask=inside)


def reference(x: Tensor, cache: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The same in PyTorch, in float32, or in float64 where x is."""
    wide = torch.promote_types(x.dtype, torch.float32)
    stacked = torch.cat([cache, x], dim=1).to(wide)
    out = F.conv2d(stacked, weight.to(wide), bias.to(wide), padding=1)
    return out, stacked[:, x.shape[1] :].clone()


def launch(x: Tensor, cache: Tensor, weight: Tensor, bias: Tensor, **tuning: int) -> tuple[Tensor, Tensor]:
    """Run the kernel on contiguous tensors; returns out (N, O, H, W) and the next cache, in x's dtype.

    Raises:
        ValueError: shapes, dtypes or strides that do not fit together.
    """
    samples, channels, height, width = x.shape
    past_channels, outputs = cache.shape[1], weight.shape[0]
    if past_channels < channels or past_channels % channels:
        raise ValueError(f"cache has {past_channels} channels; give a multiple of x's {channels}, one frame at least")
    expected = {
        "cache": (cache, (samples, past_channels, height, width)),
        "weight": (weight, (outputs, past_channels + channels, 3, 3)),
        "bias": (bias, (outputs,)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor.shape != torch.Size(shape):
            raise ValueError(f"{name} is {tuple(tensor.shape)}; x {tuple(x.shape)} and the others want {shape}")
    if not all(tensor.is_contiguous() for tensor in (x, cache, weight, bias)):
        raise ValueError("an input is not contiguous; call contiguous() on it")
    if {cache.dtype, weight.dtype} != {x.dtype}:
        raise ValueError(f"cache is {cache.dtype}, weight {weight.dtype}; both must have x's dtype, {x.dtype}")
    if past_channels * height * width >= IMAGE_LIMIT:
        raise ValueError(f"a cache of {past_channels}x{height}x{width} passes 2**31 elements, the most of a sample")
    options = {**DEFAULTS, **tuning}
    # Tiles no larger than what there is to compute, and 16 at least: the smallest tile of the tensor cores.
    options["BLOCK_O"] = min(options["BLOCK_O"], max(16, triton.next_power_of_2(outputs)))
    options["BLOCK_Y"] = min(options["BLOCK_Y"], triton.next_power_of_2(height))
    out = torch.empty(samples, outputs, height, width, dtype=x.dtype, device=x.device)
    next_cache = torch.empty_like(cache)
    tiles = triton.cdiv(height, options["BLOCK_Y"]) * triton.cdiv(width, options["BLOCK_X"])
    kernel[(triton.cdiv(outputs, options["BLOCK_O"]), tiles, samples)](
        x, cache, weight, bias, out, next_cache, channels, past_channels, outputs, height, width, **options
    )
    return out, next_cache


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def example(
    samples: int, frames: int, channels: int, outputs: int, height: int, width: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A kernel of `frames` frames; the first channel of each is constant, so that padding shows."""
    x = torch.randn(samples, channels, height, width)
    cache = torch.randn(samples, (frames - 1) * channels, height, width)
    x[:, 0] = 4.0
    cache[:, 0::channels] = -4.0
    weight = torch.randn(outputs, frames * channels, 3, 3) / (3 * (frames * channels) ** 0.5)
    bias = torch.randn(outputs)
    return x.to(dtype), cache.to(dtype), weight.to(dtype), bias.to(dtype)


# (samples, frames, channels, outputs, height, width)
EXAMPLES = ((1, 2, 8, 16, 8, 16), (2, 3, 5, 19, 11, 21), (1, 4, 3, 150, 3, 40))
TYPICAL = (1, 3, 512, 512, 90, 160)
TENSOR_CORES = True
TUNABLES = {
    "default": DEFAULTS,
    "cuda:90 float32": {"BLOCK_O": 64, "BLOCK_Y": 4, "BLOCK_K": 16, "num_stages": 2},
    "cuda:100 float32": {"BLOCK_O": 64, "BLOCK_Y": 4, "BLOCK_K": 16, "num_stages": 2},
    "cuda:103 float32": {"BLOCK_O": 64, "BLOCK_Y": 4, "BLOCK_K": 16, "num_stages": 2},
    "cuda:107 float32": {"BLOCK_O": 64, "BLOCK_Y": 4, "BLOCK_K": 16, "num_stages": 2},
    "cuda:120 float32": {"BLOCK_O": 64, "BLOCK_Y": 4, "BLOCK_K": 16, "num_stages": 2},
    "cuda:121 float32": {"BLOCK_O": 64, "BLOCK_Y": 4, "BLOCK_K": 16, "num_stages": 2},
    "hip:gfx942 float32": {"BLOCK_O": 64, "BLOCK_Y": 4, "BLOCK_K": 16, "num_stages": 2},
    "hip:gfx950 float32": {"BLOCK_O": 64, "BLOCK_Y": 4, "BLOCK_K": 16, "num_stages": 2},
    "hip:gfx1201 float32": {"BLOCK_O": 64, "BLOCK_Y": 4, "BLOCK_K": 16, "num_stages": 2},
    "hip:gfx1250 float32": {"BLOCK_O": 64, "BLOCK_Y": 4, "BLOCK_K": 16, "num_stages": 2},
}
SEARCH = {
    "BLOCK_O": (32, 64, 128, 256),
    "BLOCK_Y": (4, 8, 16),
    "BLOCK_X": (16, 32),
    "BLOCK_K": (16, 32, 64),
    "num_warps": (4, 8),
    "num_stages": (2, 3, 4),
}
