"""The block quantiser: its codes against ml_dtypes, what it does with what no format has, and its mutants."""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from porting.kernel_library import kernel_paths, load_kernel
from tests.kernels.harness import killed, launched

KERNEL = load_kernel(kernel_paths()["block_quantize"])
Codes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
LARGEST = {"fp8": 448, "mxfp8": 448, "mxfp4": 6, "nvfp4": 6}
GROUPS = {"mxfp8": 32, "mxfp4": 32, "nvfp4": 16}


def quantized_by_ml_dtypes(x: Floats, tensor_scale: np.float32, format: str) -> tuple[Codes, npt.NDArray[Any]]:
    """Codes, one a byte, and scales; every cast by ml_dtypes, every block on its own."""
    rows, columns = len(x), len(x[0])
    group = GROUPS.get(format, columns)
    codes = np.empty(x.shape, np.uint8)
    scales = np.empty((rows, columns // group), np.float32 if format == "fp8" else np.uint8)
    element = ml_dtypes.float4_e2m1fn if LARGEST[format] == 6 else ml_dtypes.float8_e4m3fn
    for row in range(rows):
        for block in range(columns // group):
            here = (row, slice(block * group, (block + 1) * group))
            stored, step, inverse = scale_of_block(np.abs(x[here]).max(), tensor_scale, format)
            scales[row, block] = stored
            scaled = np.clip(x[here] * inverse, -LARGEST[format], LARGEST[format])
            codes[here] = scaled.astype(element).view(np.uint8) if np.isfinite(step) else 0
    return codes, scales


def scale_of_block(amax: np.float32, tensor_scale: np.float32, format: str) -> tuple[Any, np.float32, np.float32]:
    """The stored scale, what it multiplies by, and what an element is multiplied by to be in its units."""
    nan, one = np.float32(np.nan), np.float32(1)
    if format == "fp8":
        scale = np.maximum(amax / np.float32(448), np.float32(2.0**-126)) if np.isfinite(amax) else nan
        return scale, scale, one / scale
    if format == "nvfp4":
        level = np.minimum(amax / (np.float32(6) * tensor_scale), np.float32(448)) if np.isfinite(amax) else nan
        stored = np.asarray(level).astype(ml_dtypes.float8_e4m3fn)
        step = np.float32(stored) * tensor_scale
        return stored.view(np.uint8), step, np.float32(0) if step == 0 else one / step
    if not np.isfinite(amax):
        return 255, nan, nan
    largest = {"mxfp8": 8, "mxfp4": 2}[format]
    exponent = -127 if amax == 0 else max(int(np.frexp(np.float64(amax))[1]) - 1 - largest, -127)
    power = np.asarray(2.0**exponent).astype(ml_dtypes.float8_e8m0fnu)
    return power.view(np.uint8), np.float32(power), np.float32(2.0**-exponent)


def hard_matrix(dtype: torch.dtype) -> Tensor:
    """(11, 96): ties, zeros, ends of the range of the dtype, subnormals, a NaN and infinities in some blocks."""
    torch.manual_seed(11)
    x = torch.randn(11, 96) * 2.0 ** torch.randint(-30, 10, (11, 1))
    x[0] = (torch.arange(96) - 48) / 8
    x[1] = torch.tensor([0.0, -0.0]).repeat(48)
    x[2] = torch.finfo(dtype).max
    x[3] = -torch.finfo(dtype).max / 2
    x[4] = torch.finfo(dtype).tiny * torch.linspace(-1, 1, 96)
    x[5] = torch.linspace(-448, 448, 96)
    x[6, 40], x[6, 41] = torch.nan, 1e4
    x[7, 3], x[7, 90] = torch.inf, -torch.inf
    x[8] = 1e-12
    x[8, 50] = 3.0
    return x.to(dtype)


def unpacked(values: Tensor, format: str) -> Codes:
    """One code a byte, the low four bits first."""
    codes: Codes = values.view(torch.uint8).numpy()
    if LARGEST[format] == 448:
        return codes
    return np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("format", KERNEL.formats)
@pytest.mark.filterwarnings("ignore:overflow encountered in scalar divide:RuntimeWarning")
def test_every_code_is_the_one_of_ml_dtypes(format: str, dtype: torch.dtype) -> None:
    x = hard_matrix(dtype)
    tensor_scale = torch.tensor([0.037]) if format == "nvfp4" else None
    expected, expected_scales = quantized_by_ml_dtypes(x.float().numpy(), np.float32(0.037), format)
    for values, scales in (
        launched(KERNEL, (x, tensor_scale, format), BLOCK_ROWS=4, BLOCK_COLUMNS=64),
        KERNEL.reference(x, tensor_scale, format),
    ):
        found = scales.numpy() if format == "fp8" else scales.view(torch.uint8).numpy()
        np.testing.assert_array_equal(found, expected_scales)
        np.testing.assert_array_equal(unpacked(values, format), expected)


@pytest.mark.parametrize("format", KERNEL.formats)
def test_a_block_that_is_not_finite_has_a_nan_scale_and_no_other_block_has(format: str) -> None:
    x = torch.ones(1, 96)
    x[0, 40] = torch.nan
    scales = launched(KERNEL, (x, torch.ones(1) if format == "nvfp4" else None, format))[1]
    nan = scales == 255 if scales.dtype == torch.uint8 else scales.float().isnan()
    assert (
        nan.tolist()
        == {
            "fp8": [[True]],
            "mxfp8": [[False, True, False]],
            "mxfp4": [[False, True, False]],
            "nvfp4": [[False, False, True, False, False, False]],
        }[format]
    )


@pytest.mark.parametrize("format", KERNEL.formats)
def test_what_is_in_the_format_comes_back_exactly(format: str) -> None:
    """Blocks of values of the element format under powers of two, their largest value among them."""
    torch.manual_seed(5)
    element = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0] if LARGEST[format] == 6 else [2.0**e for e in range(-6, 9)]
    blocks = torch.tensor(element)[torch.randint(len(element), (8, 3, 32))]
    blocks[..., ::16] = LARGEST[format]
    x = (blocks * 2.0 ** torch.randint(-3, 4, (8, 1 if format == "fp8" else 3, 1))).flatten(1)
    values, scales = launched(KERNEL, (x, torch.ones(1) if format == "nvfp4" else None, format))
    steps = 2.0 ** (scales.float() - 127) if scales.dtype == torch.uint8 else scales.float()
    if LARGEST[format] == 6:
        plain = torch.from_numpy(unpacked(values, format).view(ml_dtypes.float4_e2m1fn).astype(np.float32))
    else:
        plain = values.float()
    assert torch.equal((plain.unflatten(1, (steps.shape[1], -1)) * steps.unsqueeze(-1)).flatten(1), x)


@pytest.mark.parametrize(
    ("x", "tensor_scale", "format", "words"),
    [
        (torch.ones(2, 48), None, "mxfp8", "make K a multiple"),
        (torch.ones(2, 24), torch.ones(1), "nvfp4", "make K a multiple"),
        (torch.ones(2, 0), None, "fp8", "make K a multiple"),
        (torch.ones(2, 32), None, "nvfp4", "nvfp4 has one"),
        (torch.ones(2, 32), torch.ones(1), "mxfp4", "not to be scaled twice"),
        (torch.ones(2, 32), torch.ones(2), "nvfp4", "one float32"),
        (torch.ones(2, 32), torch.ones(1).half(), "nvfp4", "one float32"),
        (torch.ones(2, 2, 32), None, "fp8", r"contiguous \(rows, K\)"),
        (torch.ones(2, 32), None, "int4", "give one of fp8"),
    ],
)
def test_what_does_not_fit_is_refused(x: Tensor, tensor_scale: Tensor | None, format: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KERNEL.launch(x, tensor_scale, format)


MUTANTS = {
    "ties of e2m1 away from zero": ("(magnitude > 0.25)", "(magnitude >= 0.25)"),
    "ties of e2m1 towards zero": ("(magnitude >= 0.75)", "(magnitude > 0.75)"),
    "e2m1 rounds towards zero": ("(magnitude > 5.0)", "(magnitude >= 6.0)"),
    "sign of a zero is lost": (
        "return code | ((x.to(tl.int32, bitcast=True) >> 31) & 8)",
        "return code | tl.where(x < 0, 8, 0)",
    ),
    "e4m3 rounds towards zero": (
        "-448.0), 448.0).to(tl.float8e4nv)",
        '-448.0), 448.0).to(tl.float8e4nv, fp_downcast_rounding="rtz")',
    ),
    "rows of fp8 round towards zero": (
        "value.to(tl.float8e4nv), mask",
        'value.to(tl.float8e4nv, fp_downcast_rounding="rtz"), mask',
    ),
    "mxfp8 saturates too early": ("scaled, -448.0), 448.0).to(", "scaled, -448.0), 430.0).to("),
    "scale of fp8 from a part of the row": (
        "greatest = tl.maximum(greatest, magnitude_bits(x))",
        "greatest = tl.where(start == 0, magnitude_bits(x), greatest)",
    ),
    "scale of fp8 of all rows": (
        "bits = tl.max(greatest, axis=1)",
        "bits = tl.max(tl.max(greatest, axis=1)) + tl.zeros_like(tl.max(greatest, axis=1))",
    ),
    "smallest scale is zero": ("1.1754943508222875e-38)", "0.0)"),
    "amax of signed values": ("bitcast=True) & 0x7FFFFFFF", "bitcast=True)"),
    "blocks of 16 have scales of 32": ('16 if FORMAT == "nvfp4" else 32', "32"),
    "block scale off by one": (
        "tl.program_id(1) * blocks + tl.arange(0, blocks)",
        "tl.program_id(1) * blocks + (tl.arange(0, blocks) + 1) % blocks",
    ),
    "emax of e4m3 is 7": ("(8 if", "(7 if"),
    "emax of e2m1 is 1": ("else 2), 0)", "else 1), 0)"),
    "exponent is rounded up": ("(bits >> 23)", "((bits + 0x7FFFFF) >> 23)"),
    "exponent wraps below zero": ("else 2), 0)", "else 2), -200)"),
    "inverse of the scale is the scale": ("((254 - exponent) << 23)", "(exponent << 23)"),
    "tensor scale left out of the block scale": ("6.0 * tensor_scale", "6.0"),
    "tensor scale left out of the element": ("scale.to(tl.float32) * tensor_scale", "scale.to(tl.float32)"),
    "element divided by the unrounded scale": (
        "step = scale.to(tl.float32) * tensor_scale",
        "step = level * tensor_scale",
    ),
    "nibbles exchanged": ("(even | (odd << 4))", "(odd | (even << 4))"),
    "half of a byte is lost": ("(even | (odd << 4))", "even"),
    "columns are not masked": (
        "inside_bytes = (row < rows)[:, None] & (byte < columns // 2)[None, :]",
        "inside_bytes = (row < rows)[:, None] & (byte < columns)[None, :]",
    ),
    "the last scale is not written": ("(block < columns // group)", "(block < columns // group - 1)"),
    "rows of scales are not masked": (
        "inside_blocks = (row < rows)[:, None]",
        "inside_blocks = (row <= rows)[:, None]",
    ),
    "in bf16": (
        "x = tl.reshape(x, (BLOCK_ROWS, blocks, group))",
        "x = tl.reshape((x * 1.01).to(tl.bfloat16).to(tl.float32), (BLOCK_ROWS, blocks, group))",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("block_quantize", *MUTANTS[mutant])
