"""Conversions of fp8, bf8 and fp4: CDNA3, CDNA4 and RDNA4 instruction sets, LLVM's AMDGPU dialect for gfx1250."""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from porting.emulators.amdgcn.operands import UndecodedError
from porting.emulators.amdgcn.state import Waves
from tests.emulators.amdgcn.bench import execute, lanes_of

Array = npt.NDArray[Any]
FP8 = {"gfx942": ml_dtypes.float8_e4m3fnuz}
BF8 = {"gfx942": ml_dtypes.float8_e5m2fnuz}
ALL = ["gfx942", "gfx950", "gfx1201", "gfx1250"]
EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0625, 17.0, 18.9, 240.0, 448.0, 464.0, 465.0, 1e6, np.inf, -np.inf, np.nan, 2.0**-10]
)


def dtype_of(kind: str, target: str) -> np.dtype[Any]:
    table, default = (FP8, ml_dtypes.float8_e4m3fn) if kind == "fp8" else (BF8, ml_dtypes.float8_e5m2)
    found: np.dtype[Any] = np.dtype(table.get(target, default))
    return found


def words_of(target: str) -> Array:
    """Registers whose bytes run through every code."""
    return (lanes_of(target) * np.uint32(0x04040404) + np.uint32(0x03020100)).astype(np.uint32)


def floats(waves: Waves, row: int) -> Array:
    values: Array = waves.f32[row][0].copy()
    return values


def numbers_of(target: str, seed: int) -> Array:
    """A float32 for every lane, the edges among them."""
    values = np.random.default_rng(seed).normal(0, 30, len(lanes_of(target))).astype(np.float32)
    values[: len(EDGES)] = EDGES
    return values


def quiet(values: Any, dtype: Any) -> Array:
    with np.errstate(all="ignore"):
        rounded: Array = values.astype(dtype)
        return rounded


@pytest.mark.parametrize("kind", ["fp8", "bf8"])
@pytest.mark.parametrize("target", ALL)
def test_pair_to_floats(target: str, kind: str) -> None:
    words = words_of(target)
    name = f"v_cvt_pk_f32_{kind}"
    if "gfx9" in target:
        text = f"{name}_e32 v[2:3], v0\n{name}_sdwa v[4:5], v0 src0_sel:WORD_1"
    else:
        text = f"{name}_e32 v[2:3], v0.l\n{name}_e32 v[4:5], v0.h"
    waves = execute(target, text, {0: words})
    expected = words.view(np.uint8).reshape(-1, 4).view(dtype_of(kind, target)).astype(np.float32)
    for place, row in enumerate((2, 3, 4, 5)):
        np.testing.assert_array_equal(floats(waves, row), expected[:, place])


@pytest.mark.parametrize("target", ALL)
def test_one_byte_to_float(target: str) -> None:
    words = words_of(target)
    form = "v_cvt_f32_fp8_sdwa v3, v0 src0_sel:BYTE_{}" if "gfx9" in target else "v_cvt_f32_fp8_e64 v3, v0 byte_sel:{}"
    expected = words.view(np.uint8).reshape(-1, 4).view(dtype_of("fp8", target)).astype(np.float32)
    waves = execute(target, "v_cvt_f32_fp8_e32 v2, v0\n" + form.format(2), {0: words})
    np.testing.assert_array_equal(floats(waves, 2), expected[:, 0])
    np.testing.assert_array_equal(floats(waves, 3), expected[:, 2])


@pytest.mark.parametrize("kind", ["fp8", "bf8"])
@pytest.mark.parametrize("target", ALL)
def test_floats_to_pair_keep_the_other_half(target: str, kind: str) -> None:
    a, b = numbers_of(target, 1), numbers_of(target, 2)[::-1].copy()
    old = np.full(len(a), 0xABCD1234, np.uint32)
    upper = f"v_cvt_pk_{kind}_f32 v3, v0, v1 op_sel:[0,0,1]"
    waves = execute(target, f"v_cvt_pk_{kind}_f32 v2, v0, v1\n{upper}", {0: a, 1: b, 2: old, 3: old})
    dtype = dtype_of(kind, target)
    pair = quiet(a, dtype).view(np.uint8).astype(np.uint32) | quiet(b, dtype).view(np.uint8).astype(np.uint32) << 8
    np.testing.assert_array_equal(waves.u32[2][0], 0xABCD0000 | pair)
    np.testing.assert_array_equal(waves.u32[3][0], 0x1234 | pair << 16)


def test_source_modifiers_and_partial_exec() -> None:
    a = numbers_of("gfx950", 3)
    waves = execute("gfx950", "v_cvt_pk_fp8_f32 v2, -v0, |v0|", {0: a, 2: 0x55555555}, exec_mask=0x00FF)
    finite = quiet(-a, ml_dtypes.float8_e4m3fn).view(np.uint8)
    got = waves.u32[2][0]
    np.testing.assert_array_equal(got[:8] & 0xFF, finite[:8])
    np.testing.assert_array_equal(got[:8] >> 8 & 0xFF, quiet(np.abs(a), ml_dtypes.float8_e4m3fn).view(np.uint8)[:8])
    assert (got[8:] == 0x55555555).all()


