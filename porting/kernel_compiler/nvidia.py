"""Static evidence of a cubin: its ELF header and attributes, what ptxas said of it, and its disassembly.

Registers, stack and code size come from the file itself, spills from the log of the very ptxas run that made it, and
instructions from NVIDIA's disassembler. Nothing is taken from the request: the architecture is what the header says.
"""

import re
import struct
import subprocess
import tempfile
from collections import Counter
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from porting.errors import CompileError
from porting.kernel_compiler.elf import ElfFile
from porting.kernel_compiler.evidence import (
    BLOCK_SCALED,
    CompiledCode,
    InstructionCounts,
    StaticEvidence,
    count_repeated,
)
from porting.kernel_compiler.occupancy import nvidia_occupancy

MACHINE = 190
"""EM_CUDA."""
FIRST_NEW_ABI = 8
"""From this ABI version on, the compute capability stands in bits 8 to 15 of e_flags, before in bits 0 to 7: LLVM,
llvm/include/llvm/BinaryFormat/ELF.h, EF_CUDA_SM and EF_CUDA_SM_MASK."""
ATTRIBUTE_REGISTERS = 0x2F
ATTRIBUTE_FRAME_BYTES = 0x11
"""Of the section .nv.info, with the index of a symbol and a value: what cuobjdump prints as EIATTR_REGCOUNT and
EIATTR_FRAME_SIZE."""
SIZED_ATTRIBUTE = 4
DISASSEMBLER_PACKAGE = "nvidia-cuda-nvdisasm"
DISASSEMBLE_SECONDS = 120
LINE = re.compile(
    r"^(?:(?P<label>\.L_\w+):|\s*/\*[0-9a-f]{4,}\*/\s+(?P<predicate>@!?U?P\w+\s+)?(?P<name>[A-Z][\w.]*)(?P<operands>[^;]*);)",
    re.MULTILINE,
)
BRANCH = re.compile(r"`\((\.L_\w+)\)")
MATRIX = re.compile(r"(?:[HQIODB]|HG|QG|IG|UTC[HQOI])MMA\b")
"""Warp-level, Hopper's warp-group and Blackwell's tensor-memory products."""
SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")


def read_capability(file: ElfFile) -> int:
    """The chip that a cubin is for: 90, 120.

    Raises:
        CompileError: it is no cubin.
    """
    if file.machine != MACHINE:
        raise CompileError(f"the ELF file is for machine {file.machine}, CUDA's is {MACHINE}; compile the kernel again")
    return (file.flags >> 8 if file.abi_version >= FIRST_NEW_ABI else file.flags) & 0xFF


def read_evidence(code: CompiledCode) -> StaticEvidence:
    """Everything that can be read from a cubin without a device.

    Raises:
        CompileError: it is no cubin, or lacks the kernel that it should hold.
    """
    file = ElfFile(code.binary)
    capability = read_capability(file)
    text = file.section(f".text.{code.symbol}")
    if text is None:
        raise CompileError(f"the cubin has no code of {code.symbol}; compile the kernel again")
    registers = _attribute(file, code.symbol, ATTRIBUTE_REGISTERS)
    unknown = {}
    spills = SPILLS.findall(code.log)
    if len(spills) != 1:
        unknown["spill_store_bytes"] = f"ptxas reported on {len(spills)} kernels"
    occupancy = nvidia_occupancy(capability, code.warps, registers, code.shared_bytes, code.tensor_memory_columns)
    if occupancy.unknown:
        unknown["occupancy"] = occupancy.unknown
    counts = None
    try:
        counts = count_instructions(disassemble(code.binary), code.variant)
    except CompileError as failure:
        unknown["instructions"] = str(failure)
    return StaticEvidence(
        architecture_found=f"cuda:{capability}",
        registers=registers,
        spill_store_bytes=int(spills[0][0]) if len(spills) == 1 else None,
        spill_load_bytes=int(spills[0][1]) if len(spills) == 1 else None,
        scratch_bytes=_attribute(file, code.symbol, ATTRIBUTE_FRAME_BYTES),
        resident_programs=occupancy.programs,
        occupancy=occupancy.share,
        occupancy_limiter=occupancy.limiter,
        instructions=counts.instructions if counts else None,
        loop_instructions=counts.loop_instructions if counts else None,
        tensor_instructions=counts.tensor_instructions if counts else {},
        native_tensor_instructions=counts.native_tensor_instructions if counts else None,
        code_bytes=text.size,
        unknown=unknown,
    )


