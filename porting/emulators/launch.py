"""What is executed, how, and what was counted meanwhile."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Buffer:
    """Memory that a launch may touch: every byte beside the buffers of a launch is out of bounds."""

    name: str
    address: int
    """Of its first byte; the kernel's pointers are such addresses."""
    content: npt.NDArray[np.uint8]
    """Written in place."""


@dataclass(frozen=True)
class Launch:
    """One launch of one compiled kernel."""

    text: str
    """PTX or AMDGCN, as the compiler emitted it."""
    architecture: str
    """As a kernel's tuning names it: "cuda:100", "hip:gfx950"."""
    grid: tuple[int, int, int]
    arguments: tuple[bytes, ...]
    """Little-endian, one a parameter of the text, in its order, each of that parameter's size."""
    buffers: tuple[Buffer, ...]
    warps: int
    shared_bytes: int
    """Of dynamic shared memory (LDS)."""
    tensor_memory_columns: int = 0


@dataclass(frozen=True)
class Schedule:
    """Which of the executions that the architecture permits is taken. Correct code computes the same bits in each."""

    lazy: bool = True
    """Asynchronous operations take effect as late as the architecture permits; else at once."""
    reverse: bool = False
    """The last warp and the last program first."""
    check: bool = True
    """Look for races and uninitialised reads as well; bounds and alignment are always looked at."""


@dataclass
class Counts:
    """What was executed, over all programs and warps."""

    instructions: Counter[str] = field(default_factory=Counter)
    """Mnemonic -> warps that executed it."""
    bytes_read: Counter[str] = field(default_factory=Counter)
    """Space ("global", "shared", "tensor", "scratch") -> bytes that active threads read."""
    bytes_written: Counter[str] = field(default_factory=Counter)
    bank_conflicts: int = 0
    """Turns beyond the least that a shared access of one warp could take."""

    @property
    def steps(self) -> int:
        """Warp-wide instructions."""
        return self.instructions.total()

    def add(self, other: "Counts") -> None:
        """Count what another program counted too."""
        self.instructions += other.instructions
        self.bytes_read += other.bytes_read
        self.bytes_written += other.bytes_written
        self.bank_conflicts += other.bank_conflicts
