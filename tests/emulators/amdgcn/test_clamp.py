"""Whole numbers under clamp, and sign extension under SDWA. Source: CDNA3 instruction set, vector ALU, SDWA."""

from typing import Any

import numpy as np
import pytest

from porting.emulators.amdgcn.operands import UndecodedError
from porting.emulators.amdgcn.registry import Context, find_step
from porting.emulators.amdgcn.targets import find_target
from porting.emulators.amdgcn.text import Program, parse_instruction
from tests.emulators.amdgcn.bench import execute
from tests.emulators.amdgcn.elementwise import WHOLE_EDGES, check_whole, signed

M = 0xFFFFFFFF


def hold(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


@pytest.mark.parametrize(
    ("target", "text", "function"),
    [
        ("gfx950", "v_add_u32_e64 v16, v0, v1 clamp", lambda a, b: hold(a + b, 0, M)),
        ("gfx950", "v_sub_u32_e64 v16, v0, v1 clamp", lambda a, b: hold(a - b, 0, M)),
        ("gfx950", "v_subrev_u32_e64 v16, v0, v1 clamp", lambda a, b: hold(b - a, 0, M)),
        ("gfx942", "v_add_i32 v16, v0, v1 clamp", lambda a, b: hold(signed(a) + signed(b), -(2**31), 2**31 - 1) & M),
        ("gfx942", "v_sub_i32 v16, v0, v1 clamp", lambda a, b: hold(signed(a) - signed(b), -(2**31), 2**31 - 1) & M),
        ("gfx1201", "v_add_nc_u32_e64 v16, v0, v1 clamp", lambda a, b: hold(a + b, 0, M)),
        ("gfx1250", "v_sub_nc_u32_e64 v16, v0, v1 clamp", lambda a, b: hold(a - b, 0, M)),
        ("gfx950", "v_sub_u16_e64 v16, v0, v1 clamp", lambda a, b: hold((a & 0xFFFF) - (b & 0xFFFF), 0, 0xFFFF)),
    ],
)
def test_whole_numbers_saturate(target: str, text: str, function: Any) -> None:
    check_whole(target, text, function, 2)


@pytest.mark.parametrize(
    ("selection", "first", "bits"),
    [("BYTE_0", 0, 8), ("BYTE_3", 24, 8), ("WORD_0", 0, 16), ("WORD_1", 16, 16), ("DWORD", 0, 32)],
)
def test_selected_parts_may_be_sign_extended(selection: str, first: int, bits: int) -> None:
    words = np.resize(np.array(WHOLE_EDGES, np.uint32), 64)
    parts = f"dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:{selection} src1_sel:DWORD"

    for operand, extend in (("v0", False), ("sext(v0)", True)):
        waves = execute("gfx950", f"v_add_u32_sdwa v1, {operand}, v2 {parts}", {0: words, 2: 0})
        for lane, word in enumerate(words):
            part = int(word) >> first & ((1 << bits) - 1)
            assert waves.u32[1][0, lane] == ((signed(part, bits) if extend else part) & M)


def test_extension_elsewhere_is_unknown() -> None:
    instruction = parse_instruction("v_mov_b32_e32 v1, sext(v0)", 1, None, 0)
    with pytest.raises(UndecodedError, match="sign extension"):
        find_step(instruction, Context(Program("", "", (), {}, {}, (), 0), find_target("gfx950"), 256))