@pytest.mark.parametrize(("target", "largest"), [("gfx942", 240.0), ("gfx950", 448.0), ("gfx1250", 448.0)])
def test_overflow_mode_saturates(target: str, largest: float) -> None:
    """MODE.FP16_OVFL: what is too large becomes the largest finite number."""
    a = np.full(len(lanes_of(target)), np.float32(1e9))
    text = "v_cvt_pk_fp8_f32 v2, v0, v1"
    codes = execute(target, text, {0: a, 1: -a}, saturates=True).u32[2][0].astype(np.uint16).view(np.uint8)
    got = codes.view(dtype_of("fp8", target)).astype(np.float32).reshape(-1, 2)
    assert (got == [largest, -largest]).all()
    plain = execute(target, text, {0: a, 1: -a}).u32[2][0].astype(np.uint16).view(np.uint8)
    assert np.isnan(plain.view(dtype_of("fp8", target)).astype(np.float32)).all()


SCALES = np.array([0.25, 1.0, 1.75, 2.0**20, 2.0**-20, -4.0, 2.0**127, 1.1754944e-38], np.float32)
"""Only the exponents count."""


def powers(scales: Array) -> Array:
    exponents: Array = (scales.view(np.uint32) >> 23 & 255).astype(float)
    result: Array = np.exp2(exponents - 127)
    return result


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("wide", ["f32", "f16", "bf16"])
def test_scaled_pair_to_floats(half: int, wide: str) -> None:
    words, scales = words_of("gfx950"), np.tile(SCALES, 8)
    d = "v[2:3]" if wide == "f32" else "v2"
    text = f"v_cvt_scalef32_pk_{wide}_fp8 {d}, v0, v1 op_sel:[{half},0,0]"
    waves = execute("gfx950", text, {0: words, 1: scales})
    codes = words.view(np.uint8).reshape(-1, 4)[:, 2 * half : 2 * half + 2]
    exact = codes.view(ml_dtypes.float8_e4m3fn).astype(float) * powers(scales)[:, None]
    if wide == "f32":
        got = np.stack([floats(waves, 2), floats(waves, 3)], axis=-1)
        np.testing.assert_array_equal(got, quiet(exact, np.float32))
    else:
        dtype = np.float16 if wide == "f16" else ml_dtypes.bfloat16
        got = waves.u32[2][0].copy().view(dtype).reshape(-1, 2)
        np.testing.assert_array_equal(got.astype(float), quiet(quiet(exact, np.float32), dtype).astype(float))


@pytest.mark.parametrize("byte", [0, 1, 2, 3])
def test_scaled_fp4_to_floats(byte: int) -> None:
    words, scales = words_of("gfx950"), np.full(64, np.float32(8.0))
    text = f"v_cvt_scalef32_pk_f32_fp4 v[2:3], v0, v1 op_sel:[{byte % 2},{byte // 2},0]"
    waves = execute("gfx950", text, {0: words, 1: scales})
    codes = words.view(np.uint8).reshape(-1, 4)[:, byte]
    for row, nibble in ((2, codes & 15), (3, codes >> 4)):
        np.testing.assert_array_equal(floats(waves, row), nibble.view(ml_dtypes.float4_e2m1fn).astype(float) * 8)


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("kind", ["fp8", "bf8"])
def test_floats_to_scaled_pair(half: int, kind: str) -> None:
    """CDNA4: the numbers are divided by the scale."""
    a, b, scales = numbers_of("gfx950", 5), numbers_of("gfx950", 6), np.tile(np.array([1.0, 4.0], np.float32), 32)
    old = np.full(64, 0xABCD1234, np.uint32)
    text = f"v_cvt_scalef32_pk_{kind}_f32 v2, v0, v1, v3 op_sel:[0,0,0,{half}]"
    waves = execute("gfx950", text, {0: a, 1: b, 2: old, 3: scales})
    dtype = dtype_of(kind, "gfx950")
    codes = [quiet(value / scales, dtype).view(np.uint8).astype(np.uint32) for value in (a, b)]
    pair = codes[0] | codes[1] << 8
    expected = (0x1234 | pair << 16) if half else (0xABCD0000 | pair)
    np.testing.assert_array_equal(waves.u32[2][0], expected)


@pytest.mark.parametrize("byte", [0, 1, 2, 3])
def test_floats_to_scaled_fp4(byte: int) -> None:
    a = np.linspace(-7, 7, 64).astype(np.float32)
    b = -a
    text = f"v_cvt_scalef32_pk_fp4_f32 v2, v0, v1, 2.0 op_sel:[0,0,{byte % 2},{byte // 2}]"
    waves = execute("gfx950", text, {0: a, 1: b, 2: 0x55555555})
    codes = [quiet(value / 2, ml_dtypes.float4_e2m1fn).view(np.uint8).astype(np.uint32) for value in (a, b)]
    expected = (0x55555555 & ~(255 << 8 * byte)) | (codes[0] | codes[1] << 4) << 8 * byte
    np.testing.assert_array_equal(waves.u32[2][0], expected)


