"""Static evidence of a code object: its ELF header, its metadata note, and the assembly text that it was made from.

Triton assembles exactly this text into the file, so its instructions are the file's; the text must name the same
target. The architecture is what header and note say, nothing is taken from the request.
"""

import re
from collections import Counter
from typing import Any

from porting.errors import CompileError
from porting.kernel_compiler.elf import ElfFile, read_message_pack
from porting.kernel_compiler.evidence import (
    BLOCK_SCALED,
    CompiledCode,
    InstructionCounts,
    StaticEvidence,
    count_repeated,
)
from porting.kernel_compiler.occupancy import amd_occupancy

MACHINE = 224
"""EM_AMDGPU."""
PROCESSORS = {
    0x3F: "gfx90a", 0x41: "gfx1100", 0x48: "gfx1200", 0x49: "gfx1250", 0x4C: "gfx942", 0x4E: "gfx1201", 0x4F: "gfx950",
}  # fmt: skip
"""EF_AMDGPU_MACH, the low byte of e_flags: LLVM, llvm/include/llvm/BinaryFormat/ELF.h."""
METADATA_NOTE = 32
"""NT_AMDGPU_METADATA."""
TARGET = re.compile(r'^\s*\.amdgcn_target "([^"]+)"', re.MULTILINE)
LINE = re.compile(
    r"^(?:(?P<label>\.L\w+):"
    r"|\t(?P<name>(?:v|s|ds|buffer|flat|global|scratch|tensor|image)_\w+)[ \t]*(?P<operands>[^\n;]*))",
    re.MULTILINE,
)
PADDING = ("s_nop", "s_code_end")
MATRIX = re.compile(r"v_(?:mfma|smfmac|wmma|swmmac)_")
ENCODING = re.compile(r"_(?:e32|e64|dpp|sdwa|e64_dpp)$")
SCRATCH_LOAD = re.compile(r"^\tscratch_load_(?:b|dword|d16_|[su]byte|[su]short|[ui]8|[ui]16)(\w*)", re.MULTILINE)
REGISTER_WAVES = re.compile(r"^; Occupancy: (\d+)", re.MULTILINE)
REGISTER_BYTES = 4


def read_processor(file: ElfFile) -> str:
    """The chip that a code object is for: gfx950.

    Raises:
        CompileError: it is no code object.
    """
    return _processor(file, str(_read_metadata(file).get("amdhsa.target")))


def read_evidence(code: CompiledCode) -> StaticEvidence:
    """Everything that can be read from a code object without a device.

    Raises:
        CompileError: it is no code object, lacks the kernel that it should hold, or was not made from this text.
    """
    file = ElfFile(code.binary)
    metadata = _read_metadata(file)
    kernel = _kernel(metadata, code.symbol)
    target = str(metadata.get("amdhsa.target"))
    if TARGET.findall(code.text) != [target]:
        raise CompileError(f"the text is not for {target} as the code object is; compile the kernel again")
    processor = _processor(file, target)
    counts = count_instructions(code.text, code.variant)
    unknown = {}
    waves = REGISTER_WAVES.findall(code.text)
    if len(waves) == 1:
        occupancy = amd_occupancy(processor, code.warps, int(waves[0]), code.shared_bytes)
        unknown = {"occupancy": occupancy.unknown} if occupancy.unknown else {}
        fits = (occupancy.programs, occupancy.share, occupancy.limiter)
    else:
        unknown, fits = {"occupancy": "the text does not say how many waves its registers leave room for"}, (None,) * 3
    sizes = [symbol.size for symbol in file.symbols if symbol.name == code.symbol]
    if len(sizes) != 1:
        unknown["code_bytes"] = f"the code object has {len(sizes)} symbols {code.symbol}"
    return StaticEvidence(
        architecture_found=f"hip:{processor}",
        registers=kernel[".vgpr_count"],
        accumulation_registers=kernel.get(".agpr_count", 0),
        scalar_registers=kernel[".sgpr_count"],
        spill_store_bytes=kernel[".vgpr_spill_count"] * REGISTER_BYTES,
        spill_load_bytes=count_scratch_loads(code.text),
        scalar_spills=kernel[".sgpr_spill_count"],
        scratch_bytes=kernel[".private_segment_fixed_size"],
        resident_programs=fits[0],
        occupancy=fits[1],
        occupancy_limiter=fits[2],
        instructions=counts.instructions,
        loop_instructions=counts.loop_instructions,
        tensor_instructions=counts.tensor_instructions,
        native_tensor_instructions=counts.native_tensor_instructions,
        code_bytes=sizes[0] if len(sizes) == 1 else None,
        unknown=unknown,
    )


