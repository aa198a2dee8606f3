"""What was read from one compiled kernel, whatever the vendor, and which matrix instructions a variant calls native.

A figure that could not be read is None, with its reason in `unknown`.
"""

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
    tensor_instructions: dict[str, int] = field(default_factory=dict)
    native_tensor_instructions: int | None = None
    code_bytes: int | None = None
    unknown: dict[str, str] = field(default_factory=dict)


def claims_tensor_cores(kernel_claims: bool, variant: str) -> bool:
    """Whether machine code of this variant must hold matrix instructions, given what the kernel file claims."""
    return kernel_claims and variant in NARROW
