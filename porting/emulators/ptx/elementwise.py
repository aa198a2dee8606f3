"""Bind an operation on numpy rows to an instruction whose threads do not meet: destination first, then sources."""

from collections.abc import Callable, Sequence

import numpy as np

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import Active
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Decoder, Step
from porting.emulators.ptx.types import ELEMENT, Row


def in_place(kind: str, operation: np.ufunc) -> Decoder:
    """A numpy function of rows of one type that writes its result of the same type."""

    def decode(one: Instruction, machine: Machine) -> Step:
        expect_operands(one, operation.nin + 1)
        out = machine.destination(one.operands[0], kind)
        first = machine.source(one.operands[1], kind)
        second = machine.source(one.operands[2], kind) if operation.nin > 1 else None
        packed = kind in ELEMENT

        def unary(active: Active) -> None:
            operation(first, out=out, where=active.pairs if packed else active.where)

        def binary(active: Active) -> None:
            operation(first, second, out=out, where=active.pairs if packed else active.where)

        return binary if operation.nin > 1 else unary

    return decode


def computed(result: str, kinds: Sequence[str], operation: Callable[..., Row]) -> Decoder:
    """Any function of rows of those types; its result is stored as `result`."""

    def decode(one: Instruction, machine: Machine) -> Step:
        expect_operands(one, len(kinds) + 1)
        out = machine.destination(one.operands[0], result)
        sources = [machine.source(operand, kind) for operand, kind in zip(one.operands[1:], kinds, strict=True)]
        packed = result in ELEMENT

        def step(active: Active) -> None:
            np.copyto(out, operation(*sources), where=active.pairs if packed else active.where)

        return step

    return decode


def expect_operands(one: Instruction, count: int) -> None:
    """See that an instruction has that many operands.

    Raises:
        Fault: UNKNOWN.
    """
    if len(one.operands) != count:
        raise Fault(FaultKind.UNKNOWN, f"{len(one.operands)} operands, {count} are known")
