"""The elementwise vector instructions as a table: name -> type of the result, types of the sources, function.

Names are without the encodings' suffixes; FORMS says which a name has. Types are those of `values`: "f32", "u16";
"mask" is one bit a lane of a scalar register or pair, "old" the destination's own value before. Source of the
semantics: "AMD Instinct MI300/CDNA3", "CDNA4" and "RDNA4 Instruction Set Architecture" documents, chapters on vector
instructions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from porting.emulators.amdgcn import arithmetic
from porting.emulators.amdgcn.arithmetic import F32, F64, I32, I64, U16, U32, U64

SHORT = ("_e32", "_e64", "_dpp", "_sdwa", "_e64_dpp")
"""Suffixes of what has a short encoding too."""
LONG = ("", "_e64_dpp")
"""Of what has the long encoding only."""


@dataclass(frozen=True)
class Operation:
    """One elementwise instruction."""

    result: str
    sources: tuple[str, ...]
    function: Callable[..., Any]
    saturated: Callable[..., Any] | None = None
    """Of whole numbers under clamp: the nearest number that the type has."""


TABLE: dict[str, Operation] = {}
FORMS: dict[str, tuple[str, ...]] = {}


def add(names: str, result: str, sources: str, function: Callable[..., Any], forms: tuple[str, ...] = SHORT) -> None:
    """Put one function under some names."""
    for name in names.split():
        TABLE[f"v_{name}"] = Operation(result, tuple(sources.split()), function)
        FORMS[f"v_{name}"] = forms


def _saturate(names: str, function: Callable[..., Any], kind: Any) -> None:
    """Let whole numbers be clamped: the function of int64, held between the least and the largest of a type."""
    low, high = np.iinfo(kind).min, np.iinfo(kind).max

    def saturated(*sources: Any) -> Any:
        wide = (np.asarray(source).view(kind).astype(I64) for source in sources)
        return np.clip(function(*wide), low, high).astype(kind)

    for name in names.split():
        TABLE[f"v_{name}"] = replace(TABLE[f"v_{name}"], saturated=saturated)


def _reversed(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: function(b, a)


def _low24(value: Any) -> Any:
    return value & U32(0xFFFFFF)


def _signed24(value: Any) -> Any:
    return (value << I32(8)) >> I32(8)


def _fill_f32() -> None:
    """float32."""
    add("add_f32", "f32", "f32 f32", np.add)
    add("sub_f32", "f32", "f32 f32", np.subtract)
    add("subrev_f32", "f32", "f32 f32", _reversed(np.subtract))
    add("mul_f32", "f32", "f32 f32", np.multiply)
    add("fma_f32", "f32", "f32 f32 f32", arithmetic.fma, LONG)
    add("fmac_f32", "f32", "f32 f32 old", arithmetic.fma)
    add("fmamk_f32", "f32", "f32 f32 f32", arithmetic.fma, LONG)
    add("fmaak_f32", "f32", "f32 f32 f32", arithmetic.fma, LONG)
    add("max_f32 max_num_f32", "f32", "f32 f32", arithmetic.maximum)
    add("min_f32 min_num_f32", "f32", "f32 f32", arithmetic.minimum)
    largest = lambda a, b, c: arithmetic.maximum(arithmetic.maximum(a, b), c)  # noqa: E731
    least = lambda a, b, c: arithmetic.minimum(arithmetic.minimum(a, b), c)  # noqa: E731
    add("max3_f32 max3_num_f32", "f32", "f32 f32 f32", largest, LONG)
    add("min3_f32 min3_num_f32", "f32", "f32 f32 f32", least, LONG)
    add("med3_f32 med3_num_f32", "f32", "f32 f32 f32", arithmetic.median, LONG)
    max_min = lambda a, b, c: arithmetic.minimum(arithmetic.maximum(a, b), c)  # noqa: E731
    min_max = lambda a, b, c: arithmetic.maximum(arithmetic.minimum(a, b), c)  # noqa: E731
    add("maxmin_num_f32 maxmin_f32", "f32", "f32 f32 f32", max_min, LONG)
    add("minmax_num_f32 minmax_f32", "f32", "f32 f32 f32", min_max, LONG)
    add("ldexp_f32", "f32", "f32 i32", arithmetic.ldexp, LONG)
    add("div_fixup_f32", "f32", "f32 f32 f32", arithmetic.div_fixup, LONG)
    _fill_f32_single()


def _fill_f32_single() -> None:
    """float32, of one source. Angles of sin and cos are in turns."""
    add("exp_f32", "f32", "f32", np.exp2)
    add("log_f32", "f32", "f32", np.log2)
    add("rcp_f32 rcp_iflag_f32", "f32", "f32", np.reciprocal)
    add("rsq_f32", "f32", "f32", lambda a: (1 / np.sqrt(np.asarray(a, F64))).astype(F32))
    add("sqrt_f32", "f32", "f32", np.sqrt)
    add("rndne_f32", "f32", "f32", np.rint)
    add("floor_f32", "f32", "f32", np.floor)
    add("ceil_f32", "f32", "f32", np.ceil)
    add("trunc_f32", "f32", "f32", np.trunc)
    add("fract_f32", "f32", "f32", arithmetic.fraction)
    add("sin_f32", "f32", "f32", lambda a: np.sin(2 * np.pi * np.asarray(a, F64)).astype(F32))
    add("cos_f32", "f32", "f32", lambda a: np.cos(2 * np.pi * np.asarray(a, F64)).astype(F32))
    add("tanh_f32", "f32", "f32", np.tanh)
    add("frexp_exp_i32_f32", "i32", "f32", arithmetic.frexp_exponent)
    add("frexp_mant_f32", "f32", "f32", arithmetic.frexp_mantissa)


def _fill_whole() -> None:
    """32-bit whole numbers and bits."""
    add("add_u32 add_nc_u32", "u32", "u32 u32", np.add)
    add("sub_u32 sub_nc_u32", "u32", "u32 u32", np.subtract)
    add("subrev_u32 subrev_nc_u32", "u32", "u32 u32", _reversed(np.subtract))
    add("add_i32 add_nc_i32", "u32", "u32 u32", np.add, LONG)
    add("sub_i32 sub_nc_i32", "u32", "u32 u32", np.subtract, LONG)
    add("mul_lo_u32 mul_lo_i32", "u32", "u32 u32", np.multiply, LONG)
    add("mul_hi_u32", "u32", "u32 u32", lambda a, b: (np.multiply(a, b, dtype=U64) >> U64(32)).astype(U32), LONG)
    add("mul_hi_i32", "i32", "i32 i32", lambda a, b: (np.multiply(a, b, dtype=I64) >> 32).astype(I32), LONG)
    add("mul_u32_u24", "u32", "u32 u32", lambda a, b: _low24(a) * _low24(b))
    add("mul_i32_i24", "i32", "i32 i32", lambda a, b: _signed24(a) * _signed24(b))
    add("mad_u32_u24", "u32", "u32 u32 u32", lambda a, b, c: _low24(a) * _low24(b) + c, LONG)
    add("mad_i32_i24", "i32", "i32 i32 i32", lambda a, b, c: _signed24(a) * _signed24(b) + c, LONG)
    add("mad_u32", "u32", "u32 u32 u32", lambda a, b, c: a * b + c, LONG)
    add("add3_u32", "u32", "u32 u32 u32", lambda a, b, c: a + b + c, LONG)
    add("lshl_add_u32", "u32", "u32 u32 u32", lambda a, b, c: (a << (b & U32(31))) + c, LONG)
    add("add_lshl_u32", "u32", "u32 u32 u32", lambda a, b, c: (a + b) << (c & U32(31)), LONG)
    add("xad_u32", "u32", "u32 u32 u32", lambda a, b, c: (a ^ b) + c, LONG)
    add("min_u32", "u32", "u32 u32", np.minimum)
    add("max_u32", "u32", "u32 u32", np.maximum)
    add("min_i32", "i32", "i32 i32", np.minimum)
    add("max_i32", "i32", "i32 i32", np.maximum)
    for kind in ("u32", "i32"):
        three = f"{kind} {kind} {kind}"
        add(f"max3_{kind}", kind, three, lambda a, b, c: np.maximum(np.maximum(a, b), c), LONG)
        add(f"min3_{kind}", kind, three, lambda a, b, c: np.minimum(np.minimum(a, b), c), LONG)
        add(f"med3_{kind}", kind, three, arithmetic.median_whole, LONG)
        add(f"maxmin_{kind}", kind, three, lambda a, b, c: np.minimum(np.maximum(a, b), c), LONG)
        add(f"minmax_{kind}", kind, three, lambda a, b, c: np.maximum(np.minimum(a, b), c), LONG)
    add("sad_u32", "u32", "u32 u32 u32", lambda a, b, c: np.maximum(a, b) - np.minimum(a, b) + c, LONG)


def _fill_bits() -> None:
    """Bits of 32-bit registers."""
    add("mov_b32", "u32", "u32", lambda a: a)
    add("accvgpr_read_b32 accvgpr_write_b32 accvgpr_mov_b32", "u32", "u32", lambda a: a, ("",))
    add("not_b32", "u32", "u32", np.invert)
    add("and_b32", "u32", "u32 u32", np.bitwise_and)
    add("or_b32", "u32", "u32 u32", np.bitwise_or)
    add("xor_b32", "u32", "u32 u32", np.bitwise_xor)
    add("xnor_b32", "u32", "u32 u32", lambda a, b: ~(a ^ b))
    add("and_or_b32", "u32", "u32 u32 u32", lambda a, b, c: (a & b) | c, LONG)
    add("or3_b32", "u32", "u32 u32 u32", lambda a, b, c: a | b | c, LONG)
    add("xor3_b32", "u32", "u32 u32 u32", lambda a, b, c: a ^ b ^ c, LONG)
    add("lshl_or_b32", "u32", "u32 u32 u32", lambda a, b, c: (a << (b & U32(31))) | c, LONG)
    add("lshlrev_b32", "u32", "u32 u32", lambda a, b: b << (a & U32(31)))
    add("lshrrev_b32", "u32", "u32 u32", lambda a, b: b >> (a & U32(31)))
    add("ashrrev_i32", "i32", "i32 i32", lambda a, b: b >> (a & I32(31)))
    add("bfe_u32", "u32", "u32 u32 u32", arithmetic.extract_unsigned, LONG)
    add("bfe_i32", "i32", "u32 u32 u32", arithmetic.extract_signed, LONG)
    add("bfi_b32", "u32", "u32 u32 u32", lambda a, b, c: (a & b) | (~a & c), LONG)
    bit_mask = lambda a, b: ((U32(1) << (a & U32(31))) - U32(1)) << (b & U32(31))  # noqa: E731
    add("bfm_b32", "u32", "u32 u32", bit_mask, LONG)
    add("bfrev_b32", "u32", "u32", arithmetic.reverse_bits)
    add("bcnt_u32_b32", "u32", "u32 u32", lambda a, b: np.bitwise_count(a).astype(U32) + b, LONG)
    add("ffbh_u32 clz_i32_u32", "u32", "u32", arithmetic.leading_zeros)
    add("ffbl_b32 ctz_i32_b32", "u32", "u32", arithmetic.trailing_zeros)
    add("perm_b32", "u32", "u32 u32 u32", arithmetic.permute_bytes, LONG)
    add("alignbit_b32", "u32", "u32 u32 u32", arithmetic.align_bits, LONG)
    add("alignbyte_b32", "u32", "u32 u32 u32", arithmetic.align_bytes, LONG)
    add("cndmask_b32", "u32", "u32 u32 mask", lambda a, b, mask: np.where(mask, b, a))


def _fill_16() -> None:
    """16-bit whole numbers and floats."""
    plain: dict[str, Any] = {"add": np.add, "sub": np.subtract, "subrev": _reversed(np.subtract)}
    for name, function in plain.items():
        add(f"{name}_u16", "u16", "u16 u16", function)
        add(f"{name}_nc_u16", "u16", "u16 u16", function, LONG)
        add(f"{name}_f16", "f16", "f16 f16", function)
    add("add_nc_i16 add_i16", "u16", "u16 u16", np.add, LONG)
    add("sub_nc_i16 sub_i16", "u16", "u16 u16", np.subtract, LONG)
    for kind in ("u16", "i16"):
        for name, function in (("max", np.maximum), ("min", np.minimum)):
            add(f"{name}_{kind}", kind, f"{kind} {kind}", function, (*SHORT, ""))
    add("mul_lo_u16", "u16", "u16 u16", np.multiply, (*SHORT, ""))
    add("mad_u16", "u16", "u16 u16 u16", lambda a, b, c: a * b + c, LONG)
    add("lshlrev_b16", "u16", "u16 u16", lambda a, b: b << (a & U16(15)), (*SHORT, ""))
    add("lshrrev_b16", "u16", "u16 u16", lambda a, b: b >> (a & U16(15)), (*SHORT, ""))
    add("ashrrev_i16", "i16", "u16 i16", lambda a, b: b >> (a & U16(15)).astype(np.int16), (*SHORT, ""))
    for name, function in (("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)):
        add(f"{name}_b16", "u16", "u16 u16", function, LONG)
    add("not_b16", "u16", "u16", np.invert)
    add("mov_b16", "u16", "u16", lambda a: a)
    add("cndmask_b16", "u16", "u16 u16 mask", lambda a, b, mask: np.where(mask, b, a), (*SHORT, ""))
    add("mul_f16", "f16", "f16 f16", np.multiply)
    add("max_f16 max_num_f16", "f16", "f16 f16", np.fmax)
    add("min_f16 min_num_f16", "f16", "f16 f16", np.fmin)
    add("fma_f16", "f16", "f16 f16 f16", _fma_half, LONG)
    add("div_fixup_f16", "f16", "f16 f16 f16", arithmetic.div_fixup_half, LONG)
    add("fmac_f16", "f16", "f16 f16 old", _fma_half)
    single: dict[str, Any] = {"rndne": np.rint, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc}
    single |= {"rcp": np.reciprocal, "sqrt": np.sqrt, "exp": np.exp2, "log": np.log2}
    for name, function in single.items():
        add(f"{name}_f16", "f16", "f16", function)
    add("rsq_f16", "f16", "f16", lambda a: (1 / np.sqrt(np.asarray(a, F64))).astype(np.float16))


def _fma_half(a: Any, b: Any, c: Any) -> Any:
    """A product of halves is exact in double, and so is its sum with a half within a double's 53 bits."""
    return (np.multiply(a, b, dtype=F64) + c).astype(np.float16)


