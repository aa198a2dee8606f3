"""The block-scaled product: against ml_dtypes, with the quantiser before it, what it refuses, and its mutants."""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from porting.kernel_library import kernel_paths, load_kernel
from tests.kernels.harness import killed, launched

KERNEL = load_kernel(kernel_paths()["block_scaled_matmul"])
QUANTIZER = load_kernel(kernel_paths()["block_quantize"])
Doubles = npt.NDArray[np.float64]


def quantized(x: Tensor, format: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """x as the quantiser's reference gives it, with its tensor_scale."""
    tensor_scale = x.abs().amax().reshape(1) / (448 * 6) if format == "nvfp4" else None
    values, scales = QUANTIZER.reference(x, tensor_scale, format)
    return values, scales, tensor_scale


def dequantized_by_ml_dtypes(values: Tensor, scales: Tensor, tensor_scale: Tensor | None) -> Doubles:
    """The matrix in float64; two codes a byte where values are uint8."""
    codes = values.view(torch.uint8).numpy()
    if values.dtype == torch.uint8:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1)
        wide = codes.view(ml_dtypes.float4_e2m1fn).astype(np.float64)
    else:
        wide = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    if scales.dtype == torch.uint8:
        steps = scales.numpy().view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    else:
        steps = scales.double().numpy()
    result: Doubles = wide * np.repeat(steps, wide.shape[1] // steps.shape[1], axis=1)
    return result if tensor_scale is None else result * tensor_scale.double().numpy()


@pytest.mark.parametrize("format", KERNEL.formats)
@pytest.mark.parametrize(("output", "rounding"), [("float32", 2e-6), ("float16", 6e-4), ("bfloat16", 5e-3)])
def test_the_product_is_the_one_of_ml_dtypes(format: str, output: str, rounding: float) -> None:
    torch.manual_seed(3)
    a, b = (quantized(torch.randn(rows, 416) / 8, format) for rows in (19, 35))
    expected = dequantized_by_ml_dtypes(*a) @ dequantized_by_ml_dtypes(*b).T
    for out in (launched(KERNEL, (*a, *b, format, output))[0], KERNEL.reference(*a, *b, format, output)):
        assert isinstance(out, Tensor)
        assert out.dtype == getattr(torch, output)
        np.testing.assert_allclose(
            out.double().numpy(), expected, rtol=rounding, atol=rounding * np.abs(expected).max()
        )


def test_more_bits_and_finer_scales_are_nearer_to_the_product_of_floats() -> None:
    """Each format's error on normal values, quantised and multiplied by the kernels: bounds are twice what was seen."""
    torch.manual_seed(4)
    a, b = torch.randn(40, 512), torch.randn(48, 512)
    errors = {}
    for format in KERNEL.formats:
        operands = []
        for x in (a, b):
            tensor_scale = quantized(x, format)[2]
            operands += [*launched(QUANTIZER, (x, tensor_scale, format)), tensor_scale]
        (out,) = launched(KERNEL, (*operands, format, "float32"))
        errors[format] = float((out - a @ b.T).norm() / (a @ b.T).norm())
    assert errors["fp8"] < 0.08
    assert errors["mxfp8"] < 0.08
    assert errors["mxfp8"] < errors["nvfp4"] < errors["mxfp4"] < 0.33


@pytest.mark.parametrize("format", KERNEL.formats)
def test_a_nan_scale_spoils_its_row_and_nothing_else(format: str) -> None:
    a = torch.ones(5, 96)
    a[2, 70] = torch.nan
    b = torch.ones(7, 96)
    clean = quantized(b, format)
    values, scales = QUANTIZER.reference(a, clean[2], format)
    (out,) = launched(KERNEL, (values, scales, clean[2], *clean, format, "float32"))
    assert out.isnan().all(1).tolist() == [False, False, True, False, False]
    assert out.isnan().sum() == 7


@pytest.mark.parametrize("panel", [1, 2, 3, 8])
def test_every_tile_is_computed_whatever_the_order(panel: int) -> None:
    """5 x 3 tiles: the last panel of two and of three rows of tiles is not a full one."""
    torch.manual_seed(7)
    a, b = (quantized(torch.randn(rows, 32), "mxfp8") for rows in (150, 90))
    tuning = {"BLOCK_M": 32, "BLOCK_N": 32, "BLOCK_K": 64, "PANEL": panel}
    (out,) = launched(KERNEL, (*a, *b, "mxfp8", "float32"), **tuning)
    torch.testing.assert_close(out, KERNEL.reference(*a, *b, "mxfp8", "float32"))


def test_fp8_takes_any_k() -> None:
    torch.manual_seed(6)
    a, b = (quantized(torch.randn(rows, 131), "fp8") for rows in (5, 3))
    (out,) = launched(KERNEL, (*a, *b, "fp8", "float32"))
    expected = dequantized_by_ml_dtypes(*a) @ dequantized_by_ml_dtypes(*b).T
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-5, atol=1e-5)


