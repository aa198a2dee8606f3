"""Which reads of registers may meet one that was never written: definite assignment over the instructions.

It knows of each instruction only what it reads and writes, and where threads may go on after it.
"""

from collections import deque
from dataclasses import dataclass

from porting.emulators.ptx.parse import Program


@dataclass(frozen=True)
class Access:
    """The registers that one instruction reads and writes."""

    read: frozenset[str]
    written: frozenset[str]
    predicate: str | None


def unassigned_reads(program: Program, accesses: list[Access]) -> dict[int, tuple[str, ...]]:
    """Instruction -> the registers it reads that some way to it has not written for every thread."""
    count = len(accesses)
    if not count:
        return {}
    number = {name: place for place, name in enumerate(sorted({name for one in accesses for name in one.written}))}
    everything = (1 << len(number)) - 1
    before = [everything] * count
    before[0] = 0
    certain = [sum(1 << number[name] for name in one.written) if one.predicate is None else 0 for one in accesses]
    following_ones = [successors(program, index) for index in range(count)]
    waiting = deque([0])
    seen = {0}
    while waiting:
        index = waiting.popleft()
        after = before[index] | certain[index]
        for following in following_ones[index]:
            met = before[following] & after
            if met != before[following] or following not in seen:
                before[following] = met
                seen.add(following)
                waiting.append(following)
    doubtful = {}
    for index in seen:
        missing = tuple(
            sorted(name for name in accesses[index].read if name not in number or not before[index] >> number[name] & 1)
        )
        if missing:
            doubtful[index] = missing
    return doubtful


def successors(program: Program, index: int) -> tuple[int, ...]:
    """The instructions at which threads may go on after one."""
    instruction = program.instructions[index]
    operation = instruction.mnemonic.partition(".")[0]
    on = [index + 1] if index + 1 < len(program.instructions) else []
    if operation == "bra":
        target = program.target(instruction.operands[0], instruction.scopes)
        inside = [target] if target < len(program.instructions) else []
        return (*inside, *on) if instruction.predicate is not None else tuple(inside)
    if operation == "brx":
        table = program.tables[instruction.operands[1]]
        return tuple(program.target(label, instruction.scopes) for label in table)
    if operation in ("ret", "exit", "trap") and instruction.predicate is None:
        return ()
    return tuple(on)
