"""Division, roots, powers and the like: div, rcp, sqrt, rsqrt, ex2, lg2, sin, cos, tanh.

Where PTX asks for the correctly rounded result it is that. The hardware's approximations (.approx, .full) are here
computed exactly and rounded to the nearest: their last bits are not the hardware's, whose error PTX ISA 9 bounds.
"""

from collections.abc import Callable

import numpy as np

from porting.emulators.ptx.elementwise import computed
from porting.emulators.ptx.numbers import flushed, narrowed
from porting.emulators.ptx.table import instruction
from porting.emulators.ptx.types import ELEMENT, Row

Function = Callable[[Row], Row]

EXACT: dict[str, Function] = {
    "rcp": lambda a: 1.0 / a,
    "sqrt": np.sqrt,
    "rsqrt": lambda a: 1.0 / np.sqrt(a),
    "ex2": np.exp2,
    "lg2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
}
"""Name -> the function, of float64."""


_SMALLEST = 2.0**-126
"""Smallest normal number of float32 and of bf16."""


def _rounded(name: str, kind: str, flush: bool = False) -> Function:
    function = EXACT[name]
    element = ELEMENT.get(kind, kind)

    def operate(row: Row) -> Row:
        value = row.astype(np.float64)
        if flush:
            value = np.where(np.abs(value) < _SMALLEST, np.copysign(0.0, value), value)
        result = narrowed(function(value), element)
        if flush:
            small = np.abs(result.astype(np.float64)) < _SMALLEST
            result = np.where(small, np.copysign(np.float32(0), result.astype(np.float32)).astype(result.dtype), result)
        return result

    return operate


def _root(row: Row) -> Row:
    return np.sqrt(row)


def _divide(first: Row, second: Row) -> Row:
    return np.divide(first, second)


def _divide_flushed(first: Row, second: Row) -> Row:
    return flushed(np.divide(flushed(first), flushed(second)))


for _name in EXACT:
    instruction(f"{_name}.approx.f32")(computed("f32", ("f32",), _rounded(_name, "f32")))
    if _name != "tanh":
        instruction(f"{_name}.approx.ftz.f32")(computed("f32", ("f32",), _rounded(_name, "f32", flush=True)))
for _kind in ("f16", "f16x2", "bf16", "bf16x2"):
    instruction(f"tanh.approx.{_kind}")(computed(_kind, (_kind,), _rounded("tanh", _kind)))
    _flushes = _kind.startswith("bf16")
    _mnemonic = f"ex2.approx.ftz.{_kind}" if _flushes else f"ex2.approx.{_kind}"
    instruction(_mnemonic)(computed(_kind, (_kind,), _rounded("ex2", _kind, _flushes)))
instruction("sqrt.rn.f32")(computed("f32", ("f32",), _root))
instruction("sqrt.rn.f64")(computed("f64", ("f64",), _root))
instruction("sqrt.rn.ftz.f32")(computed("f32", ("f32",), lambda a: np.sqrt(flushed(a))))
instruction("rcp.rn.f32")(computed("f32", ("f32",), lambda a: np.float32(1) / a))
instruction("rcp.rn.f64")(computed("f64", ("f64",), lambda a: 1.0 / a))
instruction("rcp.rn.ftz.f32")(computed("f32", ("f32",), lambda a: flushed(np.float32(1) / flushed(a))))
for _way in ("approx", "full", "rn"):
    instruction(f"div.{_way}.f32")(computed("f32", ("f32", "f32"), _divide))
    instruction(f"div.{_way}.ftz.f32")(computed("f32", ("f32", "f32"), _divide_flushed))
instruction("div.rn.f64")(computed("f64", ("f64", "f64"), _divide))
