"""Block quantiser: x (rows, K) -> values and scales, so that x is about value * scale, in nvfp4 times a tensor_scale.

One scale serves one block of a row; every format's arithmetic is float32, whatever the dtype of x.

| format | element | block | scale | x = |
| --- | --- | --- | --- | --- |
| fp8 | e4m3 | the whole row | float32, max(amax / 448, 2^-126) | value * scale |
| mxfp8 | e4m3 | 32 | e8m0, 2^(floor(log2(amax)) - 8) | value * scale |
| mxfp4 | e2m1 | 32 | e8m0, 2^(floor(log2(amax)) - 2) | value * scale |
| nvfp4 | e2m1 | 16 | e4m3(amax / (6 * tensor_scale)) | value * scale * tensor_scale |

Elements round to nearest even and saturate; the sign of a zero is kept. A block of zeros gives zeros under the smallest
scale (nvfp4: under scale 0, as does a block whose scale underflows). A block with a NaN or an infinity gets a NaN scale
and zero elements: all of it dequantises to NaN, nothing is clipped unseen.

Shapes: x (rows, K) float32, float16 or bfloat16; tensor_scale (1,) float32 above zero for nvfp4, None for the others.
values (rows, K) float8_e4m3fn, or for e2m1 (rows, K / 2) uint8, the even column in the low four bits.
scales (rows, 1) float32 for fp8, (rows, K / 32) uint8 for MX (the biased exponent, 255 = NaN), (rows, K / 16)
float8_e4m3fn for nvfp4. K is a multiple of the block, because no format has a shorter one; fp8 takes any K.

Sources: OCP Microscaling Formats (MX) v1.0, sections 5.3 (element formats), 5.4 (E8M0) and 6.3 (conversion);
NVFP4: "Pretraining Large Language Models with NVFP4", arXiv 2509.25149, appendix C.
fp8 scaled by rows, a token's or an output channel's, is what torch._scaled_mm calls row-wise scaling.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

E4M3_MAX = 448.0
E2M1_MAX = 6.0
SMALLEST_SCALE = 2.0**-126
"""The smallest normal float32: the scale of a row of zeros, and its reciprocal is finite."""
EXPONENT_MAX = {"mxfp8": 8, "mxfp4": 2}
"""emax of the element format: 448 = 1.75 * 2^8, 6 = 1.5 * 2^2."""
GROUPS = {"mxfp8": 32, "mxfp4": 32, "nvfp4": 16}
PACKED = {"fp8": 1, "mxfp8": 1, "mxfp4": 2, "nvfp4": 2}
"""Elements a byte."""
DEFAULTS = {"BLOCK_ROWS": 4, "BLOCK_COLUMNS": 512, "num_warps": 4}
TIES_TO_UPPER = (0.75, 1.75, 3.5)
TIES_TO_LOWER = (0.25, 1.25, 2.5, 5.0)
"""Midpoints of neighbouring e2m1 magnitudes, by the neighbour whose code is even."""


@triton.jit
def round_to_e2m1(x):
    """Codes 0 to 15 (int32) of float32 x: sign in bit 3, magnitude's code = midpoints below it; above 6 saturates."""
    magnitude = tl.abs(x)
    code = (magnitude > 0.25).to(tl.int32) + (magnitude >= 0.75).to(tl.int32) + (magnitude > 1.25).to(tl.int32)
    code += (magnitude >= 1.75).to(tl.int32) + (magnitude > 2.5).to(tl.int32) + (magnitude >= 3.5).to(tl.int32)
    code += (magnitude > 5.0).to(tl.int32)
    return code | ((x.to(tl.int32, bitcast=True) >> 31) & 8)


@triton.jit
def magnitude_bits(x):
    """Bits of |x| as int32: they order like the magnitudes, with infinity and then NaN above every number."""
    return x.to(tl.int32, bitcast=True) & 0x7FFFFFFF