def _attribute(file: ElfFile, symbol: str, wanted: int) -> int:
    """The value of one attribute of a kernel."""
    indices = {entry.index for entry in file.symbols if entry.name == symbol}
    section = file.section(".nv.info")
    data, place = (b"" if section is None else section.data), 0
    while place + 4 <= len(data):
        form, attribute, size = struct.unpack_from("<BBH", data, place)
        place += 4
        if form != SIZED_ATTRIBUTE:
            continue
        if attribute == wanted and size == 8:
            index, value = struct.unpack_from("<II", data, place)
            if index in indices:
                return int(value)
        place += size
    raise CompileError(f"the cubin lacks attribute {wanted:#x} of {symbol}; update worldport for this toolkit")


@cache
def find_disassembler() -> Path | None:
    """nvdisasm of its own package, which knows all that Triton compiles for; the one inside Triton is older."""
    try:
        listed = files(DISASSEMBLER_PACKAGE) or []
    except PackageNotFoundError:
        return None
    found = [Path(str(path.locate())) for path in listed if path.name in ("nvdisasm", "nvdisasm.exe")]
    return found[0] if found else None


def disassemble(binary: bytes) -> str:
    """The listing of a cubin's code.

    Raises:
        CompileError: there is no disassembler, or it refuses the file.
    """
    tool = find_disassembler()
    if tool is None:
        raise CompileError(f"there is no nvdisasm; install {DISASSEMBLER_PACKAGE}")
    with tempfile.TemporaryDirectory(prefix="nvdisasm-") as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(binary)
        # Without data-flow analysis, which takes as long as the rest and only names the targets of returns.
        command = [str(tool), "--print-code", "--no-dataflow", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=DISASSEMBLE_SECONDS, check=True)
        except subprocess.CalledProcessError as cause:
            said = cause.stderr.strip() or "nothing"
            raise CompileError(f"nvdisasm refuses the cubin and says {said}; update {DISASSEMBLER_PACKAGE}") from cause
        except (OSError, subprocess.TimeoutExpired) as cause:
            raise CompileError(f"nvdisasm cannot be run ({cause}); install {DISASSEMBLER_PACKAGE} again") from cause
    return done.stdout


def count_instructions(listing: str, variant: str) -> InstructionCounts:
    """What a listing holds; NOPs are not counted.

    Raises:
        CompileError: the listing holds no instruction.
    """
    labels: dict[str, int] = {}
    branches: list[tuple[int, str]] = []
    found: list[tuple[str, str]] = []
    end = 0
    for line in LINE.finditer(listing):
        if line["label"]:
            labels[line["label"]] = len(found)
        elif line["name"] != "NOP":
            to = BRANCH.search(line["operands"]) if line["name"].startswith("BRA") else None
            # Across the kernel's end it is the way home of a wait that stands there, not a loop.
            if to and labels.get(to[1], -1) >= end:
                branches.append((len(found), to[1]))
            if line["name"] == "EXIT" and not line["predicate"]:
                end = len(found)
            found.append((line["name"], line["operands"]))
    if not found:
        raise CompileError("nvdisasm lists no instruction; update worldport for its format")
    matrix = [(name, operands) for name, operands in found if MATRIX.match(name)]
    return InstructionCounts(
        instructions=len(found),
        loop_instructions=count_repeated(labels, branches),
        tensor_instructions=dict(sorted(Counter(name for name, _ in matrix).items())),
        native_tensor_instructions=sum(is_native(name, operands, variant) for name, operands in matrix),
    )


def is_native(name: str, operands: str, variant: str) -> bool:
    """Whether a matrix instruction takes the variant as it is, scales included where the format has blocks of them.

    Blackwell's instructions carry no types; UTCQMMA multiplies 8-bit, UTCOMMA 4-bit elements, UTCHMMA wider ones, and
    those with scales name their place in tensor memory behind the descriptor.
    """
    unit, _, types = name.partition(".")
    scaled = unit in ("OMMA", "UTCOMMA") or types.startswith("SF.") or re.search(r"idesc\[\w+\], tmem\[", operands)
    if variant in BLOCK_SCALED:
        wanted = ("QMMA", "UTCQMMA") if variant == "mxfp8" else ("OMMA", "UTCOMMA")
        return unit in wanted and bool(scaled)
    if scaled:
        return False
    if variant in ("fp8", "float8_e4m3fn", "float8_e5m2"):
        return unit in ("QMMA", "QGMMA", "UTCQMMA")
    if variant == "bfloat16":
        return unit == "UTCHMMA" or (unit in ("HMMA", "HGMMA") and "BF16" in types)
    if variant == "float16":
        return unit == "UTCHMMA" or (unit in ("HMMA", "HGMMA") and not re.search("BF16|TF32", types))
    return variant == "float32" and unit in ("HMMA", "HGMMA", "UTCHMMA")
