"""Read a kernel's PTX into instructions, labels, branch tables, registers, parameters and variables.

Names declared within braces are told apart from those outside by a suffix ("%p1@2"), as inline assembly redeclares
them. It does not know what any instruction does, nor whether it exists.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.types import BYTES

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_ENTRY = re.compile(r"\.visible\s+\.entry\s+(\w+)\s*\((.*?)\)([^{]*)\{", re.DOTALL)
_PARAMETER = re.compile(r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)[^,]*?([\w$]+)(?:\[(\d+)\])?\s*(?:,|$)")
_VARIABLE = re.compile(r"\.(shared|local)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)(?:\[(\d*)\])?\s*;")
_LABEL = re.compile(r"([$\w]+)\s*:(?!:)")
_RANGE = re.compile(r"(.*)<(\d+)>")
_INSTRUCTION = re.compile(r"(?:@(!?)(%?[\w$]+)\s+)?([a-z][\w.:]*)\s*(.*)", re.DOTALL)
_BRACKET = re.compile(r"[\[{(]")
_DEBUG = re.compile(r"\.(?:loc|file)\s")
_NAME = re.compile(r"(?<![\w@$.%])(%?[A-Za-z_$][\w$]*)(?![\w@:])")
_LOCATION = re.compile(r"\.loc\s+(\d+)\s+(\d+)\s+(\d+)(?:.*inlined_at\s+(\d+)\s+(\d+)\s+(\d+))?")


@dataclass(frozen=True)
class Instruction:
    """One instruction, as it stands in the text."""

    index: int
    """Its place among the instructions, from 0: what a program counter holds."""
    mnemonic: str
    """With every modifier: "ld.global.v4.b32"."""
    operands: tuple[str, ...]
    """"%r1", "{%r1, %r2}", "[%rd1+16]", "0f3F800000", "%p1|%p2", a label."""
    predicate: str | None
    negated: bool
    """Of the predicate."""
    text: str
    line: int
    """Of the text, from 1."""
    source_line: int | None
    """Of the kernel's file: of the call there, where the line belongs to another file."""
    scopes: tuple[int, ...]
    """The braces around it, outermost first: where its labels are looked up."""

    def fault(self, kind: FaultKind, detail: str) -> Fault:
        """A fault of this instruction."""
        return Fault(kind, detail, self.text, self.line, self.source_line)


@dataclass(frozen=True)
class Parameter:
    """One parameter of the entry."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Variable:
    """One variable of shared or local memory; a size of 0 is the dynamic part of shared memory."""

    name: str
    space: str
    alignment: int
    size: int


@dataclass
class Program:
    """One kernel's text, read."""

    name: str
    threads: int
    parameters: tuple[Parameter, ...]
    variables: tuple[Variable, ...] = ()
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    """Name, with its scope's suffix -> instruction."""
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Branch table -> labels."""
    registers: dict[str, str] = field(default_factory=dict)
    """Name, with its scope's suffix -> type: "b32", "pred"."""

    def target(self, label: str, scopes: tuple[int, ...]) -> int:
        """The instruction that a label names for one who stands in those scopes."""
        for scope in reversed(scopes):
            found = self.labels.get(_scoped(label, scope))
            if found is not None:
                return found
        raise Fault(FaultKind.UNKNOWN, f"there is no label {label}")


@lru_cache(maxsize=16)
def parse(text: str) -> Program:
    """Read one compiled kernel; what comes back is not to be changed, as the same text gives the same again.

    Raises:
        Fault: UNKNOWN, if it is not the text of one kernel or has a statement that is not read.
    """
    bare = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    entry = _ENTRY.search(bare)
    if entry is None:
        raise Fault(FaultKind.UNKNOWN, "the text has no .visible .entry")
    threads = re.search(r"\.reqntid\s+(\d+)(?:\s*,\s*(\d+)\s*,\s*(\d+))?", entry[3])
    if threads is None or (threads[2] is not None and (threads[2], threads[3]) != ("1", "1")):
        raise Fault(FaultKind.UNKNOWN, "the entry lacks .reqntid with one dimension")
    program = Program(entry[1], int(threads[1]), tuple(_parameters(entry[2])))
    program.variables = tuple(
        Variable(match[4], match[1], int(match[2] or 1), int(match[5] or 0) * BYTES[match[3]])
        for match in _VARIABLE.finditer(bare)
    )
    _Body(bare, program).read(entry.end())
    return program


