"""Execute one program: the ready threads at the lowest instruction first, together with all who stand there.

As compilers lay a join out after what it joins, the lowest first makes threads meet again after a branch.
"""

from collections import Counter

import numpy as np

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import Active
from porting.emulators.ptx.decode import Code
from porting.emulators.ptx.flow import Mask
from porting.emulators.ptx.machine import Machine

MOST_TURNS = 20_000_000
"""Stretches of instructions that a program may take: what takes more waits for something in a loop."""


def run_program(machine: Machine, code: Code) -> None:
    """Execute the program that the machine was reset for, until all its threads have ended.

    Raises:
        Fault: of any kind, told where it happened.
    """
    flow = machine.flow
    tally = Tally(len(code.steps))
    while True:
        ready = flow.next_group
        if ready is not None:
            _run_group(machine, code, ready, tally)
        elif flow.parked and machine.queue:
            machine.advance()
        elif not flow.ended.all():
            raise _deadlock(machine)
        else:
            break
    machine.finish()
    machine.counts.instructions += tally.by_mnemonic(machine)


class Tally:
    """How many warps executed each instruction, noted by stretches."""

    def __init__(self, instructions: int) -> None:
        self.change = [0] * (instructions + 2)
        self.turns = 0

    def stretch(self, start: int, stop: int, warps: int) -> None:
        """Warps executed the instructions from start up to stop.

        Raises:
            Fault: DEADLOCK, after too many.
        """
        self.change[start] += warps
        self.change[stop] -= warps
        self.turns += 1
        if self.turns > MOST_TURNS:
            raise Fault(FaultKind.DEADLOCK, f"no end after {MOST_TURNS} stretches of instructions")

    def by_mnemonic(self, machine: Machine) -> Counter[str]:
        """Mnemonic -> warps that executed it."""
        executed = np.cumsum(self.change)
        counted: Counter[str] = Counter()
        for instruction, warps in zip(machine.program.instructions, executed.tolist(), strict=False):
            counted[instruction.mnemonic] += warps
        return +counted


def _run_group(machine: Machine, code: Code, ready: dict[int, Mask], tally: Tally) -> None:
    """Run until nothing of the group is ready."""
    place = 0
    try:
        while ready:
            place = min(ready)
            active = Active(ready.pop(place))
            warps = len(active.warps)
            while True:
                limit = min(ready) if ready else len(code.steps) + 1
                if place >= limit:
                    machine.flow.resume(place, active.mask)
                    break
                start, end = place, code.next_control[place]
                for place in range(start, min(end, limit)):
                    code.steps[place](active)  # type: ignore[misc]
                if limit <= end:
                    tally.stretch(start, limit, warps)
                    place = limit
                    continue
                place = end
                tally.stretch(start, end + 1, warps)
                outcome = code.controls[end](active)  # type: ignore[misc]
                if outcome is None:
                    place = end + 1
                elif isinstance(outcome, int):
                    place = outcome
                else:
                    for index, mask in outcome:
                        machine.flow.resume(index, mask)
                    break
    except Fault as fault:
        raise _told(machine, fault, place) from fault


def _told(machine: Machine, fault: Fault, place: int) -> Fault:
    if fault.line or place >= len(machine.program.instructions):
        return fault
    instruction = machine.program.instructions[place]
    return fault.at(instruction.text, instruction.line, instruction.source_line)


def _deadlock(machine: Machine) -> Fault:
    flow = machine.flow
    waiting = {index: int(mask.sum()) for index, mask in flow.parked.items()}
    for barrier in machine.waiting_at_barriers():
        waiting.update(barrier)
    place = min(waiting) if waiting else -1
    told = ", ".join(
        f"{count} threads at line {machine.program.instructions[index].line}"
        for index, count in sorted(waiting.items())
    )
    fault = Fault(
        FaultKind.DEADLOCK, f"no thread can run: {told or 'none waits'}; {int(flow.ended.sum())} threads have ended"
    )
    return _told(machine, fault, place) if place >= 0 else fault