def _fill_wide() -> None:
    """64-bit."""
    add("mov_b64", "u64", "u64", lambda a: a)
    add("lshlrev_b64", "u64", "u32 u64", lambda a, b: b << (a & U32(63)).astype(U64), (*SHORT, ""))
    add("lshrrev_b64", "u64", "u32 u64", lambda a, b: b >> (a & U32(63)).astype(U64), (*SHORT, ""))
    add("ashrrev_i64", "i64", "u32 i64", lambda a, b: b >> (a & U32(63)).astype(I64), (*SHORT, ""))
    add("lshl_add_u64", "u64", "u64 u32 u64", lambda a, b, c: (a << (b & U32(63)).astype(U64)) + c, LONG)
    add("add_nc_u64", "u64", "u64 u64", np.add, (*SHORT, ""))
    add("sub_nc_u64", "u64", "u64 u64", np.subtract, (*SHORT, ""))
    add("mul_u64", "u64", "u64 u64", np.multiply, (*SHORT, ""))
    for kind in ("u64", "i64"):
        add(f"max_{kind}", kind, f"{kind} {kind}", np.maximum, (*SHORT, ""))
        add(f"min_{kind}", kind, f"{kind} {kind}", np.minimum, (*SHORT, ""))
    add("add_f64", "f64", "f64 f64", np.add, (*SHORT, ""))
    add("mul_f64", "f64", "f64 f64", np.multiply, (*SHORT, ""))
    add("mad_nc_u64_u32", "u64", "u32 u32 u64", lambda a, b, c: np.multiply(a, b, dtype=U64) + c, LONG)
    signed = lambda a, b, c: np.multiply(a, b, dtype=I64) + c  # noqa: E731
    add("mad_nc_i64_i32", "i64", "i32 i32 i64", signed, LONG)