def _kernel(metadata: Any, symbol: str) -> dict[str, Any]:
    """What the note says of one kernel."""
    kernels = metadata.get("amdhsa.kernels", []) if isinstance(metadata, dict) else []
    found = [kernel for kernel in kernels if kernel.get(".name") == symbol]
    if len(found) != 1:
        raise CompileError(f"the code object describes {len(found)} kernels {symbol}; compile the kernel again")
    lacking = {".vgpr_count", ".sgpr_count", ".vgpr_spill_count", ".sgpr_spill_count", ".private_segment_fixed_size"}
    if lacking := lacking - found[0].keys():
        raise CompileError(f"the code object says no {', '.join(sorted(lacking))}; update worldport for this Triton")
    return dict(found[0])


def _read_metadata(file: ElfFile) -> Any:
    if file.machine != MACHINE:
        raise CompileError(f"the ELF file is for machine {file.machine}, AMD's is {MACHINE}; compile the kernel again")
    note = file.note("AMDGPU", METADATA_NOTE)
    if note is None:
        raise CompileError("the code object has no metadata note; compile the kernel again")
    return read_message_pack(note)


def _processor(file: ElfFile, target: str) -> str:
    """What header and note agree on; both, when they do not, which no request equals."""
    noted = target.rpartition("-")[2]
    headed = PROCESSORS.get(file.flags & 0xFF, noted)
    return noted if headed == noted else f"{noted} (its header says {headed})"


def count_instructions(text: str, variant: str) -> InstructionCounts:
    """What the text holds; padding is not counted.

    Raises:
        CompileError: the text holds no instruction.
    """
    labels: dict[str, int] = {}
    branches: list[tuple[int, str]] = []
    names: list[str] = []
    for line in LINE.finditer(text):
        if line["label"]:
            labels[line["label"]] = len(names)
        elif line["name"] not in PADDING:
            if line["name"].startswith(("s_cbranch_", "s_branch")):
                branches.append((len(names), line["operands"].strip()))
            names.append(ENCODING.sub("", line["name"]))
    if not names:
        raise CompileError("the text holds no instruction; update worldport for this Triton")
    matrix = Counter(name for name in names if MATRIX.match(name))
    return InstructionCounts(
        instructions=len(names),
        loop_instructions=count_repeated(labels, branches),
        tensor_instructions=dict(sorted(matrix.items())),
        native_tensor_instructions=sum(count for name, count in matrix.items() if is_native(name, variant)),
    )


def is_native(name: str, variant: str) -> bool:
    """Whether a matrix instruction takes the variant as it is, scales included where the format has blocks of them."""
    unit, _, operands = name.removeprefix("v_").partition("_")
    if variant in BLOCK_SCALED:
        # Blocks of 16 have an instruction of their own.
        return operands.startswith("scale16_" if variant == "nvfp4" else "scale_") and operands.endswith("f8f6f4")
    if operands.startswith("scale"):
        return False
    if variant in ("fp8", "float8_e4m3fn", "float8_e5m2"):
        return operands.endswith("f8f6f4") or bool(re.search(r"_(?:fp8|bf8)(?:_|$)", operands))
    suffixes = {"bfloat16": ("bf16", "bf16_1k"), "float16": ("f16",), "float32": ("f32", "xf32")}.get(variant, ())
    shaped = re.search(r"\d+x\d+x\d+_(\w+)$", operands)
    return unit in ("mfma", "wmma", "smfmac", "swmmac") and shaped is not None and shaped[1] in suffixes


def count_scratch_loads(text: str) -> int:
    """Bytes a thread that the text reads back from scratch memory."""
    widths = {"": 4, "x2": 8, "x3": 12, "x4": 16, "32": 4, "64": 8, "96": 12, "128": 16}
    return sum(widths.get(width, 2) for width in SCRATCH_LOAD.findall(text))
