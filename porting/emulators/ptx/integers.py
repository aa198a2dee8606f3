"""Integer arithmetic: add, sub, mul, mad, mul24, div, rem, min, max, abs, neg, sad.

Semantics: PTX ISA 9, "Integer Arithmetic Instructions". Results wrap. What division by zero gives is unspecified
there; here all bits are set, as on every device so far.
"""

from collections.abc import Callable

import numpy as np

from porting.emulators.ptx.elementwise import computed, in_place
from porting.emulators.ptx.table import instruction
from porting.emulators.ptx.types import BYTES, DTYPES, Row

_KINDS = ("u16", "s16", "u32", "s32", "u64", "s64")
WIDER = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}
"""Type -> the type of twice its width."""


def high_half(first: Row, second: Row, kind: str) -> Row:
    """The upper half of the exact product."""
    if kind in WIDER:
        product = np.multiply(first, second, dtype=DTYPES[WIDER[kind]])
        top: Row = (product >> (8 * BYTES[kind])).astype(DTYPES[kind])
        return top
    low = np.uint64(0xFFFFFFFF)
    a, b = first.view(np.uint64), second.view(np.uint64)
    a0, a1, b0, b1 = a & low, a >> 32, b & low, b >> 32
    middle = a1 * b0 + (a0 * b0 >> 32)
    upper: Row = a1 * b1 + (middle >> 32) + ((middle & low) + a0 * b1 >> 32)
    if kind == "s64":  # a negative factor counts as 2**64 more in the unsigned product
        upper = upper - np.where(first < 0, b, 0).astype(np.uint64) - np.where(second < 0, a, 0).astype(np.uint64)
    return upper.view(DTYPES[kind])


def quotient(first: Row, second: Row) -> Row:
    """Rounded toward zero."""
    zero = second == 0
    by = np.where(zero, np.ones_like(second), second)
    down = first // by
    # Numpy rounds down: one more where that is not toward zero.
    rest = first - down * by
    exact = down + ((rest != 0) & ((first < 0) != (by < 0)))
    return np.where(zero, ~np.zeros_like(first), exact.astype(first.dtype))


def remainder(first: Row, second: Row) -> Row:
    """With the sign of the dividend."""
    zero = second == 0
    return np.where(zero, first, np.fmod(first, np.where(zero, np.ones_like(second), second)))


def saturating(kind: str, operation: np.ufunc) -> Callable[[Row, Row], Row]:
    """The sum or difference, held within 32 bits."""
    limits = np.iinfo(DTYPES[kind])

    def operate(first: Row, second: Row) -> Row:
        exact: Row = operation(first, second, dtype=np.int64)
        return np.clip(exact, limits.min, limits.max).astype(DTYPES[kind])

    return operate


def _multiply_24(first: Row, second: Row, high: bool, signed: bool) -> Row:
    """The product of the low 24 bits of each: its low 32 bits, or the 32 from bit 16 on."""
    wide = np.int64 if signed else np.uint64
    a, b = first.astype(wide), second.astype(wide)
    if signed:
        a, b = a << 40 >> 40, b << 40 >> 40
    else:
        a, b = a & np.uint64(0xFFFFFF), b & np.uint64(0xFFFFFF)
    product = a * b
    return (product >> 16 if high else product).astype(first.dtype)


def _enter(kind: str) -> None:
    instruction(f"add.{kind}")(in_place(kind, np.add))
    instruction(f"sub.{kind}")(in_place(kind, np.subtract))
    instruction(f"mul.lo.{kind}")(in_place(kind, np.multiply))
    instruction(f"min.{kind}")(in_place(kind, np.minimum))
    instruction(f"max.{kind}")(in_place(kind, np.maximum))
    instruction(f"mul.hi.{kind}")(computed(kind, (kind, kind), lambda a, b: high_half(a, b, kind)))
    instruction(f"mad.lo.{kind}")(computed(kind, (kind, kind, kind), lambda a, b, c: a * b + c))
    instruction(f"mad.hi.{kind}")(computed(kind, (kind, kind, kind), lambda a, b, c: high_half(a, b, kind) + c))
    instruction(f"div.{kind}")(computed(kind, (kind, kind), quotient))
    instruction(f"rem.{kind}")(computed(kind, (kind, kind), remainder))
    instruction(f"sad.{kind}")(
        computed(kind, (kind, kind, kind), lambda a, b, c: np.maximum(a, b) - np.minimum(a, b) + c)
    )
    if kind[0] == "s":
        instruction(f"neg.{kind}")(in_place(kind, np.negative))
        instruction(f"abs.{kind}")(in_place(kind, np.absolute))
    if kind in WIDER:
        wide = WIDER[kind]
        dtype = DTYPES[wide]
        instruction(f"mul.wide.{kind}")(computed(wide, (kind, kind), lambda a, b: np.multiply(a, b, dtype=dtype)))
        instruction(f"mad.wide.{kind}")(
            computed(wide, (kind, kind, wide), lambda a, b, c: np.multiply(a, b, dtype=dtype) + c)
        )
    if BYTES[kind] == 4:
        signed = kind[0] == "s"
        for half in ("lo", "hi"):
            high = half == "hi"
            instruction(f"mul24.{half}.{kind}")(
                computed(kind, (kind, kind), lambda a, b, high=high: _multiply_24(a, b, high, signed))
            )
            instruction(f"mad24.{half}.{kind}")(
                computed(kind, (kind, kind, kind), lambda a, b, c, high=high: _multiply_24(a, b, high, signed) + c)
            )


for _kind in _KINDS:
    _enter(_kind)
for _kind in ("u16x2", "s16x2"):
    instruction(f"add.{_kind}")(in_place(_kind, np.add))
    instruction(f"min.{_kind}")(in_place(_kind, np.minimum))
    instruction(f"max.{_kind}")(in_place(_kind, np.maximum))
instruction("add.sat.s32")(computed("s32", ("s32", "s32"), saturating("s32", np.add)))
instruction("sub.sat.s32")(computed("s32", ("s32", "s32"), saturating("s32", np.subtract)))
instruction("max.relu.s32")(computed("s32", ("s32", "s32"), lambda a, b: np.maximum(np.maximum(a, b), np.int32(0))))
instruction("min.relu.s32")(computed("s32", ("s32", "s32"), lambda a, b: np.maximum(np.minimum(a, b), np.int32(0))))
