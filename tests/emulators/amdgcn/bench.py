"""Executes a few instructions on one wave, and asks the assembler whether they are legal."""

import ctypes
import re
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn import machine  # noqa: F401 - registers the instructions
from porting.emulators.amdgcn.memory import GlobalMemory, LocalMemory, ScratchMemory
from porting.emulators.amdgcn.operands import EXEC
from porting.emulators.amdgcn.registry import Context, find_step
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.targets import find_target
from porting.emulators.amdgcn.text import Program, parse_instruction
from porting.emulators.launch import Buffer

ACCUMULATORS_AT = 256
"""Row of a0 here."""
PROGRAM = Program("snippet", "", (), {}, {}, (), 0)
Array = npt.NDArray[Any]


def execute(
    target: str,
    text: str,
    vectors: Mapping[int, Any] | None = None,
    scalars: Mapping[int, int] | None = None,
    exec_mask: int | None = None,
    lds: Array | None = None,
    buffers: Sequence[Buffer] = (),
    scratch: int = 0,
    lazy: bool = False,
    saturates: bool = False,
) -> Waves:
    """Execute the lines of `text` in turn, each of which must assemble. -> the wave as they left it.

    Args:
        target: "gfx950".
        text: one instruction a line; no branches.
        vectors: row -> values of 32 bits of the lanes, one number for all, or (rows, lanes) for several registers.
        scalars: scalar register -> value.
        exec_mask: of the lanes; all of them by default.
        lds: bytes that are there, and written.
        buffers: of global memory; they are written back.
        scratch: bytes of each lane.
        lazy: memory operations take effect when they are waited for.
        saturates: the mode bit FP16_OVFL.
    """
    profile = find_target(target)
    memory = GlobalMemory(buffers)
    local = LocalMemory(1, 0 if lds is None else lds.size, 1, check=True)
    if lds is not None:
        local.bytes.u8[: lds.size] = lds.reshape(-1).view(np.uint8)
        assert local.shadow is not None
        local.shadow.written[: lds.size] = 1
    nobody = np.zeros(1, np.int64)
    waves = Waves(
        profile,
        count_rows(text, vectors or {}),
        nobody,
        nobody,
        memory,
        local,
        ScratchMemory(1, profile.lanes, scratch),
        lazy,
    )
    waves.saturates = saturates
    for row, values in (vectors or {}).items():
        words = np.atleast_1d(np.asarray(values))
        words = words.astype(np.uint32) if words.dtype.itemsize != 4 else words.view(np.uint32)
        if words.ndim == 2:
            waves.registers[row : row + len(words), 0] = words
        else:
            waves.registers[row, 0] = words
    for index, value in (scalars or {}).items():
        waves.s32[index][...] = np.uint32(value & 0xFFFFFFFF)
    if exec_mask is not None:
        waves.s64[EXEC][...] = np.uint64(exec_mask)
    waves.exec_changed()
    with np.errstate(all="ignore"):
        for line in text.strip().splitlines():
            assemble(target, line.strip())
            instruction = parse_instruction(" ".join(line.split()), 1, None, 0)
            find_step(instruction, Context(PROGRAM, profile, ACCUMULATORS_AT))(waves)
    memory.give_back()
    return waves


def count_rows(text: str, vectors: Mapping[int, Any]) -> int:
    """Of the vector register file: as many as are named or given."""
    if re.search(r"\ba(\d|\[)", text):
        return ACCUMULATORS_AT + 32
    named = [int(number) for span in re.findall(r"\bv(\d+|\[[\d:]+\])", text) for number in re.findall(r"\d+", span)]
    given = [row + (len(values) if np.ndim(values) == 2 else 1) for row, values in vectors.items()]
    return max([16, *(number + 1 for number in named), *given])


@cache
def assemble(target: str, text: str) -> bytes:
    """The bytes of the instructions, from Triton's assembler.

    Raises:
        RuntimeError: they are not legal on that processor.
    """
    from triton.backends.amd.compiler import assemble_amdgcn

    source = f'.amdgcn_target "amdgcn-amd-amdhsa--{target}"\n.text\n{text}\n'
    return section(assemble_amdgcn(source, target, ""), b".text")


def section(elf: bytes, name: bytes) -> bytes:
    """The bytes of one section of an ELF file."""
    headers, count, names = (
        struct.unpack_from("<Q", elf, 0x28)[0],
        *struct.unpack_from("<HH", elf, 0x3C),
    )
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, headers + 64 * number) for number in range(count)]
    for each in sections:
        if ctypes.create_string_buffer(elf[sections[names][4] + each[0] :]).value == name:
            return elf[each[4] : each[4] + each[5]]
    raise LookupError(f"no section {name.decode()}")


def lanes_of(target: str) -> npt.NDArray[np.uint32]:
    """0, 1, 2, ... as many as a wave has lanes."""
    return np.arange(find_target(target).lanes, dtype=np.uint32)