@pytest.mark.parametrize(("wide", "dtype"), [("f16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_halves_to_scaled_codes(wide: str, dtype: Any) -> None:
    numbers = quiet(numbers_of("gfx950", 7), dtype)
    words = numbers.view(np.uint16).astype(np.uint32) | np.uint32(0x3C00 if wide == "f16" else 0x3F80) << 16
    waves = execute("gfx950", f"v_cvt_scalef32_pk_fp8_{wide} v2, v0, 1.0", {0: words, 2: 0})
    codes = quiet(numbers.astype(np.float32), ml_dtypes.float8_e4m3fn).view(np.uint8).astype(np.uint32)
    np.testing.assert_array_equal(waves.u32[2][0], codes | 0x38 << 8)


@pytest.mark.parametrize(("kind", "bits"), [("fp8", 8), ("bf8", 8), ("fp4", 4)])
def test_eight_floats_to_codes(kind: str, bits: int) -> None:
    numbers = np.random.default_rng(8).normal(0, 3, (8, 32)).astype(np.float32)
    d = "v16" if bits == 4 else "v[16:17]"
    waves = execute("gfx1250", f"v_cvt_scalef32_pk8_{kind}_f32 {d}, v[0:7], 0.5", {0: numbers})
    dtype = {"fp8": ml_dtypes.float8_e4m3fn, "bf8": ml_dtypes.float8_e5m2, "fp4": ml_dtypes.float4_e2m1fn}[kind]
    codes = quiet(numbers * 2, dtype).view(np.uint8).astype(np.uint64)
    whole = np.bitwise_or.reduce([codes[place] << np.uint64(bits * place) for place in range(8)])
    np.testing.assert_array_equal(waves.u32[16][0], (whole & 0xFFFFFFFF).astype(np.uint32))
    if bits == 8:
        np.testing.assert_array_equal(waves.u32[17][0], (whole >> np.uint64(32)).astype(np.uint32))


@pytest.mark.parametrize(("selector", "half", "byte"), [(0, 0, 0), (2, 0, 1), (6, 0, 3), (12, 1, 2)])
def test_eight_codes_times_a_scale_of_another_lane(selector: int, half: int, byte: int) -> None:
    """LLVM: for fp8 and blocks of 32 all lanes l use byte `byte` of lane l % 16 of the chosen half."""
    codes = np.random.default_rng(9).integers(0, 0x78, (32, 8)).astype(np.uint8)
    scales = np.random.default_rng(10).integers(120, 134, (32, 4)).astype(np.uint8)
    words = {0: codes.view(np.uint32).T.copy(), 2: scales.view(np.uint32)[:, 0].copy()}
    text = f"v_cvt_scale_pk8_f32_fp8 v[8:15], v[0:1], v2 scale_sel:{selector}"
    waves = execute("gfx1250", text, words)
    used = scales[np.arange(32) % 16 + 16 * half, byte].astype(float)
    expected = codes.view(ml_dtypes.float8_e4m3fn).astype(float) * np.exp2(used - 127)[:, None]
    np.testing.assert_array_equal(np.stack([floats(waves, 8 + place) for place in range(8)], axis=-1), expected)


@pytest.mark.parametrize(("selector", "half", "byte"), [(0, 0, 0), (2, 0, 2), (4, 1, 0), (6, 1, 2)])
def test_eight_fp4_use_two_bytes_of_scales(selector: int, half: int, byte: int) -> None:
    """LLVM: lanes 0-15 use byte `byte`, lanes 16-31 the next one."""
    codes = np.random.default_rng(11).integers(0, 2**32, 32, dtype=np.uint32)
    scales = np.random.default_rng(12).integers(120, 134, (32, 4)).astype(np.uint8)
    words = {0: codes, 2: scales.view(np.uint32)[:, 0].copy()}
    waves = execute("gfx1250", f"v_cvt_scale_pk8_bf16_fp4 v[8:11], v0, v2 scale_sel:{selector}", words)
    lane = np.arange(32)
    used = scales[lane % 16 + 16 * half, byte + lane // 16].astype(float)
    nibbles = (codes[:, None] >> np.arange(0, 32, 4, dtype=np.uint32) & 15).astype(np.uint8)
    expected = nibbles.view(ml_dtypes.float4_e2m1fn).astype(float) * np.exp2(used - 127)[:, None]
    got = np.stack([waves.u32[8 + place][0] for place in range(4)], axis=-1).view(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(got.astype(float), expected)


def test_a_constant_scale_is_a_code_too() -> None:
    codes = np.full((2, 32), 0x38383838, np.uint32)
    waves = execute("gfx1250", "v_cvt_scale_pk8_f32_fp8 v[8:15], v[0:1], 0x7f", {0: codes})
    assert (floats(waves, 15) == 1.0).all()


def test_blocks_of_sixteen_are_unknown() -> None:
    with pytest.raises(UndecodedError, match="blocks of 16"):
        execute("gfx1250", "v_cvt_scale_pk8_f32_fp8 v[8:15], v[0:1], v2 scale_sel:1")
