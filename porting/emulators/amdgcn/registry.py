"""Which function decodes which mnemonic, and with which modifiers: the only table that execution is dispatched on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from porting.emulators.amdgcn.operands import Operand, UndecodedError, parse_operand
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.targets import Target
from porting.emulators.amdgcn.text import Instruction, Program
from porting.emulators.faults import FaultKind

Step = Callable[[Waves], None]
"""One decoded instruction: executes it for all active waves."""


@dataclass(frozen=True)
class Context:
    """What a decoder may know beside the instruction."""

    program: Program
    target: Target
    accumulators_at: int
    """Row of a0 in the vector register file."""

    def operand(self, text: str) -> Operand:
        """Read one operand of this program."""
        return parse_operand(text, self.accumulators_at)

    def operands(self, instruction: Instruction) -> list[Operand]:
        """Read all operands of an instruction."""
        return [parse_operand(text, self.accumulators_at) for text in instruction.operands]


Decoder = Callable[[Instruction, Context], Step]


@dataclass(frozen=True)
class Entry:
    """How one mnemonic is decoded."""

    decode: Decoder
    modifiers: frozenset[str]
    """That the decoder honours: any other is unknown."""


HANDLERS: dict[str, Entry] = {}


def register(mnemonics: str | Iterable[str], modifiers: str = "") -> Callable[[Decoder], Decoder]:
    """Decorator: the function decodes these exact mnemonics (separated by spaces) with these modifiers.

    Raises:
        ValueError: one has a decoder already.
    """
    names = mnemonics.split() if isinstance(mnemonics, str) else list(mnemonics)

    def add(decoder: Decoder) -> Decoder:
        for name in names:
            if name in HANDLERS:
                raise ValueError(f"{name} is decoded twice")
            HANDLERS[name] = Entry(decoder, frozenset(modifiers.split()))
        return decoder

    return add


def reason_undecoded(instruction: Instruction, context: Context) -> str | None:
    """Why an instruction cannot be executed; None if it can."""
    try:
        find_step(instruction, context)
    except UndecodedError as cause:
        return str(cause)
    return None


def find_step(instruction: Instruction, context: Context) -> Step:
    """Decode one instruction.

    Raises:
        UndecodedError: its mnemonic, a modifier, an operand or a value is unknown.
    """
    entry = HANDLERS.get(instruction.mnemonic)
    if entry is None:
        raise UndecodedError(f"mnemonic {instruction.mnemonic}")
    unknown = sorted(instruction.modifiers.keys() - entry.modifiers)
    if unknown:
        raise UndecodedError(f"modifier {', '.join(unknown)} of {instruction.mnemonic}")
    try:
        return entry.decode(instruction, context)
    except (IndexError, KeyError, ValueError) as cause:
        raise UndecodedError(f"{type(cause).__name__} {cause}") from cause


def decode(instruction: Instruction, context: Context) -> Step:
    """Decode one instruction; an unknown one becomes a step that faults when it is executed."""
    try:
        return find_step(instruction, context)
    except UndecodedError as cause:
        fault = instruction.fault(FaultKind.UNKNOWN, str(cause))

    def unknown(waves: Waves) -> None:
        raise fault

    return unknown
