"""Decodes branches, barriers, waits and what only changes timing or modes."""

import re
from typing import Any

import numpy as np

from porting.emulators.amdgcn.operands import EXEC, VCC, UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import ENDED, WAITING, Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.faults import FaultKind

CONDITIONS = ("scc0", "scc1", "execz", "execnz", "vccz", "vccnz")
BRANCHES = ("s_branch", *(f"s_cbranch_{name}" for name in CONDITIONS))
BARRIERS = ("s_barrier", "s_barrier_wait")
ENDS = frozenset((*BRANCHES, *BARRIERS, "s_endpgm"))
"""What ends a basic block."""


def nothing(waves: Waves) -> None:
    """Change no state."""


@register(BRANCHES)
def decode_branch(instruction: Instruction, context: Context) -> Step:
    """Set whether the waves branch; the machine follows the label."""
    (label,) = instruction.operands
    if label not in context.program.labels:
        raise UndecodedError(f"label {label}")
    name = instruction.mnemonic
    if name == "s_branch":
        return _always
    wanted = name.endswith(("nz", "scc1"))
    if name.startswith("s_cbranch_scc"):
        return _branch_scc if wanted else _branch_not_scc
    index = EXEC if "exec" in name else VCC

    def branch(waves: Waves) -> None:
        column: Any = waves.s64[index] if waves.lanes == 64 else waves.s32[index]
        waves.branch = (column != 0) == wanted

    return branch


def _always(waves: Waves) -> None:
    waves.branch = True


def _branch_scc(waves: Waves) -> None:
    waves.branch = waves.scc


def _branch_not_scc(waves: Waves) -> None:
    waves.branch = ~waves.scc


@register("s_endpgm")
def decode_end(instruction: Instruction, context: Context) -> Step:
    """The waves end; what they still have outstanding completes."""

    def end(waves: Waves) -> None:
        waves.drain()
        waves.halt = ENDED

    return end


@register("s_barrier")
def decode_barrier(instruction: Instruction, context: Context) -> Step:
    """Arrive, and wait for the other waves of the workgroup."""

    def arrive(waves: Waves) -> None:
        waves.halt = WAITING

    return arrive


def _is_workgroup(text: str) -> bool:
    return text in ("-1", "0xffff")


@register("s_barrier_signal")
def decode_signal(instruction: Instruction, context: Context) -> Step:
    """Arrive at the workgroup's barrier without waiting."""
    if not _is_workgroup(instruction.operands[0]):
        raise UndecodedError(f"barrier {instruction.operands[0]}")

    def signal(waves: Waves) -> None:
        waves.signalled += 1 if waves.active is None else waves.active

    return signal


@register("s_barrier_wait")
def decode_barrier_wait(instruction: Instruction, context: Context) -> Step:
    """Wait until all waves of the workgroup have signalled."""
    if not _is_workgroup(instruction.operands[0]):
        raise UndecodedError(f"barrier {instruction.operands[0]}")
    fault = instruction.fault(FaultKind.MISUSE, "waits at a barrier that the wave has not signalled")

    def wait(waves: Waves) -> None:
        active = np.ones(waves.count, np.bool_) if waves.active is None else waves.active
        if (waves.signalled[active] < 1).any():
            raise fault
        waves.signalled -= active
        waves.halt = WAITING

    return wait


@register("s_waitcnt")
def decode_wait(instruction: Instruction, context: Context) -> Step:
    """gfx9: wait until counters have fallen to what is written; one that is not written is not waited for."""
    (text,) = instruction.operands
    found = re.findall(r"(\w+)\((\w+)\)", text)
    waits = [(name, int(value, 0)) for name, value in found if name != "expcnt"]
    if not found or any(name not in context.target.counter_limits for name, _ in waits):
        raise UndecodedError(f"s_waitcnt {text}")

    def wait(waves: Waves) -> None:
        for name, value in waits:
            waves.wait(name, value)

    return wait


COUNTERS = ("loadcnt", "storecnt", "dscnt", "kmcnt", "asynccnt", "tensorcnt")


@register([f"s_wait_{name}" for name in COUNTERS])
def decode_wait_one(instruction: Instruction, context: Context) -> Step:
    """gfx12: wait until one counter has fallen."""
    name, value = instruction.mnemonic.removeprefix("s_wait_"), int(instruction.operands[0], 0)
    if name not in context.target.counter_limits:
        raise UndecodedError(f"counter {name}")
    return lambda waves: waves.wait(name, value)