@triton.jit
def quantize_rows(x_ptr, values_ptr, scales_ptr, rows, columns, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr):
    """fp8: the rows of this program, read twice, once for the greatest magnitude and once to round."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)  # int64: rows * K may pass 2**31
    greatest = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.int32)
    for start in range(0, columns, BLOCK_COLUMNS):
        column = start + tl.arange(0, BLOCK_COLUMNS)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        x = tl.load(x_ptr + row[:, None] * columns + column[None, :], mask=inside, other=0.0).to(tl.float32)
        greatest = tl.maximum(greatest, magnitude_bits(x))
    bits = tl.max(greatest, axis=1)
    finite = bits < 0x7F800000
    amax = tl.where(finite, bits, 0).to(tl.float32, bitcast=True)
    scale = tl.maximum(tl.div_rn(amax, 448.0), 1.1754943508222875e-38)
    inverse = tl.div_rn(1.0, scale)
    tl.store(scales_ptr + row, tl.where(finite, scale, float("nan")), mask=row < rows)
    for start in range(0, columns, BLOCK_COLUMNS):
        column = start + tl.arange(0, BLOCK_COLUMNS)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        place = row[:, None] * columns + column[None, :]
        x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
        scaled = tl.where(finite[:, None], x * inverse[:, None], 0.0)
        # Not every device's conversion saturates.
        value = tl.minimum(tl.maximum(scaled, -448.0), 448.0)
        tl.store(values_ptr + place, value.to(tl.float8e4nv), mask=inside)


@triton.jit
def quantize_blocks(
    x_ptr,
    tensor_scale_ptr,
    values_ptr,
    scales_ptr,
    rows,
    columns,
    FORMAT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """The other formats: one tile a program, blocks along the last axis."""
    group: tl.constexpr = 16 if FORMAT == "nvfp4" else 32
    blocks: tl.constexpr = BLOCK_COLUMNS // group
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    column = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    x = tl.load(x_ptr + row[:, None] * columns + column[None, :], mask=inside, other=0.0).to(tl.float32)
    x = tl.reshape(x, (BLOCK_ROWS, blocks, group))
    bits = tl.max(magnitude_bits(x), axis=2)
    finite = bits < 0x7F800000
    if FORMAT == "nvfp4":
        tensor_scale = tl.load(tensor_scale_ptr)
        amax = tl.where(finite, bits, 0).to(tl.float32, bitcast=True)
        level = tl.div_rn(amax, 6.0 * tensor_scale)
        scale = tl.where(level <= 448.0, level, 448.0).to(tl.float8e4nv)
        # The element is divided by the scale as it was stored, so that rounding the scale costs the element nothing.
        step = scale.to(tl.float32) * tensor_scale
        inverse = tl.where(step > 0.0, tl.div_rn(1.0, tl.where(step > 0.0, step, 1.0)), 0.0)
        stored = tl.where(finite, scale.to(tl.uint8, bitcast=True), 0x7F).to(tl.uint8)
    else:
        # The exponent field of a float32 is floor(log2) + 127, and e8m0's bias is 127 too; subnormals round to 0.
        exponent = tl.maximum((bits >> 23) - (8 if FORMAT == "mxfp8" else 2), 0)
        exponent = tl.where(finite, exponent, 0)
        inverse = ((254 - exponent) << 23).to(tl.float32, bitcast=True)
        stored = tl.where(finite, exponent, 255).to(tl.uint8)
    scaled = tl.where(finite[:, :, None], x * inverse[:, :, None], 0.0)

    block = tl.program_id(1) * blocks + tl.arange(0, blocks)
    inside_blocks = (row < rows)[:, None] & (block < columns // group)[None, :]
    place = row[:, None] * (columns // group) + block[None, :]
    if FORMAT == "nvfp4":
        tl.store(scales_ptr + place, stored.to(tl.float8e4nv, bitcast=True), mask=inside_blocks)
    else:
        tl.store(scales_ptr + place, stored, mask=inside_blocks)

    if FORMAT == "mxfp8":
        value = tl.minimum(tl.maximum(scaled, -448.0), 448.0).to(tl.float8e4nv)
        value = tl.reshape(value, (BLOCK_ROWS, BLOCK_COLUMNS))
        tl.store(values_ptr + row[:, None] * columns + column[None, :], value, mask=inside)
    else:
        even, odd = tl.split(tl.reshape(round_to_e2m1(scaled), (BLOCK_ROWS, BLOCK_COLUMNS // 2, 2)))
        byte = tl.program_id(1) * (BLOCK_COLUMNS // 2) + tl.arange(0, BLOCK_COLUMNS // 2)
        inside_bytes = (row < rows)[:, None] & (byte < columns // 2)[None, :]
        place = row[:, None] * (columns // 2) + byte[None, :]
        tl.store(values_ptr + place, (even | (odd << 4)).to(tl.uint8), mask=inside_bytes)


@triton.jit
def kernel(
    x_ptr,
    tensor_scale_ptr,
    values_ptr,
    scales_ptr,
    rows,
    columns,
    FORMAT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """BLOCK_ROWS rows a program, all their columns for fp8 and BLOCK_COLUMNS of them for the other formats."""
    if FORMAT == "fp8":
        quantize_rows(x_ptr, values_ptr, scales_ptr, rows, columns, BLOCK_ROWS, BLOCK_COLUMNS)
    else:
        quantize_blocks(
            x_ptr, tensor_scale_ptr, values_ptr, scales_ptr, rows, columns, FORMAT, BLOCK_ROWS, BLOCK_COLUMNS
        )


def reference(x: Tensor, tensor_scale: Tensor | None, format: str) -> tuple[Tensor, Tensor]:
    """The same in PyTorch, bit for bit; always in float32, because that is where the codes are defined."""
    blocks = x.float().unflatten(-1, (-1, GROUPS.get(format, x.shape[-1])))
    amax = blocks.abs().amax(dim=-1)
    finite = amax < torch.inf  # false for NaN too, which amax passes on
    amax = torch.where(finite, amax, 0.0)
    if format == "fp8":
        scale = (amax / E4M3_MAX).clamp(min=SMALLEST_SCALE)
        stored = torch.where(finite, scale, torch.nan)
        inverse = 1.0 / scale
    elif format == "nvfp4":
        if tensor_scale is None:
            raise ValueError("block_quantize: nvfp4 has no tensor_scale; give amax of the tensor / (448 * 6)")
        level = amax / (E2M1_MAX * tensor_scale)
        scale = torch.where(level <= E4M3_MAX, level, E4M3_MAX).to(torch.float8_e4m3fn).float()
        step = scale * tensor_scale
        inverse = torch.where(step > 0.0, 1.0 / step, 0.0)
        stored = torch.where(finite, scale, torch.nan).to(torch.float8_e4m3fn)
    else:
        exponent = _floor_log2(amax) - EXPONENT_MAX[format]
        exponent = exponent.clamp(min=-127)
        stored = torch.where(finite, exponent + 127, 255).to(torch.uint8)
        inverse = _powers_of_two(x.device)[-exponent]
    scaled = torch.where(finite.unsqueeze(-1), blocks * inverse.unsqueeze(-1), 0.0).flatten(-2)
    if PACKED[format] == 1:
        return scaled.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn), stored
    even, odd = _e2m1_codes(scaled).unflatten(-1, (-1, 2)).unbind(-1)
    return (even + 16 * odd).to(torch.uint8), stored


def _powers_of_two(device: torch.device) -> Tensor:
    """2^0 to 2^127, then 2^-127 to 2^-1: index e is 2^e for negative e too."""
    exponents = [*range(128), *range(-127, 0)]
    return torch.tensor([2.0**exponent for exponent in exponents], dtype=torch.float32, device=device)


def _floor_log2(x: Tensor) -> Tensor:
    """floor(log2(x)) as int64, -127 and below as about -127; exact, which a rounded logarithm alone is not."""
    guess = torch.log2(x).floor().clamp(-126, 127).to(torch.int64)
    power = _powers_of_two(x.device)[guess]
    return guess - (x < power).to(torch.int64) + (x / 2 >= power).to(torch.int64)


def _e2m1_codes(x: Tensor) -> Tensor:
    """Codes 0 to 15 as int32. The sign is read from 1 / x, for a zero has one as well."""
    magnitude = x.abs().unsqueeze(-1)
    lower = magnitude > torch.tensor(TIES_TO_LOWER, device=x.device)
    upper = magnitude >= torch.tensor(TIES_TO_UPPER, device=x.device)
    code = lower.to(torch.int32).sum(-1) + upper.to(torch.int32).sum(-1)
    return code + 8 * (1.0 / x < 0.0).to(code.dtype)


def launch(x: Tensor, tensor_scale: Tensor | None, format: str, **tuning: int) -> tuple[Tensor, Tensor]:
    """Run the kernel on contiguous x (rows, K); returns values and scales as the module's table says.

    Raises:
        ValueError: an unknown format, a K that has a part of a block, x not a contiguous matrix, or a tensor_scale
            where the format has none, or none where it has one.
    """
    if format not in PACKED:
        raise ValueError(f"format is {format!r}; give one of {', '.join(PACKED)}")
    if x.ndim != 2 or not x.is_contiguous():
        raise ValueError(f"x is {tuple(x.shape)} with strides {x.stride()}; give a contiguous (rows, K)")
    rows, columns = x.shape
    group = GROUPS.get(format, columns)
    if not columns or columns % group:
        raise ValueError(f"x is {tuple(x.shape)}; {format} has blocks of {group}, make K a multiple of that")
    if (tensor_scale is not None) != (format == "nvfp4"):
        raise ValueError(f"tensor_scale is {tensor_scale}; nvfp4 has one, and {format} is not to be scaled twice")
    if tensor_scale is not None and (tensor_scale.numel() != 1 or tensor_scale.dtype != torch.float32):
        raise ValueError(f"tensor_scale is {tuple(tensor_scale.shape)} {tensor_scale.dtype}; give one float32")
    packed = PACKED[format]
    kind = torch.float8_e4m3fn if packed == 1 else torch.uint8
    values = torch.empty(rows, columns // packed, dtype=kind, device=x.device)
    kind = {"fp8": torch.float32, "nvfp4": torch.float8_e4m3fn}.get(format, torch.uint8)
    scales = torch.empty(rows, columns // group, dtype=kind, device=x.device)
    options = {**DEFAULTS, **tuning}
    tiles = 1 if format == "fp8" else triton.cdiv(columns, options["BLOCK_COLUMNS"])
    grid = (triton.cdiv(rows, options["BLOCK_ROWS"]), tiles)
    kernel[grid](x, tensor_scale, values, scales, rows, columns, FORMAT=format, **options)
    return values, scales


FORMATS = ("fp8", "mxfp8", "mxfp4", "nvfp4")


def example(rows: int, columns: int, format: str) -> tuple[Tensor, Tensor | None, str]:
    """x (rows, columns) bfloat16, its tensor_scale, the format.

    Rows over many orders of magnitude, the last column far above the others. Row 0 holds every midpoint between two
    e2m1 values with both signs, row 1 zeros of both signs, row 2 constants that just saturate e4m3, row 3 subnormals.
    """
    x = torch.randn(rows, columns) * 2.0 ** torch.randint(-20, 20, (rows, 1))
    x[:, -1] *= 100
    ties = torch.tensor([*TIES_TO_LOWER, *TIES_TO_UPPER, E2M1_MAX, 0.0])
    hard = torch.stack(
        [
            torch.cat([ties, -ties]).repeat(-(-columns // 16))[:columns],
            torch.tensor([0.0, -0.0]).repeat(-(-columns // 2))[:columns],
            torch.full((columns,), 1.96875),
            torch.full((columns,), 2.0**-130),
        ]
    )
    x[: len(hard)] = hard[:rows]
    tensor_scale = x.bfloat16().float().abs().amax().reshape(1) / (E4M3_MAX * E2M1_MAX)
    return x.bfloat16(), tensor_scale if format == "nvfp4" else None, format


EXAMPLES = ((1, 32), (5, 96), (6, 1120))
TYPICAL = (3600, 2048)
TENSOR_CORES = False
TUNABLES = {
    "default": DEFAULTS,
    "hip:gfx942": {"BLOCK_ROWS": 16, "num_warps": 1},
    "hip:gfx950": {"BLOCK_ROWS": 8},
    "hip:gfx1250": {"BLOCK_ROWS": 2},
}
SEARCH = {"BLOCK_ROWS": (1, 2, 4, 8, 16), "BLOCK_COLUMNS": (128, 256, 512, 1024), "num_warps": (1, 2, 4, 8)}
_CONVERTED = "it has no instruction that rounds to OCP e4m3; Triton would do it in software, or not at all"
UNSUPPORTED = {
    f"{architecture} {name}": _CONVERTED
    for architecture in ("cuda:75", "cuda:80", "cuda:86", "cuda:87", "hip:gfx90a", "hip:gfx942", "hip:gfx1100")
    for name in ("fp8", "mxfp8", "nvfp4")
}
"""mxfp4 needs integers only, so any architecture can make it, for another one to multiply."""