MX = (torch.zeros(4, 64).to(torch.float8_e4m3fn), torch.zeros(4, 2, dtype=torch.uint8), None)
NV = (torch.zeros(4, 32, dtype=torch.uint8), torch.zeros(4, 4).to(torch.float8_e4m3fn), torch.ones(1))


@pytest.mark.parametrize(
    ("a", "b", "format", "output", "words"),
    [
        (MX, MX, "fp4", "float32", "give one of fp8"),
        (MX, MX, "mxfp8", "float64", "float32, float16, bfloat16"),
        (MX, MX, "mxfp4", "float32", "mxfp4 has torch.uint8"),
        (NV, NV, "mxfp4", "float32", "a is torch.uint8 with scales torch.float8_e4m3fn"),
        (MX, (MX[0][:, :32].contiguous(), MX[1][:, :1].contiguous(), None), "mxfp8", "float32", "the same K"),
        (MX, (MX[0], MX[1][:, :1].contiguous(), None), "mxfp8", "float32", "b's scales are"),
        (MX, (MX[0][:, :48].contiguous(), MX[1], None), "mxfp8", "float32", "make K a multiple"),
        (MX, (MX[0].T, MX[1], None), "mxfp8", "float32", "contiguous"),
        ((*MX[:2], torch.ones(1)), MX, "mxfp8", "float32", "not to be scaled twice"),
        (NV, (*NV[:2], None), "nvfp4", "float32", "b's tensor_scale is None"),
        (NV, (*NV[:2], torch.ones(2)), "nvfp4", "float32", "give one float32"),
    ],
)
def test_what_does_not_fit_is_refused(a: Any, b: Any, format: str, output: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KERNEL.launch(*a, *b, format, output)


MUTANTS = {
    "accumulation in bf16": (
        "element, b, b_scales, element, total)",
        "element, b, b_scales, element, total).to(tl.bfloat16).to(tl.float32)",
    ),
    "accumulation of fp8 in bf16": (
        "total += tl.dot(a, b)",
        "total = (total + tl.dot(a, b)).to(tl.bfloat16).to(tl.float32)",
    ),
    "only the last block of K": ("element, b, b_scales, element, total)", "element, b, b_scales, element)"),
    "one block of K too few": ("range(0, tl.cdiv(value_columns, bytes_k))", "range(0, value_columns // bytes_k)"),
    "K is not masked": ("inside = byte < value_columns", "inside = byte < value_columns + 1"),
    "scales of a along the rows": (
        "place = row[:, None] * scale_columns + block[None, :]",
        "place = row[:, None] * 0 + block[None, :]",
    ),
    "scales of b along the rows": (
        "place = column[:, None] * scale_columns + block[None, :]",
        "place = column[:, None] * 0 + block[None, :]",
    ),
    "block scale off by one": (
        "block = step * blocks_k + tl.arange(0, blocks_k)",
        "block = step * blocks_k + (tl.arange(0, blocks_k) + 1) % blocks_k",
    ),
    "scales of the first blocks": ("block = step * blocks_k", "block = step * 0"),
    "scales of a for b": ("tl.load(b_scales_ptr + place", "tl.load(a_scales_ptr + place"),
    "blocks of 32 for 16": ('BLOCK_K // 16 if FORMAT == "nvfp4"', 'BLOCK_K // 32 if FORMAT == "nvfp4"'),
    "no tensor scale": (
        "total *= tl.load(a_tensor_scale_ptr) * tl.load(b_tensor_scale_ptr)",
        "total *= tl.load(a_tensor_scale_ptr)",
    ),
    "tensor scale squared": ("* tl.load(b_tensor_scale_ptr)", "* tl.load(a_tensor_scale_ptr)"),
    "row scale left out": ("total *= tl.load(a_scales_ptr + row", "total += 0 * tl.load(a_scales_ptr + row"),
    "row scale on the columns": (
        "total *= tl.load(b_scales_ptr + column, mask=column < N, other=0.0)[None, :]",
        "total *= tl.load(a_scales_ptr + column, mask=column < M, other=0.0)[None, :]",
    ),
    "rows of a are not masked": ("(row < M)[:, None], (column < N)", "(row <= M)[:, None], (column < N)"),
    "columns are not written": ("(row < M)[:, None], (column < N)", "(row < M)[:, None], (column < N - 1)"),
    "the product transposed": (
        "out_ptr + row[:, None] * N + column[None, :]",
        "out_ptr + column[None, :] * M + row[:, None]",
    ),
    "tiles exchanged": (
        "return panel * PANEL + inside % height, inside // height",
        "return inside // height, panel * PANEL + inside % height",
    ),
    "a tile computed twice, another never": ("inside // height\n", "(inside // height) * 0\n"),
    "b for a": ("a = tl.load(a_ptr", "a = tl.load(b_ptr"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("block_scaled_matmul", *MUTANTS[mutant])
