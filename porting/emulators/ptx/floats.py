"""Arithmetic of floats: add, sub, mul, fma, mad, min, max, abs, neg, copysign, testp; packed and of mixed types.

Every result is rounded once, as PTX ISA 9 ("Floating Point Instructions", "Half Precision", "Mixed Precision") asks.
The bits of a NaN that arithmetic makes are numpy's, not the hardware's; min, max and conversions make the hardware's.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from porting.emulators.ptx.elementwise import computed, in_place
from porting.emulators.ptx.numbers import canonical, flushed, fused, narrowed, saturated, sum_to_odd
from porting.emulators.ptx.table import instruction
from porting.emulators.ptx.types import DTYPES, ELEMENT, UNSIGNED, Row

_SMALL = ("f16", "bf16", "f16x2", "bf16x2")
_UFUNCS = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
Operation = Callable[..., Row]


def _directed(name: str, kind: str, mode: str) -> Operation:
    """add, sub or mul under a rounding mode other than to the nearest."""

    def operate(first: Row, second: Row) -> Row:
        a, b = first.astype(np.float64), second.astype(np.float64)
        exact = a * b if name == "mul" else sum_to_odd(a, -b if name == "sub" else b)
        return narrowed(exact, kind, mode)

    return operate


def _fused_directed(first: Row, second: Row, third: Row, kind: str, mode: str) -> Row:
    product = np.multiply(first, second, dtype=np.float64)
    return narrowed(sum_to_odd(product, third.astype(np.float64)), kind, mode)


def _relu(row: Row) -> Row:
    """Negative numbers become +0; NaN stays."""
    return np.where(row > 0, row, np.where(row != row, row, row.dtype.type(0)))


def _modified(operation: Operation, flush: bool, saturate: bool) -> Operation:
    """The operation with .ftz on what goes in and comes out, and .sat on what comes out."""
    if not flush and not saturate:
        return operation

    def operate(*rows: Row) -> Row:
        result = operation(*(flushed(row) if flush and row.dtype == np.float32 else row for row in rows))
        result = flushed(result) if flush else result
        return saturated(result) if saturate else result

    return operate


def extreme(first: Row, second: Row, kind: str, largest: bool, keep_nan: bool) -> Row:
    """The larger or smaller; of zeros, +0 is larger; a NaN gives way to a number unless it is to be kept."""
    element = ELEMENT.get(kind, kind)
    a, b = (first, second) if element != "bf16" else (first.astype(np.float32), second.astype(np.float32))
    choose = (np.maximum if largest else np.minimum) if keep_nan else (np.fmax if largest else np.fmin)
    result = choose(a, b).astype(first.dtype, copy=False)
    equal = a == b
    if equal.any():  # only zeros differ in their bits though they are equal
        unsigned = UNSIGNED[first.dtype.itemsize]
        join = np.bitwise_and if largest else np.bitwise_or
        bits = join(np.ascontiguousarray(first).view(unsigned), np.ascontiguousarray(second).view(unsigned))
        result = np.where(equal, bits.view(first.dtype), result)
    return canonical(np.ascontiguousarray(result), element)


def _enter_extremes() -> None:
    for kind in ("f32", "f64", *_SMALL):
        for name in ("min", "max"):
            for flush in ("", ".ftz") if kind == "f32" else ("",):
                for keep in ("", ".NaN") if kind != "f64" else ("",):
                    pair = partial(extreme, kind=kind, largest=name == "max", keep_nan=bool(keep))
                    operation = _modified(pair, bool(flush), False)
                    triple = _modified(lambda a, b, c, pair=pair: pair(pair(a, b), c), bool(flush), False)
                    _enter_two_or_three(f"{name}{flush}{keep}.{kind}", kind, operation, triple)


def _enter_two_or_three(mnemonic: str, kind: str, pair: Operation, triple: Operation) -> None:
    decoders = {3: computed(kind, (kind, kind), pair), 4: computed(kind, (kind, kind, kind), triple)}
    instruction(mnemonic)(lambda one, machine: decoders.get(len(one.operands), decoders[3])(one, machine))


def _enter_basic() -> None:
    for name, ufunc in _UFUNCS.items():
        for mode in ("", ".rn", ".rz", ".rm", ".rp"):
            for flush in ("", ".ftz"):
                for saturate in ("", ".sat"):
                    mnemonic = f"{name}{mode}{flush}{saturate}.f32"
                    if mode in ("", ".rn") and not flush and not saturate:
                        instruction(mnemonic)(in_place("f32", ufunc))
                        continue
                    plain: Operation = ufunc if mode in ("", ".rn") else _directed(name, "f32", mode[1:])
                    operation = _modified(plain, bool(flush), bool(saturate))
                    instruction(mnemonic)(computed("f32", ("f32", "f32"), operation))
        for mode in ("", ".rn"):
            instruction(f"{name}{mode}.f64")(in_place("f64", ufunc))
            instruction(f"{name}{mode}.f32x2")(in_place("f32x2", ufunc))
            for kind in _SMALL:
                instruction(f"{name}{mode}.{kind}")(in_place(kind, ufunc))
        for kind in ("f16", "f16x2"):
            instruction(f"{name}.sat.{kind}")(computed(kind, (kind, kind), _modified(ufunc, False, True)))


def _enter_fused() -> None:
    for name in ("fma", "mad"):
        for mode in ("rn", "rz", "rm", "rp"):
            for flush in ("", ".ftz"):
                for saturate in ("", ".sat"):
                    plain: Operation = (
                        partial(fused, kind="f32") if mode == "rn" else partial(_fused_directed, kind="f32", mode=mode)
                    )
                    instruction(f"{name}.{mode}{flush}{saturate}.f32")(
                        computed("f32", ("f32",) * 3, _modified(plain, bool(flush), bool(saturate)))
                    )
    instruction("fma.rn.f32x2")(computed("f32x2", ("f32x2",) * 3, partial(fused, kind="f32")))
    for kind in _SMALL:
        plain = partial(fused, kind=ELEMENT.get(kind, kind))
        instruction(f"fma.rn.{kind}")(computed(kind, (kind,) * 3, plain))
        instruction(f"fma.rn.relu.{kind}")(computed(kind, (kind,) * 3, lambda a, b, c, f=plain: _relu(f(a, b, c))))


def _enter_mixed() -> None:
    """sm_100's arithmetic of a half-precision number with a float32 one."""
    for half in ("f16", "bf16"):
        for saturate in ("", ".sat"):
            for name, ufunc in (("add", np.add), ("sub", np.subtract)):
                plain: Operation = partial(lambda a, b, ufunc: ufunc(a.astype(np.float32), b), ufunc=ufunc)
                for mode in ("", ".rn"):
                    instruction(f"{name}{mode}{saturate}.f32.{half}")(
                        computed("f32", (half, "f32"), _modified(plain, False, bool(saturate)))
                    )
            plain = lambda a, b, c: fused(a.astype(np.float32), b.astype(np.float32), c, "f32")  # noqa: E731
            instruction(f"fma.rn{saturate}.f32.{half}")(
                computed("f32", (half, half, "f32"), _modified(plain, False, bool(saturate)))
            )


