"""Product of two block-scaled matrices: out = dequantized(a) @ dequantized(b)^T, accumulated in float32.

    dequantized = value * scale of its block (* tensor_scale)

| format | values | scales | multiplied |
| --- | --- | --- | --- |
| fp8 | (rows, K) float8_e4m3fn | (rows, 1) float32 | after the last product, as is every tensor_scale |
| mxfp8 | (rows, K) float8_e4m3fn | (rows, K / 32) uint8, e8m0 | by the tensor cores |
| mxfp4 | (rows, K / 2) uint8, two e2m1 | (rows, K / 32) uint8, e8m0 | by the tensor cores |
| nvfp4 | (rows, K / 2) uint8, two e2m1 | (rows, K / 16) float8_e4m3fn | by the tensor cores |

Shapes: a's rows are M, b's rows are N: b is the transposed right-hand side, as a linear layer keeps its weight. Scales
lie in rows as above, not in a vendor's tiled order. tensor_scales are (1,) float32 for nvfp4, None for the others.
out (M, N) has the dtype that `output` names. M and N are any size; K is a multiple of the format's block, because a
block has one scale (fp8: any K). A NaN scale makes the products of its row NaN.

UNSUPPORTED names the architectures whose tensor cores do not read a format: Triton would widen its elements to 16 bits
in software there, which is slower than a product of 16-bit matrices.

Sources: OCP Microscaling Formats (MX) v1.0, section 6.2 (dot product); NVFP4: arXiv 2509.25149, appendix C; PTX ISA,
tcgen05.mma and mma with .block_scale. Promoting the partial sums of Hopper's fp8 products, which keep about 14 bits, to
float32: DeepSeek-V3, arXiv 2412.19437, section 3.3.2.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

GROUPS = {"mxfp8": 32, "mxfp4": 32, "nvfp4": 16}
PACKED = {"fp8": 1, "mxfp8": 1, "mxfp4": 2, "nvfp4": 2}
"""Elements a byte."""
VALUES = {"fp8": torch.float8_e4m3fn, "mxfp8": torch.float8_e4m3fn, "mxfp4": torch.uint8, "nvfp4": torch.uint8}
SCALES = {"fp8": torch.float32, "mxfp8": torch.uint8, "mxfp4": torch.uint8, "nvfp4": torch.float8_e4m3fn}
OUTPUTS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Magnitudes by code; bit 3 is the sign."""
DEFAULTS = {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 128, "PANEL": 8, "num_warps": 8, "num_stages": 3}


@triton.jit
def place_of_program(M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PANEL: tl.constexpr):
    """This program's tile (row, column): PANEL tiles down, then one to the right, so that neighbours share L2 lines."""
    across = tl.cdiv(N, BLOCK_N)
    panel = tl.program_id(0) // (PANEL * across)
    inside = tl.program_id(0) % (PANEL * across)
    height = tl.minimum(tl.cdiv(M, BLOCK_M) - panel * PANEL, PANEL)
    return panel * PANEL + inside % height, inside // height


@triton.jit
def kernel(
    a_ptr,
    a_scales_ptr,
    a_tensor_scale_ptr,
    b_ptr,
    b_scales_ptr,
    b_tensor_scale_ptr,
    out_ptr,
    M,
    N,
    value_columns,
    scale_columns,
    FORMAT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PANEL: tl.constexpr,
):
    """One (BLOCK_M, BLOCK_N) tile of out a program; value_columns is K in bytes, scale_columns is K in blocks."""
    element: tl.constexpr = "e4m3" if FORMAT == "mxfp8" else "e2m1"
    bytes_k: tl.constexpr = BLOCK_K if FORMAT == "fp8" or FORMAT == "mxfp8" else BLOCK_K // 2
    blocks_k: tl.constexpr = BLOCK_K // 16 if FORMAT == "nvfp4" else BLOCK_K // 32
    tile_m, tile_n = place_of_program(M, N, BLOCK_M, BLOCK_N, PANEL)
    row = tile_m.to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)  # int64: M * K and M * N may pass 2**31
    column = tile_n.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside_a, inside_b = (row < M)[:, None], (column < N)[None, :]
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for step in range(0, tl.cdiv(value_columns, bytes_k)):
        byte = step * bytes_k + tl.arange(0, bytes_k)
        inside = byte < value_columns
        a = tl.load(a_ptr + row[:, None] * value_columns + byte[None, :], mask=inside_a & inside[None, :], other=0.0)
        b = tl.load(b_ptr + column[None, :] * value_columns + byte[:, None], mask=inside[:, None] & inside_b, other=0.0)
        if FORMAT == "fp8":
            # Not dot(a, b, total): sm_90 sums fp8 products imprecisely, so each step's sum is added in float32.
            # Asked for by max_num_imprecise_acc, Triton 3.9 reads sm_90's accumulators before any wait.
            total += tl.dot(a, b)
        else:
            block = step * blocks_k + tl.arange(0, blocks_k)
            inside = (block < scale_columns)[None, :]
            place = row[:, None] * scale_columns + block[None, :]
            a_scales = tl.load(a_scales_ptr + place, mask=inside_a & inside, other=0.0)
            place = column[:, None] * scale_columns + block[None, :]
            b_scales = tl.load(b_scales_ptr + place, mask=(column < N)[:, None] & inside, other=0.0)
            total = tl.dot_scaled(a, a_scales, element, b, b_scales, element, total)
    if FORMAT == "fp8":
        total *= tl.load(a_scales_ptr + row, mask=row < M, other=0.0)[:, None]
        total *= tl.load(b_scales_ptr + column, mask=column < N, other=0.0)[None, :]
    if FORMAT == "nvfp4":
        total *= tl.load(a_tensor_scale_ptr) * tl.load(b_tensor_scale_ptr)
    out = total.to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + row[:, None] * N + column[None, :], out, mask=inside_a & inside_b)


