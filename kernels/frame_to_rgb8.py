"""A decoded frame as pixels: rgb = round(clamp(frame * scale + offset, 0, 1) * 255), planes interleaved.

scale 1 and offset 0 for frames in [0, 1], 0.5 and 0.5 for frames in [-1, 1]. Float32 whatever the dtype of the frame;
halves round to even; NaN gives 0, infinities the nearer end.
Shapes: frame (B, 3, H, W), red, green, blue; rgb (B, H, W, 3) uint8, as image files and displays take it.
A program writes whole runs of neighbouring bytes; the planes' values that it gathers for that lie in few cache lines.
Source: sRGB code values as full-range 8-bit integers, ITU-T H.273, equation for VideoFullRangeFlag 1 (8.3).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

DEFAULTS = {"BLOCK": 2048, "num_warps": 4}


@triton.jit
def kernel(frame_ptr, rgb_ptr, cells, scale, offset, BLOCK: tl.constexpr):
    """The 3 * BLOCK bytes of BLOCK neighbouring pixels of one frame."""
    image = tl.program_id(1).to(tl.int64) * 3 * cells  # int64: B * 3 * H * W may pass 2**31
    first = tl.program_id(0).to(tl.int64) * BLOCK
    for run in tl.static_range(3):
        # Byte 3 * i + c of the run of pixels is channel c of pixel i.
        byte = run * BLOCK + tl.arange(0, BLOCK)
        # Asked of the byte and not of its pixel, so that the compiler sees that 16 neighbours are stored or none.
        inside = 3 * first + byte < 3 * cells
        x = tl.load(frame_ptr + image + byte % 3 * cells + first + byte // 3, mask=inside, other=0.0).to(tl.float32)
        # Of NaN and 0, the maximum is 0.
        shade = tl.minimum(tl.maximum(x * scale + offset, 0.0), 1.0) * 255
        # From 2^23 on, float32 has no fractions: adding rounds to a whole number, half to even.
        whole = (shade + 8388608.0) - 8388608.0
        tl.store(rgb_ptr + image + 3 * first + byte, whole.to(tl.uint8), mask=inside)


def reference(frame: Tensor, scale: float, offset: float) -> Tensor:
    """The same in PyTorch, in float32, or float64 for float64."""
    shade = frame.to(torch.promote_types(frame.dtype, torch.float32)) * scale + offset
    shade = torch.where(shade.isnan(), 0.0, shade).clamp(0, 1) * 255
    return shade.round().to(torch.uint8).permute(0, 2, 3, 1)


def launch(frame: Tensor, scale: float, offset: float, **tuning: int) -> Tensor:
    """Run the kernel on contiguous frame (B, 3, H, W); returns rgb (B, H, W, 3) uint8.

    Raises:
        ValueError: frame is not contiguous or does not have three planes.
    """
    if frame.ndim != 4 or frame.shape[1] != 3 or not frame.is_contiguous():
        raise ValueError(f"frame is {tuple(frame.shape)} with strides {frame.stride()}; give a contiguous (B, 3, H, W)")
    batch, _, height, width = frame.shape
    rgb = torch.empty(batch, height, width, 3, dtype=torch.uint8, device=frame.device)
    options = {**DEFAULTS, **tuning}
    grid = (triton.cdiv(height * width, options["BLOCK"]), batch)
    # Not fused: a product that is added before it is rounded may fall to another step than the reference's.
    kernel[grid](frame, rgb, height * width, scale, offset, enable_fp_fusion=False, **options)
    return rgb


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def example(batch: int, height: int, width: int, dtype: torch.dtype) -> tuple[Tensor, float, float]:
    """A frame in [-1, 1], its scale and offset. Some values leave the range, some lie half-way between two codes.

    The first pixels are NaN, infinities and zeros of both signs.
    """
    frame = torch.randn(batch, 3, height * width) / 2
    halves = (torch.arange(height * width) % 255 + 0.5) / 127.5 - 1
    frame[-1, 1] = halves
    special = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0])
    frame[0, :, : len(special)] = special[: height * width]
    return frame.unflatten(2, (height, width)).to(dtype), 0.5, 0.5


EXAMPLES = ((1, 8, 8), (2, 37, 85))
TYPICAL = (1, 720, 1280)
TENSOR_CORES = False
TUNABLES = {
    "default": DEFAULTS,
    "cuda:100": {"BLOCK": 512, "num_warps": 1},
    "cuda:103": {"BLOCK": 512, "num_warps": 1},
    "cuda:107": {"BLOCK": 512, "num_warps": 2},
    "cuda:120": {"BLOCK": 512},
    "cuda:121": {"BLOCK": 512},
    "hip:gfx942": {"BLOCK": 1024, "num_warps": 1},
}
SEARCH = {"BLOCK": (512, 1024, 2048, 4096), "num_warps": (1, 2, 4, 8)}
