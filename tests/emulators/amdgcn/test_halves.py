"""A load into one half of a register is no hazard for what uses the other."""

import pytest

from porting.emulators.amdgcn.halves import halves_used, keep_apart
from porting.emulators.amdgcn.registry import Context
from porting.emulators.amdgcn.targets import find_target
from porting.emulators.amdgcn.text import Instruction, parse_instruction
from tests.emulators.amdgcn.bench import PROGRAM

CONTEXT = Context(PROGRAM, find_target("gfx1201"), 256)
HIGH, LOW = "global_load_d16_hi_b16 v1, v10, s[4:5] offset:256", "global_load_d16_b16 v1, v10, s[4:5]"


def read(text: str) -> Instruction:
    return parse_instruction(text, 1, None, 0)


@pytest.mark.parametrize(
    ("text", "halves"),
    [
        (HIGH, "h"),
        (LOW, "l"),
        ("ds_read_u16_d16_hi v1, v2", "h"),
        ("ds_store_b16 v10, v1", "l"),
        ("ds_store_b16_d16_hi v10, v1 offset:64", "h"),
        ("ds_store_b16 v1, v10", "lh"),
        ("ds_store_b32 v10, v1", "lh"),
        ("buffer_store_b8 v1, v10, s[4:7], null offen", "l"),
        ("v_mov_b16_e32 v2.l, v1.h", "h"),
        ("v_add_nc_u16 v1.l, v1.h, v2.l", "lh"),
        ("v_pk_max_u16 v2, v1, v3", "lh"),
        ("v_mov_b32_e32 v2, v3", ""),
        ("v_dual_mov_b32 v2, v3 :: v_dual_mov_b32 v4, v1", "lh"),
    ],
)
def test_halves_that_an_instruction_uses(text: str, halves: str) -> None:
    assert halves_used(read(text), 1, CONTEXT) == frozenset(halves)


def test_only_different_halves_are_apart() -> None:
    assert keep_apart(read(HIGH), read("ds_store_b16 v10, v1"), 1, CONTEXT)
    assert keep_apart(read(LOW), read("ds_store_b16_d16_hi v10, v1"), 1, CONTEXT)
    assert not keep_apart(read(LOW), read("ds_store_b16 v10, v1"), 1, CONTEXT)
    assert not keep_apart(read(HIGH), read("v_add_nc_u32_e32 v2, v1, v1"), 1, CONTEXT)
    assert not keep_apart(read("global_load_b32 v1, v10, s[4:5]"), read("ds_store_b16 v10, v1"), 1, CONTEXT)