def dequantize(values: Tensor, scales: Tensor, tensor_scale: Tensor | None, format: str) -> Tensor:
    """The float32 matrix (rows, K) that values and scales stand for."""
    if PACKED[format] == 2:
        magnitudes = torch.tensor([*E2M1, *(-magnitude for magnitude in E2M1)], device=values.device)
        codes = values.to(torch.int64)
        wide = torch.stack([magnitudes[codes % 16], magnitudes[codes // 16]], dim=-1).flatten(-2)
    else:
        wide = values.float()
    if scales.dtype == torch.uint8:
        powers = torch.tensor([*(2.0 ** (code - 127) for code in range(255)), torch.nan], device=scales.device)
        steps = powers[scales.to(torch.int64)]
    else:
        steps = scales.float()
    if tensor_scale is not None:
        steps = steps * tensor_scale
    blocks: Tensor = wide.unflatten(-1, (steps.shape[-1], -1)) * steps.unsqueeze(-1)
    return blocks.flatten(-2)


def reference(
    a: Tensor,
    a_scales: Tensor,
    a_tensor_scale: Tensor | None,
    b: Tensor,
    b_scales: Tensor,
    b_tensor_scale: Tensor | None,
    format: str,
    output: str,
) -> Tensor:
    """The same in PyTorch: both matrices in float32, their product in float32, then the output's dtype."""
    left = dequantize(a, a_scales, a_tensor_scale, format)
    right = dequantize(b, b_scales, b_tensor_scale, format)
    return (left @ right.transpose(0, 1)).to(OUTPUTS[output])


def launch(
    a: Tensor,
    a_scales: Tensor,
    a_tensor_scale: Tensor | None,
    b: Tensor,
    b_scales: Tensor,
    b_tensor_scale: Tensor | None,
    format: str,
    output: str,
    **tuning: int,
) -> Tensor:
    """Run the kernel on contiguous matrices as `block_quantize` makes them; returns out (M, N).

    Raises:
        ValueError: an unknown format or output, or shapes, dtypes or strides that the format does not have.
    """
    if format not in PACKED or output not in OUTPUTS:
        raise ValueError(
            f"format {format!r}, output {output!r}; give one of {', '.join(PACKED)} and of {', '.join(OUTPUTS)}"
        )
    for name, values, scales, tensor_scale in (
        ("a", a, a_scales, a_tensor_scale),
        ("b", b, b_scales, b_tensor_scale),
    ):
        _check_operand(name, values, scales, tensor_scale, format)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"a is {tuple(a.shape)}, b {tuple(b.shape)}; give both the same K")
    out = torch.empty(a.shape[0], b.shape[0], dtype=OUTPUTS[output], device=a.device)
    options = {**DEFAULTS, **tuning}
    grid = (triton.cdiv(a.shape[0], options["BLOCK_M"]) * triton.cdiv(b.shape[0], options["BLOCK_N"]),)
    kernel[grid](
        a,
        a_scales,
        a_tensor_scale,
        b,
        b_scales,
        b_tensor_scale,
        out,
        a.shape[0],
        b.shape[0],
        a.shape[1],
        a_scales.shape[1],
        FORMAT=format,
        **options,
    )
    return out


def _check_operand(name: str, values: Tensor, scales: Tensor, tensor_scale: Tensor | None, format: str) -> None:
    if values.dtype != VALUES[format] or scales.dtype != SCALES[format]:
        raise ValueError(
            f"{name} is {values.dtype} with scales {scales.dtype}; {format} has {VALUES[format]} and {SCALES[format]}"
        )
    if not values.ndim == scales.ndim == 2 or not (values.is_contiguous() and scales.is_contiguous()):
        raise ValueError(f"{name} is {tuple(values.shape)} with strides {values.stride()}; give contiguous matrices")
    columns = values.shape[1] * PACKED[format]
    group = GROUPS.get(format, columns)
    if not columns or columns % group:
        raise ValueError(f"{name} has K = {columns}; {format} has blocks of {group}, make K a multiple of that")
    if scales.shape != (values.shape[0], columns // group):
        raise ValueError(
            f"{name}'s scales are {tuple(scales.shape)}; {format} wants {(values.shape[0], columns // group)}"
        )
    if (tensor_scale is not None) != (format == "nvfp4"):
        raise ValueError(f"{name}'s tensor_scale is {tensor_scale}; nvfp4 has one, {format} is not to be scaled twice")
    if tensor_scale is not None and (tensor_scale.numel() != 1 or tensor_scale.dtype != torch.float32):
        raise ValueError(f"{name}'s tensor_scale is {tuple(tensor_scale.shape)} {tensor_scale.dtype}; give one float32")


FORMATS = ("fp8", "mxfp8", "mxfp4", "nvfp4")


def example(
    M: int, N: int, K: int, format: str
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor, Tensor | None, str, str]:
    """Random codes under random scales over four orders of magnitude, K more than one block where it can be.

    Row 0 of a has equal values under equal scales: its products add up, and a narrow accumulator stops growing.
    """
    a, a_scales, a_tensor_scale = _random_operand(M, K, format)
    b, b_scales, b_tensor_scale = _random_operand(N, K, format)
    a[0], a_scales[0] = a[0, 0], a_scales[0, 0]
    return a, a_scales, a_tensor_scale, b, b_scales, b_tensor_scale, format, "float32"


def _random_operand(rows: int, columns: int, format: str) -> tuple[Tensor, Tensor, Tensor | None]:
    if PACKED[format] == 1:
        values = torch.randn(rows, columns).to(torch.float8_e4m3fn)
    else:
        values = torch.randint(256, (rows, columns // 2), dtype=torch.uint8)
    blocks = (rows, columns // GROUPS.get(format, columns))
    if SCALES[format] == torch.uint8:
        scales = torch.randint(120, 134, blocks, dtype=torch.uint8)
    else:
        scales = (2.0 ** (8 * torch.rand(blocks) - 4)).to(SCALES[format])
    return values, scales, torch.rand(1) + 0.5 if format == "nvfp4" else None


EXAMPLES = ((1, 1, 64), (37, 41, 96), (150, 290, 320))
TYPICAL = (3600, 2048, 2048)
TENSOR_CORES = True
TUNABLES = {
    "default": DEFAULTS,
    "cuda:90": {"BLOCK_K": 256},
    "cuda:100": {"BLOCK_N": 256, "BLOCK_K": 256, "num_stages": 2},
    "cuda:100 mxfp8": {"BLOCK_N": 128, "num_warps": 4},
    "cuda:100 nvfp4": {"BLOCK_M": 256, "BLOCK_N": 128},
    "cuda:103": {"BLOCK_N": 256, "BLOCK_K": 256, "num_stages": 2},
    "cuda:103 mxfp8": {"BLOCK_N": 128, "num_warps": 4},
    "cuda:103 nvfp4": {"BLOCK_M": 256, "BLOCK_N": 128},
    "cuda:107": {"BLOCK_N": 256, "BLOCK_K": 256, "num_stages": 2},
    "cuda:107 nvfp4": {"BLOCK_M": 256, "BLOCK_N": 128},
    "cuda:120": {"BLOCK_K": 256, "num_stages": 2},
    "cuda:121": {"BLOCK_K": 256, "num_stages": 2},
    "hip:gfx950": {"BLOCK_M": 256, "num_warps": 4},
    "hip:gfx1201": {"BLOCK_M": 256, "num_stages": 2},
    "hip:gfx1250": {"BLOCK_M": 256},
}
SEARCH = {
    "BLOCK_M": (64, 128, 256),
    "BLOCK_N": (64, 128, 256),
    "BLOCK_K": (64, 128, 256),
    "PANEL": (4, 8),
    "num_warps": (4, 8),
    "num_stages": (2, 3, 4),
}
_WIDENED = "its tensor cores take no {0}; Triton would widen the elements to 16 bits in software"
UNSUPPORTED = {
    **{f"cuda:{number}": _WIDENED.format("fp8 and no block scales") for number in (75, 80, 86, 87)},
    **{f"cuda:{number} {name}": _WIDENED.format("block scales") for number in (89, 90) for name in GROUPS},
    **{f"hip:{name}": _WIDENED.format("fp8 and no block scales") for name in ("gfx90a", "gfx1100")},
    "hip:gfx942": _WIDENED.format("OCP e4m3, only its FNUZ variant, and no block scales"),
    "hip:gfx950 nvfp4": "its matrix instructions take e8m0 scales of 32 elements, not e4m3 scales of 16",
    **{f"hip:gfx1201 {name}": _WIDENED.format("block scales") for name in GROUPS},
}
"""Where a product of 16-bit matrices is the fallback."""