def _fill_conversions() -> None:
    """Between types; from float to whole numbers by truncation, with saturation."""
    add("cvt_f32_u32", "f32", "u32", lambda a: a.astype(F32))
    add("cvt_f32_i32", "f32", "i32", lambda a: a.astype(F32))
    add("cvt_u32_f32", "u32", "f32", lambda a: arithmetic.to_whole(a, 0, 2**32 - 1, U32))
    add("cvt_i32_f32", "i32", "f32", lambda a: arithmetic.to_whole(a, -(2**31), 2**31 - 1, I32))
    nearest = lambda a: arithmetic.to_whole(np.floor(a + F32(0.5)), -(2**31), 2**31 - 1, I32)  # noqa: E731
    add("cvt_rpi_i32_f32 cvt_nearest_i32_f32", "i32", "f32", nearest)
    floor = lambda a: arithmetic.to_whole(np.floor(a), -(2**31), 2**31 - 1, I32)  # noqa: E731
    add("cvt_flr_i32_f32 cvt_floor_i32_f32", "i32", "f32", floor)
    add("cvt_f32_f16", "f32", "f16", lambda a: a.astype(F32))
    add("cvt_f16_f32", "f16", "f32", lambda a: a.astype(np.float16))
    add("cvt_f32_bf16", "f32", "bf16", lambda a: a)
    add("cvt_f16_u16", "f16", "u16", lambda a: a.astype(np.float16))
    add("cvt_f16_i16", "f16", "i16", lambda a: a.astype(np.float16))
    add("cvt_u16_f16", "u16", "f16", lambda a: arithmetic.to_whole(a, 0, 2**16 - 1, U16))
    add("cvt_i16_f16", "i16", "f16", lambda a: arithmetic.to_whole(a, -(2**15), 2**15 - 1, np.int16))
    add("cvt_f64_f32", "f64", "f32", lambda a: a.astype(F64))
    add("cvt_f32_f64", "f32", "f64", lambda a: a.astype(F32))
    add("cvt_f64_i32", "f64", "i32", lambda a: a.astype(F64))
    add("cvt_f64_u32", "f64", "u32", lambda a: a.astype(F64))
    add("cvt_u32_u16", "u32", "u16", lambda a: a.astype(U32))
    add("cvt_i32_i16", "i32", "i16", lambda a: a.astype(I32))
    for place in range(4):
        shift = U32(8 * place)
        byte = lambda a, shift=shift: ((a >> shift) & U32(255)).astype(F32)  # noqa: E731
        add(f"cvt_f32_ubyte{place}", "f32", "u32", byte)


_fill_f32()
_fill_whole()
_fill_bits()
_fill_16()
_fill_wide()
_fill_conversions()
for _kind, _dtype in (("u32", U32), ("u16", U16), ("i32", I32), ("i16", np.int16)):
    _saturate(f"add_nc_{_kind} add_{_kind}", np.add, _dtype)
    _saturate(f"sub_nc_{_kind} sub_{_kind}", np.subtract, _dtype)
for _kind, _dtype in (("u32", U32), ("u16", U16)):
    _saturate(f"subrev_nc_{_kind} subrev_{_kind}", _reversed(np.subtract), _dtype)