def operands_of(text: str) -> tuple[str, ...]:
    """Split at the commas outside brackets and braces: "{%r1, %r2}, [%rd1]" -> two."""
    if not _BRACKET.search(text):
        return tuple(part.strip() for part in text.split(",")) if text.strip() else ()
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        if character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    last = text[start:].strip()
    return (*parts, last) if last else tuple(parts)


def _parameters(text: str) -> Iterator[Parameter]:
    offset = 0
    for match in _PARAMETER.finditer(" ".join(text.split())):
        width = BYTES[match[2]]
        size = width * int(match[4] or 1)
        offset = -(-offset // max(width, int(match[1] or 1))) * max(width, int(match[1] or 1))
        yield Parameter(match[3], offset, size)
        offset += size


def _scoped(name: str, scope: int) -> str:
    return f"{name}@{scope}" if scope else name


class _Body:
    """Walks once over the text between an entry's braces."""

    def __init__(self, text: str, program: Program) -> None:
        self.text, self.program = text, program
        self.ends = [match.start() for match in re.finditer("\n", text)]
        self.scopes: list[int] = [0]
        self.opened = 0
        self.declared: dict[int, set[str]] = {0: set()}
        self.table: str | None = None
        self.source: int | None = None
        self.kernel_file: str | None = None
        self.calls: dict[tuple[str, str, str], int | None] = {}

    def read(self, place: int) -> None:
        text = self.text
        while self.scopes:
            while text[place].isspace():
                place += 1
            if text[place] == "{":
                self.opened += 1
                self.scopes.append(self.opened)
                self.declared[self.opened] = set()
                place += 1
            elif text[place] == "}":
                self.scopes.pop()
                place += 1
            elif _DEBUG.match(text, place):
                end = text.index("\n", place)
                self._locate(text[place:end])
                place = end
            elif label := _LABEL.match(text, place):
                self.table = _scoped(label[1], self.scopes[-1])
                self.program.labels[self.table] = len(self.program.instructions)
                place = label.end()
            else:
                end = text.index(";", place)
                self._statement(" ".join(text[place:end].split()), bisect_right(self.ends, place - 1) + 1)
                place = end + 1

    def _locate(self, directive: str) -> None:
        match = _LOCATION.match(directive)
        if match is None:
            return
        file, line, column = match[1], match[2], match[3]
        self.kernel_file = self.kernel_file or file
        if file == self.kernel_file:
            self.source = int(line)
        elif match[4] is not None:
            caller = (match[4], match[5], match[6])
            self.source = int(match[5]) if match[4] == self.kernel_file else self.calls.get(caller)
        self.calls[file, line, column] = self.source

    def _statement(self, text: str, line: int) -> None:
        if not text or text.startswith((".pragma", ".shared", ".local")):
            return
        if text.startswith(".branchtargets") and self.table is not None:
            self.program.tables[self.table] = operands_of(text.removeprefix(".branchtargets"))
            return
        if text.startswith(".reg"):
            self._declare(text)
            return
        match = _INSTRUCTION.fullmatch(text)
        if match is None:
            raise Fault(FaultKind.UNKNOWN, "not a statement of PTX that is read", text, line, self.source)
        predicate = self._resolve(match[2]) if match[2] is not None else None
        self.program.instructions.append(
            Instruction(
                index=len(self.program.instructions),
                mnemonic=match[3],
                operands=operands_of(self._resolve(match[4])),
                predicate=predicate,
                negated=match[1] == "!",
                text=text,
                line=line,
                source_line=self.source,
                scopes=tuple(self.scopes),
            )
        )

    def _declare(self, text: str) -> None:
        _, kind, names = text.split(maxsplit=2)
        for name in names.split(","):
            match = _RANGE.fullmatch(name.strip())
            every = [f"{match[1]}{number}" for number in range(int(match[2]))] if match else [name.strip()]
            for one in every:
                self.declared[self.scopes[-1]].add(one)
                self.program.registers[_scoped(one, self.scopes[-1])] = kind.removeprefix(".")

    def _resolve(self, text: str) -> str:
        if len(self.scopes) == 1:
            return text
        return _NAME.sub(lambda match: self._innermost(match[1]), text)

    def _innermost(self, name: str) -> str:
        for scope in reversed(self.scopes):
            if name in self.declared[scope]:
                return _scoped(name, scope)
        return name
