"""Reads the assembly of one kernel: its instructions with their lines, its labels, its descriptor and its parameters.

Knows how the text is written, not what an instruction does: which modifiers one takes is for the instruction's decoder.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from porting.emulators.faults import Fault, FaultKind

MODIFIER = re.compile(r"([a-z]\w*):(\[[^\]]*\]|\S+)$")
FLAGS = frozenset(
    (
        *("offen", "idxen", "glc", "slc", "dlc", "sc0", "sc1", "nt", "nv", "lds", "clamp", "scale_offset", "gds"),
        *("tfe", "matrix_a_reuse", "matrix_b_reuse", "row_mirror", "row_half_mirror"),
    )
)
"""Modifiers without a value."""
RAW = ("s_waitcnt", "s_wait_alu", "s_delay_alu", "s_setreg", "s_getreg", "s_sendmsg")
"""Beginnings of mnemonics whose operands are words of their own: they stay as they are written."""
LABEL = re.compile(r"([.\w$]+):$")
SOURCE = re.compile(r"\.loc\s+\d+\s+(\d+)")
DESCRIPTOR = re.compile(r"\.amdhsa_(\w+)\s+(\S+)$")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction as it is written."""

    mnemonic: str
    operands: tuple[str, ...]
    modifiers: Mapping[str, str]
    """Name -> value; a flag's value is empty."""
    text: str
    line: int
    """In the compiled text, from 1."""
    source_line: int | None
    index: int
    """Among the instructions of the kernel; both halves of a dual instruction have the same."""
    second: "Instruction | None" = None
    """The other half of a dual instruction."""

    def fault(self, kind: FaultKind, detail: str) -> Fault:
        """A fault of this instruction."""
        return Fault(kind, detail, self.text, self.line, self.source_line)


@dataclass(frozen=True)
class Parameter:
    """Where one parameter lies in the kernel's argument segment."""

    offset: int
    size: int
    kind: str


@dataclass(frozen=True)
class Program:
    """One kernel."""

    name: str
    processor: str
    """Of the text itself: gfx942, ..."""
    instructions: tuple[Instruction, ...]
    labels: Mapping[str, int]
    """Name -> index of the instruction after it."""
    descriptor: Mapping[str, int]
    """The directives of the kernel descriptor, without .amdhsa_."""
    parameters: tuple[Parameter, ...]
    argument_bytes: int
    sources: Mapping[int, int | None] = field(default_factory=dict)


def split_operands(text: str) -> list[str]:
    """Split at the commas that no bracket encloses."""
    pieces, depth, piece = [], 0, ""
    for character in text:
        depth += (character in "[(") - (character in "])")
        if character == "," and depth == 0:
            pieces.append(piece.strip())
            piece = ""
        else:
            piece += character
    return [*pieces, piece.strip()] if piece.strip() else pieces


def split_words(text: str) -> list[str]:
    """Split at the spaces that neither a bracket nor a comment encloses: v1 /*v257*/ is one word."""
    words: list[str] = []
    depth = 0
    for word in text.split():
        joined = depth > 0 or (bool(words) and word.startswith("/*"))
        depth += sum(word.count(mark) for mark in "[(") - sum(word.count(mark) for mark in "])")
        if joined:
            words[-1] += " " + word
        else:
            words.append(word)
    return words


def parse_instruction(text: str, line: int, source_line: int | None, index: int) -> Instruction:
    """Read one instruction; a dual one has its second half in .second."""
    mnemonic, _, rest = text.partition(" ")
    if " :: " in rest:
        rest, _, other = rest.partition(" :: ")
        half = parse_instruction(other.strip(), line, source_line, index)
        first = parse_instruction(f"{mnemonic} {rest}", line, source_line, index)
        modifiers = {**first.modifiers, **half.modifiers}
        return Instruction(mnemonic, first.operands, modifiers, text, line, source_line, index, half)
    if mnemonic.startswith(RAW):
        return Instruction(mnemonic, (rest.strip(),), {}, text, line, source_line, index)
    operands, modifiers = [], {}
    for place, piece in enumerate(split_operands(rest)):
        for number, word in enumerate(split_words(piece)):
            found = MODIFIER.match(word)
            if found:
                modifiers[found[1]] = found[2]
            elif word in FLAGS and (number or place):
                modifiers[word] = ""
            elif number == 0:
                operands.append(word)
            else:
                modifiers[word] = ""
    return Instruction(mnemonic, tuple(operands), modifiers, text, line, source_line, index)


def _body(lines: list[str], name: str) -> tuple[int, int]:
    """Index of the kernel's label and of the line after its last instruction."""
    start = next((number for number, line in enumerate(lines) if line.startswith(f"{name}:")), None)
    if start is None:
        raise Fault(FaultKind.MISUSE, f"the text has no label {name}")
    end = next((at for at in range(start, len(lines)) if lines[at].startswith(".Lfunc_end")), len(lines))
    return start, end


def _parameters(text: str) -> tuple[tuple[Parameter, ...], int]:
    """The parameters of the metadata, and the size of the argument segment."""
    metadata = text[text.index(".amdgpu_metadata") :]
    found = re.findall(r"\.offset:\s+(\d+)\s+\.size:\s+(\d+)\s+\.value_kind:\s+(\w+)", metadata)
    size = re.search(r"\.kernarg_segment_size:\s+(\d+)", metadata)
    return tuple(Parameter(int(offset), int(size), kind) for offset, size, kind in found), int(size[1]) if size else 0


def _number(text: str) -> int:
    """A directive's value; what is no number is told apart by -1."""
    try:
        return int(text, 0)
    except ValueError:
        return -1


def _symbols(lines: list[str]) -> dict[str, int]:
    """The values of `.set symbol, number`: the descriptor of some texts names its counts so."""
    found = (re.match(r"\s*\.set\s+([\w.$]+),\s*(\d+)\s*$", line) for line in lines)
    return {match[1]: int(match[2]) for match in found if match}


def parse(text: str) -> Program:
    """Read the text of one kernel.

    Raises:
        Fault: the text names no kernel or no target, or has a line that is no instruction, label or directive.
    """
    lines = text.splitlines()
    named = re.search(r"^\s*\.amdhsa_kernel\s+(\S+)", text, re.MULTILINE)
    target = re.search(r'\.amdgcn_target\s+"[^"]*?(gfx\w+)', text)
    if named is None or target is None or ".amdgpu_metadata" not in text:
        raise Fault(FaultKind.MISUSE, "the text names no kernel, no target or no metadata")
    symbols = _symbols(lines)
    descriptor = {}
    for line in lines:
        found = DESCRIPTOR.match(line.strip())
        if found:
            descriptor[found[1]] = symbols.get(found[2], _number(found[2]))
    start, end = _body(lines, named[1])
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    source_line: int | None = None
    for number in range(start, end):
        line = lines[number].split(";")[0].split("//")[0].strip()
        label = LABEL.match(line)
        source = SOURCE.match(line)
        if label:
            labels[label[1]] = len(instructions)
        elif source:
            source_line = int(source[1]) or source_line
        elif line and not line.startswith("."):
            tidy = " ".join(line.split())
            instructions.append(parse_instruction(tidy, number + 1, source_line, len(instructions)))
    parameters, argument_bytes = _parameters(text)
    return Program(named[1], target[1], tuple(instructions), labels, descriptor, parameters, argument_bytes)
