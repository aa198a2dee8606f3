"""Read, change and write at once: atom and red, on global and shared memory.

Threads take their turns in ascending order, one of the orders that PTX ISA 9 ("Parallel Synchronization: atom, red")
permits; sums of floats depend on it. Races of atomics with other accesses are not looked for.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import Active
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.memory import Addresses
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.transfers import elements_of
from porting.emulators.ptx.types import BYTES, DTYPES, ELEMENT, UNSIGNED, Row

Change = Callable[..., Any]
"""(old, operand, second operand) -> new, elementwise."""

_INTEGER_KINDS = ("u32", "s32", "u64", "s64")
_CHANGES: dict[str, tuple[tuple[str, ...], Change]] = {
    "add": (("u32", "s32", "u64", "f32", "f64"), lambda old, by: old + by),
    "add.noftz": (("f16", "bf16", "f16x2", "bf16x2"), lambda old, by: old + by),
    "min": (_INTEGER_KINDS, np.minimum),
    "max": (_INTEGER_KINDS, np.maximum),
    "and": (("b32", "b64"), np.bitwise_and),
    "or": (("b32", "b64"), np.bitwise_or),
    "xor": (("b32", "b64"), np.bitwise_xor),
    "exch": (("b32", "b64"), lambda old, by: by),
    "cas": (("b16", "b32", "b64"), lambda old, expected, by: np.where(old == expected, by, old)),
    "inc": (("u32",), lambda old, top: np.where(old >= top, np.uint32(0), old + np.uint32(1))),
    "dec": (("u32",), lambda old, top: np.where((old == 0) | (old > top), top, old - np.uint32(1))),
}
"""Operation -> the types it is of, and what it does."""
_ORDERS = ("", ".relaxed", ".acquire", ".release", ".acq_rel")
_SCOPES = ("", ".cta", ".cluster", ".gpu", ".sys")


def _decode(one: Instruction, machine: Machine, space: str, kind: str, change: Change, returns: bool) -> Step:
    operands = one.operands[1:] if returns else one.operands
    address = machine.address(operands[0])
    out = machine.destination(one.operands[0], kind) if returns else None
    sources = [machine.source(name, kind) for operand in operands[1:] for name in elements_of(operand)]
    if len(sources) not in (1, 2):
        raise Fault(FaultKind.UNKNOWN, f"{len(one.operands)} operands")
    size = BYTES[kind]
    dtype = DTYPES[ELEMENT.get(kind, kind)]

    def step(active: Active) -> None:
        places = address(active)
        operand = [np.ascontiguousarray(source[active.index]) for source in sources]
        old = np.empty(active.count, UNSIGNED[size])
        # Whoever has an address for himself goes with the first turn; of several, each waits for those before him.
        turn = _turns(places)
        for now in range(int(turn.max()) + 1):
            who = turn == now
            found = _read(machine, space, places[who], size)
            old[who] = found
            values = found.view(dtype).reshape(-1, 2) if kind in ELEMENT else found.view(dtype)
            changed = change(values, *(row[who] for row in operand)).astype(dtype)
            _write(machine, space, places[who], size, np.ascontiguousarray(changed).view(UNSIGNED[size]).ravel())
        machine.counts.bytes_read[space] += old.nbytes
        machine.counts.bytes_written[space] += old.nbytes
        if out is not None:
            seen: Row = old.view(dtype).reshape(-1, 2) if kind in ELEMENT else old.view(dtype)
            out[active.index] = seen

    return step


def _turns(places: Addresses) -> Addresses:
    """How many threads before each have the same address."""
    _, inverse = np.unique(places, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    grouped = inverse[order]
    starts = np.searchsorted(grouped, grouped)
    turn = np.empty(len(places), np.int64)
    turn[order] = np.arange(len(places)) - starts
    return turn


def _read(machine: Machine, space: str, address: Addresses, size: int) -> Row:
    if space == "shared":
        return machine.shared.read(address, size, check=machine.schedule.check)
    return machine.memory.read(address, size)


def _write(machine: Machine, space: str, address: Addresses, size: int, values: Row) -> None:
    if space == "shared":
        machine.shared.write(address, size, values, check=machine.schedule.check)
    else:
        machine.memory.write(address, size, values)


def _enter(operation: str, returns: bool) -> None:
    kinds, change = _CHANGES[operation]
    name = "atom" if returns else "red"
    for space in ("global", "shared"):
        for kind in kinds:
            # The ISA has the space after order and scope, Triton before them; both orders are read.
            mnemonics = {
                f"{name}.{space}{scope}{order}.{operation}.{kind}" for scope in _SCOPES for order in _ORDERS
            } | {f"{name}{order}{scope}.{space}.{operation}.{kind}" for scope in _SCOPES for order in _ORDERS}
            decoder = partial(_decode, space=space, kind=kind, change=change, returns=returns)
            instruction(*sorted(mnemonics))(decoder)


for _operation in _CHANGES:
    _enter(_operation, returns=True)
    if _operation not in ("exch", "cas"):
        _enter(_operation, returns=False)