@register("s_wait_loadcnt_dscnt s_wait_storecnt_dscnt")
def decode_wait_two(instruction: Instruction, context: Context) -> Step:
    """gfx12: vector memory's count in bits 13:8, LDS's in 5:0."""
    name, value = instruction.mnemonic.split("_")[2], int(instruction.operands[0], 0)

    def wait(waves: Waves) -> None:
        waves.wait(name, (value >> 8) & 63)
        waves.wait("dscnt", value & 63)

    return wait


@register("s_wait_idle")
def decode_wait_all(instruction: Instruction, context: Context) -> Step:
    """Wait for everything."""
    return Waves.drain


TIMING = (
    "s_nop s_delay_alu s_wait_alu s_clause s_setprio s_sleep s_wait_xcnt s_wait_expcnt s_wait_samplecnt s_wait_bvhcnt"
    " s_inst_prefetch s_set_inst_prefetch_distance s_code_end v_nop s_prefetch_inst s_prefetch_inst_pc_rel"
    " s_prefetch_data s_prefetch_data_pc_rel s_sched_barrier s_waitcnt_depctr s_waitcnt_expcnt s_setprio_inc_wg"
)


@register(TIMING)
def decode_timing(instruction: Instruction, context: Context) -> Step:
    """Change when things happen, not what."""
    return nothing


@register("s_sendmsg")
def decode_message(instruction: Instruction, context: Context) -> Step:
    """Give vector registers back before the end; no other message."""
    if instruction.operands[0] != "sendmsg(MSG_DEALLOC_VGPRS)":
        raise UndecodedError(f"s_sendmsg {instruction.operands[0]}")
    return nothing


CACHES = "buffer_inv buffer_wbl2 global_inv global_wb global_wbinv buffer_wbinvl1 buffer_gl0_inv buffer_gl1_inv"


@register(CACHES, "sc0 sc1 scope nt")
def decode_cache(instruction: Instruction, context: Context) -> Step:
    """Invalidate or write back caches, which this memory does not have."""
    return nothing


@register("global_prefetch_b8 flat_prefetch_b8", "offset th scope scale_offset nv")
def decode_prefetch(instruction: Instruction, context: Context) -> Step:
    """Load into a cache; an address out of bounds is dropped."""
    return nothing


@register("s_set_vgpr_msb")
def decode_wide(instruction: Instruction, context: Context) -> Step:
    """gfx1250: the upper bits of vector registers, which the text also tells in comments: the machine compares them."""
    value = int(instruction.operands[0], 0) & 0xFF
    if not context.target.wide_registers:
        raise UndecodedError("s_set_vgpr_msb of a processor with 256 vector registers")

    def put(waves: Waves) -> None:
        if waves.active is None:
            waves.wide[...] = value
        else:
            waves.wide[waves.active] = value

    return put


OVERFLOW_BIT = 23
"""FP16_OVFL of MODE: conversions to 16 and 8 bits saturate."""
MODE = re.compile(r"hwreg\(HW_REG_(?:WAVE_)?MODE(?:, (\d+), (\d+))?\), (\w+)$")
DEFAULTS = {(0, 4): 0x0, (0, 2): 0x0, (2, 2): 0x0, (4, 4): 0xF, (4, 2): 0x3, (6, 2): 0x3, (25, 1): 0x1}
"""(first bit, bits) of MODE -> the value that this emulator always computes with; bit 25 is about replay only."""


@register("s_setreg_imm32_b32")
def decode_mode(instruction: Instruction, context: Context) -> Step:
    """Set bits of MODE: rounding to nearest and denormals are all that is emulated."""
    if instruction.operands[0].startswith("hwreg(HW_REG_WAVE_SCHED_MODE,"):
        # Which hazards the hardware resolves by itself: timing.
        return nothing
    found = MODE.match(instruction.operands[0])
    if not found:
        raise UndecodedError(f"s_setreg_imm32_b32 {instruction.operands[0]}")
    first, bits, value = int(found[1] or 0), int(found[2] or 32), int(found[3], 0)
    if (first, bits) == (OVERFLOW_BIT, 1):

        def put(waves: Waves) -> None:
            if waves.active is not None:
                raise UndecodedError("a mode of some waves of the batch only")
            waves.saturates = bool(value)

        return put
    if DEFAULTS.get((first, bits)) != value:
        raise UndecodedError(f"MODE bits {first} to {first + bits - 1} = {value}")
    return nothing
