"""cvt: between integers, floats, and the packed small floats (fp8, fp6, fp4, scales, tf32).

Semantics: PTX ISA 9, "Data Movement and Conversion Instructions: cvt". A conversion without a rounding modifier must be
exact; where it meets a number that is not, it is a fault.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.elementwise import computed
from porting.emulators.ptx.numbers import canonical, flushed, narrowed, saturated
from porting.emulators.ptx.table import instruction
from porting.emulators.ptx.types import BYTES, DTYPES, Row

_INTEGERS = ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64")
_FLOATS = ("f16", "bf16", "f32", "f64")
_ROUNDED: dict[str, Callable[[Row], Row]] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}

SMALL: dict[str, np.dtype[Any]] = {
    "e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
    "e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "e2m3": np.dtype(ml_dtypes.float6_e2m3fn),
    "e3m2": np.dtype(ml_dtypes.float6_e3m2fn),
    "e2m1": np.dtype(ml_dtypes.float4_e2m1fn),
}
LARGEST = {"e4m3": 448.0, "e5m2": 57344.0, "e2m3": 7.5, "e3m2": 28.0, "e2m1": 6.0}
"""Small float -> its largest finite number."""
_SMALL_NAN = {"e4m3": 0x7F, "e5m2": 0x7F, "e2m3": 0x1F, "e3m2": 0x1F, "e2m1": 0x7}
"""Small float -> what a NaN becomes: a NaN where there is one, else the largest number."""
_SMALL_BITS = {"e4m3": 8, "e5m2": 8, "e2m3": 6, "e3m2": 6, "e2m1": 4}


def _decoded(kind: str) -> npt.NDArray[np.float32]:
    codes = np.arange(1 << _SMALL_BITS[kind], dtype=np.uint8)
    return codes.view(SMALL[kind]).astype(np.float32)


DECODED: dict[str, npt.NDArray[np.float32]] = {kind: _decoded(kind) for kind in SMALL}
"""Small float -> what each of its codes stands for."""
DECODED["ue8m0"] = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
DECODED["ue4m3"] = np.abs(DECODED["e4m3"])


def to_small(row: Row, kind: str, relu: bool = False) -> npt.NDArray[np.uint8]:
    """Codes of the nearest small floats, held within the finite ones (.satfinite)."""
    value = row.astype(np.float32)
    if relu:
        value = np.where(value > 0, value, np.where(value != value, value, np.float32(0)))
    held = np.clip(value, -LARGEST[kind], LARGEST[kind])
    codes = np.where(value != value, np.float32(0), held).astype(SMALL[kind]).view(np.uint8)
    return np.where(value != value, np.uint8(_SMALL_NAN[kind]), codes)


def to_scale(row: Row, up: bool, finite: bool) -> npt.NDArray[np.uint8]:
    """Codes of ue8m0: powers of two, toward zero or up; the sign is dropped; 255 is NaN."""
    bits = row.view(np.uint32) & np.uint32(0x7FFFFFFF)
    exponent, fraction = bits >> 23, bits & np.uint32(0x7FFFFF)
    # Below 2**-126 a float32 is fraction * 2**-149; code 0 is 2**-127, that is a fraction of 2**22.
    least = np.where(fraction > np.uint32(1 << 22), 1, 0) if up else np.zeros_like(fraction)
    code = np.where(exponent == 0, least, exponent + ((fraction != 0) if up else np.uint32(0)))
    code = np.where(np.isinf(row), 254 if finite else 255, np.minimum(code, 254 if finite else 255))
    return np.where(row != row, 255, code).astype(np.uint8)


def float_to_integer(row: Row, kind: str, source: str, mode: str) -> Row:
    """Rounded to a whole number, then held within the type; NaN is 0, or the lone top bit where 64 bits take part."""
    dtype = DTYPES[kind]
    limits = np.iinfo(dtype)
    whole = _ROUNDED[mode](row.astype(np.float64))
    top = float(limits.max) if limits.bits < 64 else float(2 ** (64 if limits.min == 0 else 63))
    inside = (whole >= float(limits.min)) & ((whole <= top) if limits.bits < 64 else (whole < top))
    result = np.where(inside, whole, 0.0).astype(dtype)
    result = np.where(whole > float(limits.max), limits.max, np.where(whole < float(limits.min), limits.min, result))
    if limits.bits == 64:
        result = np.where(whole >= top, dtype.type(limits.max), result)
    nan: Any = 0
    if limits.bits == 64 or source == "f64":
        nan = limits.min if limits.min else 1 << (limits.bits - 1)
    return np.where(row != row, dtype.type(nan), result.astype(dtype))


def _integer_to_integer(row: Row, kind: str, saturate: bool) -> Row:
    dtype = DTYPES[kind]
    if saturate:
        limits = np.iinfo(dtype)
        own = np.iinfo(row.dtype)
        row = np.clip(row, max(limits.min, own.min), min(limits.max, own.max))
    return row.astype(dtype)


def _integer_to_float(row: Row, kind: str, mode: str) -> Row:
    if mode == "rn" and kind in ("f32", "f64"):
        return row.astype(DTYPES[kind])
    return narrowed(row.astype(np.float64), kind, mode)


def _float_to_float(row: Row, kind: str, mode: str) -> Row:
    return canonical(narrowed(row.astype(np.float64), kind, mode), kind)


def _exact(row: Row, kind: str) -> Row:
    result = (
        row.astype(np.float64).astype(DTYPES[kind]) if kind != "bf16" else row.astype(np.float32).astype(DTYPES[kind])
    )
    if not ((result.astype(np.float64) == row.astype(np.float64)) | (row != row)).all():
        raise Fault(FaultKind.UNKNOWN, f"how a number that {kind} does not hold is rounded without a modifier")
    return canonical(result, kind)


def _float_within(row: Row, mode: str, flush: bool, saturate: bool) -> Row:
    """float32 to float32: flushed, rounded to a whole number, held between 0 and 1."""
    value = flushed(row) if flush else row
    value = _ROUNDED[mode](value) if mode else value
    return saturated(value) if saturate else value


def _clamped_finite(row: Row, kind: str) -> Row:
    """.satfinite of f16, bf16, tf32: beyond the largest finite number there is none."""
    top = {"f16": 65504.0, "bf16": 2.0**128 - 2.0**120}[kind]
    return np.where(row != row, row, np.clip(row.astype(np.float32), np.float32(-top), np.float32(top)))


def _relu(row: Row) -> Row:
    return np.where(row > 0, row, np.where(row != row, row, row.dtype.type(0)))


def _half(row: Row, kind: str, mode: str, relu: bool, finite: bool) -> Row:
    """float32 -> f16 or bf16."""
    value = _clamped_finite(row, kind) if finite else row
    value = _relu(value) if relu else value
    return canonical(narrowed(value.astype(np.float64), kind, mode), kind)


def _joined(high: Row, low: Row, bits: int) -> Row:
    """Two codes in one register, the first operand above."""
    wide = DTYPES["b32" if bits == 16 else "b16" if bits == 8 else "b8"]
    joined: Row = (high.astype(wide) << bits) | low.astype(wide)
    return joined


def _tf32(row: Row, mode: str, relu: bool, finite: bool) -> Row:
    """float32 with 10 bits of fraction: the low 13 are zero."""
    bits = row.view(np.uint32)
    drop = np.uint32(0x1FFF)
    special = (bits & np.uint32(0x7F800000)) == np.uint32(0x7F800000)
    half = np.uint32(0x1000) if mode == "rna" else (np.uint32(0xFFF) + (bits >> 13 & np.uint32(1)))
    rounded = bits & ~drop if mode == "rz" else (bits + half) & ~drop
    if finite:
        over = ((rounded & np.uint32(0x7FFFFFFF)) >= np.uint32(0x7F800000)) & (row == row)
        rounded = np.where(over, (bits & np.uint32(0x80000000)) | np.uint32(0x7F7FE000), rounded)
        special = row != row
    result = np.where(special, bits, rounded).view(np.float32)
    return canonical(_relu(result) if relu else result, "f32")


def _enter_integers() -> None:
    for kind in _INTEGERS:
        for source in _INTEGERS:
            for saturate in ("", ".sat"):
                instruction(f"cvt{saturate}.{kind}.{source}")(
                    computed(kind, (source,), partial(_integer_to_integer, kind=kind, saturate=bool(saturate)))
                )
        for source in _FLOATS:
            for mode in _ROUNDED:
                plain = partial(float_to_integer, kind=kind, source=source, mode=mode)
                for saturate in ("", ".sat"):
                    instruction(f"cvt.{mode}{saturate}.{kind}.{source}")(computed(kind, (source,), plain))
                if source == "f32":
                    instruction(f"cvt.{mode}.ftz.{kind}.f32")(
                        computed(kind, ("f32",), lambda a, plain=plain: plain(flushed(a)))
                    )
    for kind in _FLOATS:
        for source in _INTEGERS:
            if kind in ("f16", "bf16") and BYTES[source] == 8:
                continue  # would be rounded twice
            for mode in ("rn", "rz", "rm", "rp"):
                if BYTES[source] == 8 and mode != "rn":
                    continue
                instruction(f"cvt.{mode}.{kind}.{source}")(
                    computed(kind, (source,), partial(_integer_to_float, kind=kind, mode=mode))
                )


def _enter_floats() -> None:
    wider = {"f16": 0, "bf16": 0, "f32": 1, "f64": 2}
    for kind in _FLOATS:
        for source in _FLOATS:
            if wider[kind] > wider[source] or kind == source or (kind, source) in (("bf16", "f16"), ("f16", "bf16")):
                instruction(f"cvt.{kind}.{source}")(computed(kind, (source,), partial(_exact, kind=kind)))
            if wider[kind] < wider[source] or (kind, source) in (("bf16", "f16"), ("f16", "bf16")):
                for mode in ("rn", "rz", "rm", "rp"):
                    instruction(f"cvt.{mode}.{kind}.{source}")(
                        computed(kind, (source,), partial(_float_to_float, kind=kind, mode=mode))
                    )
        for mode, whole in _ROUNDED.items():
            instruction(f"cvt.{mode}.{kind}.{kind}")(computed(kind, (kind,), whole))
    for mode in ("", *(f".{mode}" for mode in _ROUNDED)):
        for flush in ("", ".ftz"):
            for saturate in ("", ".sat"):
                if flush or saturate:
                    within = partial(_float_within, mode=mode[1:], flush=bool(flush), saturate=bool(saturate))
                    instruction(f"cvt{mode}{flush}{saturate}.f32.f32")(computed("f32", ("f32",), within))
    instruction("cvt.ftz.f32.f16")(computed("f32", ("f16",), lambda a: a.astype(np.float32)))


def _enter_halves() -> None:
    for mode in ("rn", "rz"):
        for relu in ("", ".relu"):
            for finite in ("", ".satfinite"):
                for kind in ("f16", "bf16"):
                    one = partial(_half, kind=kind, mode=mode, relu=bool(relu), finite=bool(finite))
                    if relu or finite:
                        instruction(f"cvt.{mode}{relu}{finite}.{kind}.f32")(computed(kind, ("f32",), one))
                    instruction(f"cvt.{mode}{relu}{finite}.{kind}x2.f32")(
                        computed(
                            "b32",
                            ("f32", "f32"),
                            lambda a, b, one=one: _joined(one(a).view(np.uint16), one(b).view(np.uint16), 16),
                        )
                    )
                instruction(f"cvt.{mode}{finite}{relu}.tf32.f32")(
                    computed("f32", ("f32",), partial(_tf32, mode=mode, relu=bool(relu), finite=bool(finite)))
                )
    for finite in ("", ".satfinite"):
        instruction(f"cvt.rna{finite}.tf32.f32")(
            computed("f32", ("f32",), partial(_tf32, mode="rna", relu=False, finite=bool(finite)))
        )


def _enter_small() -> None:
    for kind in SMALL:
        bits = 4 if kind == "e2m1" else 8
        packed = "b8" if kind == "e2m1" else "b16"
        for relu in ("", ".relu"):
            to = partial(to_small, kind=kind, relu=bool(relu))
            instruction(f"cvt.rn.satfinite{relu}.{kind}x2.f32")(
                computed(packed, ("f32", "f32"), lambda a, b, to=to, bits=bits: _joined(to(a), to(b), bits))
            )
            if kind in ("e4m3", "e5m2"):
                instruction(f"cvt.rn.satfinite{relu}.{kind}x2.f16x2")(
                    computed("b16", ("f16x2",), lambda a, to=to: _joined(to(a[:, 1]), to(a[:, 0]), 8))
                )
            instruction(f"cvt.rn{relu}.f16x2.{kind}x2")(
                computed("b32", (packed,), partial(_from_small, kind=kind, bits=bits, relu=bool(relu)))
            )
    for mode in ("rz", "rp"):
        for finite in ("", ".satfinite"):
            scale = partial(to_scale, up=mode == "rp", finite=bool(finite))
            instruction(f"cvt.{mode}{finite}.ue8m0x2.f32")(
                computed("b16", ("f32", "f32"), lambda a, b, scale=scale: _joined(scale(a), scale(b), 8))
            )
            instruction(f"cvt.{mode}{finite}.ue8m0x2.bf16x2")(
                computed(
                    "b16",
                    ("bf16x2",),
                    lambda a, scale=scale: _joined(
                        scale(a[:, 1].astype(np.float32)), scale(a[:, 0].astype(np.float32)), 8
                    ),
                )
            )
    instruction("cvt.rn.bf16x2.ue8m0x2")(computed("b32", ("b16",), _from_scales))


def _from_small(row: Row, kind: str, bits: int, relu: bool) -> Row:
    mask = (1 << _SMALL_BITS[kind]) - 1
    parts = []
    for shift in (bits, 0):
        value = DECODED[kind][(row >> shift) & mask].astype(np.float16)
        parts.append(canonical(_relu(value) if relu else value, "f16").view(np.uint16))
    return _joined(parts[0], parts[1], 16)


def _from_scales(row: Row) -> Row:
    parts = [
        canonical(DECODED["ue8m0"][(row >> shift) & 0xFF].astype(ml_dtypes.bfloat16), "bf16").view(np.uint16)
        for shift in (8, 0)
    ]
    return _joined(parts[0], parts[1], 16)


_enter_integers()
_enter_floats()
_enter_halves()
_enter_small()
