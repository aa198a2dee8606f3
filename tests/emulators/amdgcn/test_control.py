"""Waits, modes and what only changes timing."""

import numpy as np
import pytest

from porting.emulators.amdgcn.operands import UndecodedError
from porting.emulators.amdgcn.registry import Context, decode, find_step, reason_undecoded, register
from porting.emulators.amdgcn.targets import find_target
from porting.emulators.amdgcn.text import Program, parse_instruction
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer
from tests.emulators.amdgcn.bench import execute, lanes_of

PROGRAM = Program("kernel", "", (), {"label": 0}, {}, (), 0)
BASE = 0x10000


def context(target: str) -> Context:
    return Context(PROGRAM, find_target(target), 256)


def issue(target: str, text: str) -> dict[str, int]:
    """Four loads of each kind, lazily, then the text: what is outstanding by counter."""
    vector, local, scalar = {
        "gfx950": ("global_load_dword v{}, v0, s[0:1]", "ds_read_b32 v{}, v0", "s_load_dword s{}, s[0:1], 0x0"),
        "gfx1250": ("global_load_b32 v{}, v0, s[0:1]", "ds_load_b32 v{}, v0", "s_load_b32 s{}, s[0:1], 0x0"),
    }[target]
    lines = [form.format(10 + number) for form in (vector, local, scalar) for number in range(4)]
    memory = Buffer("x", BASE, np.zeros(1024, np.uint8))
    vectors = {0: lanes_of(target) * 4}
    lds = np.zeros(1024, np.uint8)
    whole = "\n".join([*lines, text])
    waves = execute(target, whole, vectors, {0: BASE, 1: 0}, lds=lds, buffers=[memory], lazy=True)
    return {name: len(queue) for name, queue in waves.queues.items()}


@pytest.mark.parametrize(
    ("text", "vmcnt", "lgkmcnt"),
    [
        ("s_waitcnt vmcnt(1)", 1, 8),
        ("s_waitcnt lgkmcnt(0)", 4, 0),
        ("s_waitcnt vmcnt(0) lgkmcnt(0)", 0, 0),
        # Scalar loads may be the last: one of the four LDS loads is left, and all of theirs.
        ("s_waitcnt lgkmcnt(1)", 4, 5),
        ("s_waitcnt expcnt(0)", 4, 8),
        ("s_nop 7", 4, 8),
    ],
)
def test_waits_of_gfx9(text: str, vmcnt: int, lgkmcnt: int) -> None:
    assert issue("gfx950", text) == {"vmcnt": vmcnt, "lgkmcnt": lgkmcnt}


@pytest.mark.parametrize(
    ("text", "loadcnt", "dscnt", "kmcnt"),
    [
        ("s_wait_loadcnt 0x2", 2, 4, 4),
        ("s_wait_dscnt 0x1", 4, 1, 4),
        ("s_wait_kmcnt 0x1", 4, 4, 4),
        ("s_wait_kmcnt 0x0", 4, 4, 0),
        ("s_wait_loadcnt_dscnt 0x301", 3, 1, 4),
        ("s_wait_storecnt 0x0", 4, 4, 4),
        ("s_wait_idle", 0, 0, 0),
        ("s_wait_alu depctr_va_vcc(0)", 4, 4, 4),
    ],
)
def test_waits_of_gfx12(text: str, loadcnt: int, dscnt: int, kmcnt: int) -> None:
    assert issue("gfx1250", text) == {"loadcnt": loadcnt, "dscnt": dscnt, "kmcnt": kmcnt}


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("gfx950", "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 4, 4), 15"),
        ("gfx1250", "s_setreg_imm32_b32 hwreg(HW_REG_WAVE_MODE, 2, 2), 0"),
        ("gfx1250", "s_setreg_imm32_b32 hwreg(HW_REG_WAVE_SCHED_MODE, 0, 2), 2"),
        ("gfx1250", "s_sendmsg sendmsg(MSG_DEALLOC_VGPRS)"),
        ("gfx1250", "global_inv scope:SCOPE_SE"),
        ("gfx950", "buffer_inv sc1"),
    ],
)
def test_what_changes_no_result_is_known(target: str, text: str) -> None:
    execute(target, text)


def test_overflow_may_saturate() -> None:
    assert execute("gfx942", "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 23, 1), 1").saturates
    assert not execute("gfx942", "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 23, 1), 0", saturates=True).saturates


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("gfx950", "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 0, 2), 3"),  # rounds toward zero
        ("gfx950", "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 4, 4), 0"),  # flushes denormals
        ("gfx950", "s_setreg_imm32_b32 hwreg(HW_REG_TRAPSTS, 0, 2), 3"),
        ("gfx950", "s_waitcnt loadcnt(0)"),
        ("gfx950", "s_wait_loadcnt 0x0"),
        ("gfx950", "s_sendmsg sendmsg(MSG_INTERRUPT)"),
        ("gfx1250", "s_barrier_signal 3"),
        ("gfx1201", "s_barrier_wait 1"),
        ("gfx950", "s_branch elsewhere"),
        ("gfx950", "s_set_vgpr_msb 0x40"),
    ],
)
def test_what_would_change_a_result_is_unknown(target: str, text: str) -> None:
    instruction = parse_instruction(text, 4, 9, 0)

    assert reason_undecoded(instruction, context(target))
    with pytest.raises(Fault) as caught:
        decode(instruction, context(target))(execute(target, "s_nop 0"))
    assert (caught.value.kind, caught.value.instruction) == (FaultKind.UNKNOWN, text)
    assert (caught.value.line, caught.value.source_line) == (4, 9)


def test_an_instruction_has_one_decoder() -> None:
    with pytest.raises(ValueError, match="s_nop is decoded twice"):
        register("s_nop")(lambda instruction, context: find_step(instruction, context))


@pytest.mark.parametrize(
    "text", ["v_add_f32_e32 v0, v1", "v_add_f32_e32 s0, v1, v2", "v_lshlrev_b64 v[0:1], 3, s[3:4]"]
)
def test_operands_that_no_such_instruction_has_are_unknown(text: str) -> None:
    with pytest.raises(UndecodedError):
        find_step(parse_instruction(text, 1, None, 0), context("gfx950"))
