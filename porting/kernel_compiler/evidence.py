"""What was read from one compiled kernel, whatever the vendor, and which matrix instructions a variant calls native.

A figure that could not be read is None, with its reason in `unknown`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

FORMATS = ("fp8", "mxfp8", "mxfp4", "nvfp4")
"""Variants that are no dtype of PyTorch."""
BLOCK_SCALED = ("mxfp8", "mxfp4", "nvfp4")
"""Of these, the ones whose scales the matrix instruction itself applies."""
NARROW = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", *FORMATS)
"""Variants that matrix units multiply as they are. Their products of float32 are rounded first or slower than FMA, so
that a kernel that wants exact ones does without."""


@dataclass(frozen=True)
class CompiledCode:
    """One kernel as the compiler left it: the ELF file, its text, and what only the compiler knows."""

    architecture: str
    """Asked for: "cuda:107", "hip:gfx950"."""
    variant: str
    binary: bytes
    text: str
    """PTX or AMDGCN."""
    symbol: str
    warps: int
    shared_bytes: int
    tensor_memory_columns: int
    log: str = ""
    """What the assembler said of it: ptxas -v."""


@dataclass(frozen=True)
class StaticEvidence:
    """What stands in the machine code; the fields are those of `KernelRecord`."""

    architecture_found: str | None = None
    registers: int | None = None
    accumulation_registers: int | None = None
    scalar_registers: int | None = None
    spill_store_bytes: int | None = None
    spill_load_bytes: int | None = None
    scalar_spills: int | None = None
    scratch_bytes: int | None = None
    resident_programs: int | None = None
    occupancy: float | None = None
    occupancy_limiter: str | None = None
    instructions: int | None = None
    loop_instructions: int | None = None
    tensor_instructions: dict[str, int] = field(default_factory=dict)
    native_tensor_instructions: int | None = None
    code_bytes: int | None = None
    unknown: dict[str, str] = field(default_factory=dict)


def claims_tensor_cores(kernel_claims: bool, variant: str) -> bool:
    """Whether machine code of this variant must hold matrix instructions, given what the kernel file claims."""
    return kernel_claims and variant in NARROW


@dataclass(frozen=True)
class InstructionCounts:
    """What a listing of one kernel's instructions holds; padding is not counted."""

    instructions: int
    loop_instructions: int
    tensor_instructions: dict[str, int]
    native_tensor_instructions: int


def count_repeated(labels: Mapping[str, int], branches: Iterable[tuple[int, str]]) -> int:
    """Instructions that lie in loops: between the target of a backward branch and the branch itself.

    Args:
        labels: name -> index of the instruction that it stands before.
        branches: index of each branch that may be taken again and again, and the label that it goes to.
    """
    end, repeated = 0, 0
    for first, last in sorted((labels[to], at + 1) for at, to in branches if labels.get(to, at) < at):
        repeated += max(last - max(first, end), 0)
        end = max(end, last)
    return repeated
