"""Make of each instruction a closure, once a launch: its predicate heeded, what it reads checked where need be.

A read of a register needs a look while executing only where some way leads to it on which no instruction wrote the
register for certain; elsewhere the look is spared. A register that no instruction writes is what the compiler makes
of a value that does not matter: it holds other bits in each schedule, so that a result that depends on it shows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import Active
from porting.emulators.ptx.assignment import Access, unassigned_reads
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import CONTROLS, STEPS, ControlStep, Outcome, Step


@dataclass(frozen=True)
class Code:
    """A program's instructions, ready to be executed."""

    steps: list[Step | None]
    """None where a control stands."""
    controls: list[ControlStep | None]
    """None where a step stands. One more than there are instructions: the end of the text."""
    next_control: list[int]
    """The first control at or after each instruction."""


def decode(machine: Machine) -> Code:
    """Every instruction's closure; an unknown one raises its fault when it is executed."""
    steps: list[Step | None] = []
    controls: list[ControlStep | None] = []
    accesses = []
    for instruction in machine.program.instructions:
        machine.read_registers, machine.written_registers = set(), set()
        step, control = _decode_one(instruction, machine)
        accesses.append(
            Access(frozenset(machine.read_registers), frozenset(machine.written_registers), instruction.predicate)
        )
        steps.append(step)
        controls.append(control)
    written = {name for access in accesses for name in access.written}
    never = {name for access in accesses for name in access.read - written}
    machine.poison(never)
    if machine.schedule.check:
        accesses = [Access(access.read - never, access.written, access.predicate) for access in accesses]
        _guard_reads(machine, accesses, steps, controls)
        for guard in machine.guards:
            guard(accesses, steps)
    controls.append(lambda active: _end(machine, active))
    following = len(steps)
    next_control = [following] * (len(steps) + 1)
    for index in range(len(steps) - 1, -1, -1):
        if controls[index] is not None:
            following = index
        next_control[index] = following
    return Code(steps, controls, next_control)


def unknown(machine: Machine) -> tuple[str, ...]:
    """The instructions that are not known, each text once, in their order."""
    texts: dict[str, None] = {}
    for instruction in machine.program.instructions:
        try:
            _bare(instruction, machine)
        except Fault as fault:
            if fault.kind is not FaultKind.UNKNOWN:
                raise fault.at(instruction.text, instruction.line, instruction.source_line) from fault
            texts[instruction.text] = None
    return tuple(texts)


def _bare(instruction: Instruction, machine: Machine) -> tuple[Step | None, ControlStep | None]:
    """The closure without its predicate.

    Raises:
        Fault: UNKNOWN.
    """
    if (control := CONTROLS.get(instruction.mnemonic)) is not None:
        return None, control(instruction, machine)
    if (step := STEPS.get(instruction.mnemonic)) is not None:
        return step(instruction, machine), None
    raise Fault(FaultKind.UNKNOWN, instruction.mnemonic)


def _decode_one(instruction: Instruction, machine: Machine) -> tuple[Step | None, ControlStep | None]:
    try:
        step, control = _bare(instruction, machine)
    except Fault as fault:
        return _raise(fault.at(instruction.text, instruction.line, instruction.source_line)), None
    if instruction.predicate is None:
        return step, control
    holds = machine.source(instruction.predicate, "pred")
    if step is not None:
        return _predicated(step, holds, instruction.negated), None
    if control is not None:
        return None, _predicated_control(control, holds, instruction.negated, instruction.index)
    return None, None


def _raise(fault: Fault) -> Step:
    def step(active: Active) -> None:
        raise fault

    return step


def _predicated(step: Step, holds: npt.NDArray[np.bool_], negated: bool) -> Step:
    def execute(active: Active) -> None:
        mask = ~holds if negated else holds
        if not active.full:
            mask = mask & active.mask
        count = np.count_nonzero(mask)
        if count == active.count:
            step(active)
        elif count:
            step(Active(mask if negated or not active.full else mask.copy()))

    return execute


def _predicated_control(control: ControlStep, holds: npt.NDArray[np.bool_], negated: bool, index: int) -> ControlStep:
    def execute(active: Active) -> Outcome:
        mask = (~holds if negated else holds) & active.mask
        count = np.count_nonzero(mask)
        if count == active.count:
            return control(active)
        if not count:
            return None
        rest = active.mask & ~mask
        outcome = control(Active(mask))
        if outcome is None:
            return [(index + 1, mask), (index + 1, rest)]
        if isinstance(outcome, int):
            return [(outcome, mask), (index + 1, rest)]
        return [*outcome, (index + 1, rest)]

    return execute


def _end(machine: Machine, active: Active) -> Outcome:
    machine.flow.end(active.mask)
    return []


def _guard_reads(
    machine: Machine, accesses: list[Access], steps: list[Step | None], controls: list[ControlStep | None]
) -> None:
    """Wrap what may read an unwritten register, and what writes such a one."""
    doubtful = unassigned_reads(machine.program, accesses)
    marks = {name: np.zeros(machine.threads, bool) for names in doubtful.values() for name in names}
    machine.register_marks = list(marks.values())
    for index, access in enumerate(accesses):
        read = tuple((name, marks[name]) for name in doubtful.get(index, ()))
        written = tuple(marks[name] for name in access.written if name in marks)
        step, control = steps[index], controls[index]
        if not read and not written:
            continue
        instruction = machine.program.instructions[index]
        holds = machine.source(instruction.predicate, "pred") if instruction.predicate else None
        if step is not None:
            steps[index] = _guarded(step, read, written, holds, instruction.negated)
        elif control is not None:
            controls[index] = _guarded(control, read, written, holds, instruction.negated)  # type: ignore[assignment]


def _guarded(
    step: Step,
    read: tuple[tuple[str, npt.NDArray[np.bool_]], ...],
    written: tuple[npt.NDArray[np.bool_], ...],
    holds: npt.NDArray[np.bool_] | None,
    negated: bool,
) -> Step:
    def execute(active: Active) -> object:
        mask = active.mask if holds is None else active.mask & (~holds if negated else holds)
        for name, mark in read:
            missing = mask & ~mark
            if missing.any():
                raise Fault(
                    FaultKind.UNINITIALISED, f"register {name} in {missing.sum()} threads, as {missing.argmax()}"
                )
        outcome = step(active)
        for mark in written:
            mark |= mask
        return outcome

    return execute