def _sign_bit(kind: str) -> tuple[str, int]:
    bits = {"f32": 32, "f64": 64, "f16x2": 32, "bf16x2": 32}.get(kind, 16)
    return f"b{bits}", 0x80008000 if kind in ELEMENT else 1 << (bits - 1)


def _enter_signs() -> None:
    """abs and neg act on the sign's bit alone, NaN included."""
    for kind in ("f32", "f64", *_SMALL):
        raw, sign = _sign_bit(kind)
        bit = DTYPES[raw].type(sign)
        instruction(f"neg.{kind}")(computed(raw, (raw,), lambda a, bit=bit: a ^ bit))
        instruction(f"abs.{kind}")(computed(raw, (raw,), lambda a, bit=bit: a & ~bit))
        if kind in ("f32", "f64"):
            instruction(f"copysign.{kind}")(computed(raw, (raw, raw), lambda a, b, bit=bit: (a & bit) | (b & ~bit)))
    instruction("neg.ftz.f32")(computed("f32", ("f32",), lambda a: flushed(-flushed(a))))
    instruction("abs.ftz.f32")(computed("f32", ("f32",), lambda a: flushed(np.abs(flushed(a)))))


def _enter_tests() -> None:
    for kind in ("f32", "f64"):
        tiny = np.finfo(DTYPES[kind]).tiny
        tests: dict[str, Operation] = {
            "finite": np.isfinite,
            "infinite": np.isinf,
            "number": lambda a: a == a,
            "notanumber": lambda a: a != a,
            "normal": lambda a, tiny=tiny: np.isfinite(a) & (np.abs(a) >= tiny),
            "subnormal": lambda a, tiny=tiny: (np.abs(a) < tiny) & (a != 0),
        }
        for name, test in tests.items():
            instruction(f"testp.{name}.{kind}")(computed("pred", (kind,), test))


_enter_extremes()
_enter_basic()
_enter_fused()
_enter_mixed()
_enter_signs()
_enter_tests()
