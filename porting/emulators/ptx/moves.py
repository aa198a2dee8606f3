"""Move, choose and compare: mov (with packing and unpacking), selp, slct, setp, set, cvta.

Semantics: PTX ISA 9, "Comparison and Selection Instructions" and "Data Movement: mov, cvta". Addresses of global memory
are generic addresses here, those of shared memory are not.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import Active
from porting.emulators.ptx.elementwise import computed, expect_operands
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.numbers import flushed
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.transfers import elements_of
from porting.emulators.ptx.types import BYTES, UNSIGNED, Row

_FLOATS = ("f16", "bf16", "f32", "f64")
_INTEGERS = ("u16", "s16", "u32", "s32", "u64", "s64")
_BITS = ("b16", "b32", "b64")

ORDERED: dict[str, Callable[[Row, Row], Row]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: (a < b) | (a > b),
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
"""Comparisons of numbers that a NaN makes false."""
UNORDERED: dict[str, Callable[[Row, Row], Row]] = {
    "equ": lambda a, b: ~((a < b) | (a > b)),
    "neu": lambda a, b: a != b,
    "ltu": lambda a, b: ~(a >= b),
    "leu": lambda a, b: ~(a > b),
    "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b),
    "num": lambda a, b: (a == a) & (b == b),
    "nan": lambda a, b: (a != a) | (b != b),
}
"""Comparisons of numbers that a NaN makes true, and the two that ask for NaN."""
UNSIGNED_ORDER = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
JOINS: dict[str, Callable[[Row, Row], Row]] = {
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}


@instruction(*(f"mov.{kind}" for kind in (*_BITS, *_INTEGERS, "f32", "f64", "pred", "b128")))
def _move(one: Instruction, machine: Machine) -> Step:
    expect_operands(one, 2)
    kind = one.mnemonic.removeprefix("mov.")
    target, source = one.operands
    if target.startswith("{"):
        return _unpack(one, machine, kind)
    if source.startswith("{"):
        return _pack(one, machine, kind)
    if kind == "b128":
        raise Fault(FaultKind.UNKNOWN, "a register of 128 bits")
    bits = kind if kind == "pred" else f"b{8 * BYTES[kind]}"
    out, value = machine.destination(target, bits), machine.source(source, bits)

    def step(active: Active) -> None:
        np.copyto(out, value, where=active.where)

    return step


def _unpack(one: Instruction, machine: Machine, kind: str) -> Step:
    names = elements_of(one.operands[0])
    size = BYTES[kind] // len(names)
    row = machine.source(one.operands[1], f"b{8 * BYTES[kind]}")
    parts = row.view(UNSIGNED[size]).reshape(machine.threads, -1)
    moved = [(machine.destination(name, f"b{8 * size}"), parts[:, place]) for place, name in enumerate(names)]
    own = one.operands[1] in names

    def step(active: Active) -> None:
        for out, part in [(out, part.copy()) for out, part in moved] if own else moved:
            np.copyto(out, part, where=active.where)

    return step


def _pack(one: Instruction, machine: Machine, kind: str) -> Step:
    names = elements_of(one.operands[1])
    size = BYTES[kind] // len(names)
    row = machine.destination(one.operands[0], f"b{8 * BYTES[kind]}")
    parts = row.view(UNSIGNED[size]).reshape(machine.threads, -1)
    moved = [(parts[:, place], machine.source(name, f"b{8 * size}")) for place, name in enumerate(names)]

    def step(active: Active) -> None:
        for out, value in moved:
            np.copyto(out, value, where=active.where)

    return step


@instruction(*(f"selp.{kind}" for kind in (*_BITS, *_INTEGERS, "f32", "f64")))
def _select(one: Instruction, machine: Machine) -> Step:
    expect_operands(one, 4)
    kind = f"b{8 * BYTES[one.mnemonic.removeprefix('selp.')]}"
    out = machine.destination(one.operands[0], kind)
    yes, no = machine.source(one.operands[1], kind), machine.source(one.operands[2], kind)
    holds = machine.source(one.operands[3], "pred")

    def step(active: Active) -> None:
        np.copyto(out, np.where(holds, yes, no), where=active.where)

    return step


def _compare(one: Instruction, machine: Machine, compare: Callable[[Row, Row], Row]) -> Step:
    """setp: the comparison, joined with a third predicate if there is one; after "|", the same of its contrary."""
    kind = one.mnemonic.rpartition(".")[2]
    join = next((JOINS[part] for part in one.mnemonic.split(".") if part in JOINS), None)
    expect_operands(one, 4 if join else 3)
    first_name, _, second_name = one.operands[0].partition("|")
    out = machine.destination(first_name, "pred")
    contrary = machine.destination(second_name, "pred") if second_name else None
    first, second = machine.source(one.operands[1], kind), machine.source(one.operands[2], kind)
    third = machine.source(one.operands[3].removeprefix("!"), "pred") if join else None
    negated = join is not None and one.operands[3].startswith("!")

    def step(active: Active) -> None:
        result = compare(first, second)
        other = ~result if contrary is not None else None
        if join is not None and third is not None:
            held = ~third if negated else third
            result = join(result, held)
            other = join(other, held) if other is not None else None
        np.copyto(out, result, where=active.where)
        if contrary is not None and other is not None:
            np.copyto(contrary, other, where=active.where)

    return step


def _chosen(holds: Row, yes: Any, no: Any) -> Row:
    chosen: Row = np.where(holds, yes, no)
    return chosen


def _enter_comparison(name: str, kinds: tuple[str, ...], compare: Callable[[Row, Row], Row], flush: bool) -> None:
    for join in ("", *(f".{each}" for each in JOINS)):
        for kind in kinds:
            instruction(f"setp.{name}{join}.{kind}")(lambda one, machine: _compare(one, machine, compare))
        if flush:
            instruction(f"setp.{name}{join}.ftz.f32")(
                lambda one, machine: _compare(one, machine, lambda a, b: compare(flushed(a), flushed(b)))
            )
    for kind in kinds:
        for result, true in (("u32", np.uint32(0xFFFFFFFF)), ("s32", np.int32(-1))):
            instruction(f"set.{name}.{result}.{kind}")(
                computed(
                    result,
                    (kind, kind),
                    lambda a, b, true=true: _chosen(compare(a, b), true, np.zeros_like(true)),
                )
            )


for _name, _operation in ORDERED.items():
    _bits = _BITS if _name in ("eq", "ne") else ()
    # Of integers "not equal" is the plain one; NaN makes the ordered one of floats false.
    _plain: Callable[[Row, Row], Row] = (lambda a, b: a != b) if _name == "ne" else _operation
    _enter_comparison(_name, (*_bits, *_INTEGERS), _plain, flush=False)
    _enter_comparison(_name, _FLOATS, _operation, flush=True)
for _name, _operation in UNORDERED.items():
    _enter_comparison(_name, _FLOATS, _operation, flush=True)
for _name, _same in UNSIGNED_ORDER.items():
    _enter_comparison(_name, ("u16", "u32", "u64"), ORDERED[_same], flush=False)
for _kind in (*_BITS, *_INTEGERS, "f32", "f64"):
    _raw = f"b{8 * BYTES[_kind]}"
    instruction(f"slct.{_kind}.s32")(computed(_raw, (_raw, _raw, "s32"), lambda a, b, c: _chosen(c >= 0, a, b)))
for _mnemonic in ("cvta.to.global.u64", "cvta.global.u64"):
    instruction(_mnemonic)(computed("b64", ("b64",), lambda a: a))
