"""Decodes a text once, for all launches and schedules, and tells what of it cannot be decoded."""

import re
from functools import lru_cache

from porting.emulators.amdgcn import (
    atomics,
    carries,
    compares,
    control,
    conversions,
    direct,
    lanes,
    matrix,
    packed,
    salu,
    scalar_memory,
    tensor_moves,
    transfers,
    transposes,
    valu,
)
from porting.emulators.amdgcn.hazards import touched, wide_slots
from porting.emulators.amdgcn.registry import Context, decode, reason_undecoded
from porting.emulators.amdgcn.targets import find_target
from porting.emulators.amdgcn.text import Instruction, Program, parse
from porting.emulators.faults import Fault, FaultKind

MODULES = (
    *(atomics, carries, compares, control, conversions, direct, lanes, matrix, packed, salu, scalar_memory),
    *(tensor_moves, transfers, transposes, valu),
)
"""Their instructions are registered by importing them."""
REGISTER = re.compile(r"\b([va])(?:(\d+)\b|\[\d+:(\d+)\])")
KEPT = 8
"""Programs that stay decoded: one is run by several schedules."""


class Code:
    """A decoded program: a step for each instruction, and where blocks begin and end."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.context, self.rows = make_context(program)
        context = self.context
        self.instructions = program.instructions
        self.steps = [decode(each, context) for each in self.instructions]
        self.touched = [touched(each, context) for each in self.instructions]
        self.keys = [each.all for each in self.touched]
        self.ends = _find_ends(program)
        """Index of an instruction -> index after the last one of its block."""
        self.targets = [_label_of(each, program) for each in self.instructions]

    def slots(self, index: int) -> list[tuple[int, int]]:
        """gfx1250's upper register bits of one instruction."""
        return wide_slots(self.instructions[index], self.context)


def _label_of(instruction: Instruction, program: Program) -> int:
    if instruction.mnemonic in control.BRANCHES:
        return program.labels.get(instruction.operands[0], -1)
    return -1


def _find_ends(program: Program) -> list[int]:
    """For each instruction, where its block ends: after a branch, barrier or end, or before a label."""
    count = len(program.instructions)
    starts = set(program.labels.values())
    ends, end = [0] * count, count
    for index in range(count - 1, -1, -1):
        if program.instructions[index].mnemonic in control.ENDS or index + 1 in starts:
            end = index + 1
        ends[index] = end
    return ends


def count_rows(program: Program) -> tuple[int, int]:
    """(row of a0, rows of the vector register file): only registers that the text names have one."""
    counts = {"v": 1, "a": 0}
    for instruction in program.instructions:
        for letter, one, last in REGISTER.findall(instruction.text):
            counts[letter] = max(counts[letter], int(one or last) + 1)
    return counts["v"], counts["v"] + counts["a"]


def make_context(program: Program) -> tuple[Context, int]:
    """(what decoders know, rows of the vector register file)."""
    accumulators_at, rows = count_rows(program)
    return Context(program, find_target(program.processor), accumulators_at), rows


def undecoded(text: str, architecture: str) -> tuple[str, ...]:
    """The instructions of a text that cannot be executed, with the reason, each once.

    Raises:
        Fault: the text is of another processor, or none that is known.
    """
    program = _parse_for(text, architecture)
    context, _ = make_context(program)
    found: dict[str, None] = {}
    for instruction in program.instructions:
        reason = reason_undecoded(instruction, context)
        if reason is not None:
            found[f"{instruction.text}: {reason}"] = None
    return tuple(found)


def _parse_for(text: str, architecture: str) -> Program:
    program = parse(text)
    wanted = find_target(architecture).name
    if program.processor != wanted:
        raise Fault(FaultKind.MISUSE, f"the text is for {program.processor}, the launch for {wanted}")
    return program


@lru_cache(maxsize=KEPT)
def decode_text(text: str, architecture: str) -> Code:
    """A text, decoded.

    Raises:
        Fault: it is of another processor, or none that is known.
    """
    return Code(_parse_for(text, architecture))
