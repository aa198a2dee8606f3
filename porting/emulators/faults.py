"""What compiled code may do wrong, and where: every fault names the instruction and the kernel's source line."""

from enum import StrEnum

from porting.errors import EmulationError


class FaultKind(StrEnum):
    """What went wrong."""

    RACE = "race"
    """Two accesses to one place that nothing orders."""
    DEADLOCK = "deadlock"
    """No thread can run, and some have not ended."""
    UNINITIALISED = "uninitialised read"
    """Of a register, of shared memory or of tensor memory."""
    OUT_OF_BOUNDS = "access out of bounds"
    MISALIGNED = "misaligned access"
    DIVERGENT = "divergent threads"
    """Where all threads of a warp, or all warps of a barrier, must come together."""
    PENDING = "use before it is there"
    """Of the result of an asynchronous operation that nothing waited for."""
    MISUSE = "misuse"
    """A descriptor, a barrier or an allocation that the architecture does not define."""
    UNKNOWN = "unknown instruction"
    """The emulator does not execute it; it is never skipped."""


class Fault(EmulationError):  # noqa: N818 - what it is, in this field
    """One fault of a kernel's code.

    Args:
        kind: what went wrong.
        detail: with the value, the address or the threads that show it.
        instruction: its text.
        line: of that instruction in the compiled text, from 1; 0 where there is none.
        source_line: of the kernel's file, where the text says it.
    """

    def __init__(
        self, kind: FaultKind, detail: str, instruction: str = "", line: int = 0, source_line: int | None = None
    ) -> None:
        self.kind, self.detail = kind, detail
        self.instruction, self.line, self.source_line = instruction, line, source_line
        place = f"line {line}: {instruction}" if line else instruction or "no instruction"
        source = f" (source line {source_line})" if source_line is not None else ""
        super().__init__(f"{place}{source}: {kind.value}: {detail}")

    def at(self, instruction: str, line: int, source_line: int | None) -> "Fault":
        """The same fault, told where it happened."""
        return Fault(self.kind, self.detail, instruction, line, source_line)
