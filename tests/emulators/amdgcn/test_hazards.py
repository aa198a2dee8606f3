import pytest

from porting.emulators.amdgcn.hazards import NOWHERE, touched, wide_slots
from porting.emulators.amdgcn.operands import EXEC, M0, VCC
from porting.emulators.amdgcn.registry import Context
from porting.emulators.amdgcn.targets import find_target
from porting.emulators.amdgcn.text import Program, parse_instruction

PROGRAM = Program("kernel", "", (), {}, {}, (), 0)


def s(*indices: int) -> set[int]:
    """Keys of scalar registers."""
    return {-1 - index for index in indices}


def v(*rows: int) -> set[int]:
    return set(rows)


def look(text: str, target: str = "gfx950") -> tuple[set[int], set[int]]:
    parts = touched(parse_instruction(text, 1, None, 0), Context(PROGRAM, find_target(target), 512))
    return set(parts.reads), set(parts.writes)


@pytest.mark.parametrize(
    ("text", "reads", "writes"),
    [
        ("v_add_f32_e32 v0, v1, v2", v(1, 2), v(0)),
        ("v_fmac_f32_e32 v0, v1, s2", v(0, 1) | s(2), v(0)),
        (
            "v_mfma_f32_16x16x16_f16 a[0:3], v[4:5], v[6:7], a[0:3]",
            v(4, 5, 6, 7, *range(512, 516)),
            v(*range(512, 516)),
        ),
        ("v_add_co_u32_e32 v0, vcc, v1, v2", v(1, 2), v(0) | s(VCC, VCC + 1)),
        ("v_div_scale_f32 v0, vcc, v1, v2, v1", v(1, 2), v(0) | s(VCC, VCC + 1)),
        ("v_div_fmas_f32 v0, v1, v2, v3", v(1, 2, 3) | s(VCC, VCC + 1), v(0)),
        ("v_cmp_lt_i32_e64 s[4:5], v1, v2", v(1, 2), s(4, 5)),
        ("v_readfirstlane_b32 s3, v1", v(1), s(3)),
        ("global_load_dwordx2 v[0:1], v2, s[4:5]", v(2) | s(4, 5), v(0, 1)),
        ("global_store_dword v0, v1, s[4:5]", v(0, 1) | s(4, 5), set()),
        ("buffer_load_dword v0, s[4:7], 0 offen lds", v(0) | s(4, 5, 6, 7, M0), set()),
        ("global_load_lds_dwordx4 v[0:1], off", v(0, 1) | s(M0), set()),
        ("ds_read_b64 v[0:1], v2", v(2), v(0, 1)),
        ("ds_write2_b32 v0, v1, v2", v(0, 1, 2), set()),
        ("s_load_dwordx4 s[8:11], s[0:1], 0x0", s(0, 1), s(8, 9, 10, 11)),
        ("s_and_saveexec_b64 s[0:1], s[2:3]", s(2, 3), s(0, 1, EXEC, EXEC + 1)),
        ("s_cmp_eq_u32 s0, s1", s(0, 1), set()),
        ("s_cbranch_vccnz .LBB0_1", s(VCC, VCC + 1), set()),
        ("s_addk_i32 s4, 0x10", s(4), s(4)),
        ("v_permlane32_swap_b32_e32 v0, v1", v(0, 1), v(0, 1)),
        ("s_waitcnt vmcnt(0)", set(), set()),
    ],
)
def test_reads_and_writes(text: str, reads: set[int], writes: set[int]) -> None:
    assert look(text) == (reads, writes)


def test_a_dual_instruction_touches_what_both_halves_do() -> None:
    text = "v_dual_mul_f32 v0, v1, v2 :: v_dual_fmac_f32 v3, v4, v5"

    assert look(text, "gfx1201") == (v(1, 2, 3, 4, 5), v(0, 3))


def test_packed_instructions_read_the_halves_that_are_selected() -> None:
    assert look("v_pk_fma_f32 v[0:1], s[18:19], v[2:3], v[4:5] op_sel_hi:[0,1,1]")[0] == s(18) | v(2, 3, 4, 5)
    assert look("v_pk_mul_f32 v[0:1], v[2:3], v[4:5] op_sel:[1,0] op_sel_hi:[1,0]")[0] == v(3, 4)


@pytest.mark.parametrize(
    ("text", "moves"),
    [
        ("v_mov_b32_e32 v0, v1", ((1, 0),)),
        ("v_mad_u64_u32 v[0:1], s[0:1], v2, v3, v[4:5]", ((5, 1),)),
        ("v_writelane_b32 v0, s4, 1", ((-5, NOWHERE),)),
        ("v_add_f32_e32 v0, v1, v2", ()),
    ],
)
def test_what_only_moves_a_value_may_move_an_undefined_one(text: str, moves: tuple[tuple[int, int], ...]) -> None:
    parts = touched(parse_instruction(text, 1, None, 0), Context(PROGRAM, find_target("gfx950"), 512))

    assert parts.moves == moves
    assert all(source in parts.all for source, _ in moves)
    assert all(source not in parts.reads for source, _ in moves)


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("v_add_f32_e32 v1 /*v257*/, v2, v3 /*v515*/", [(6, 1), (0, 0), (2, 2)]),
        ("v_fmamk_f32 v0, v1, 0x3f800000, v2 /*v258*/", [(6, 0), (0, 0), (2, 1)]),
        ("v_cmp_lt_i32_e32 vcc_lo, v1, v2 /*v258*/", [(0, 0), (2, 1)]),
        ("global_load_b32 v0, v1 /*v257*/, s[0:1]", [(6, 0), (0, 1)]),
        ("global_store_b32 v0, v1 /*v257*/, s[0:1]", [(0, 0), (2, 1)]),
        ("buffer_store_b32 v0 /*v256*/, v1, s[0:3], null offen", [(6, 1), (0, 0)]),
        ("ds_store_2addr_b32 v0, v1, v2 /*v258*/", [(0, 0), (2, 0), (4, 1)]),
        ("global_load_async_to_lds_b128 v0 /*v256*/, v1, s[0:1]", [(6, 1), (0, 0)]),
        ("s_mov_b32 s0, s1", []),
    ],
)
def test_slots_of_upper_register_bits(text: str, slots: list[tuple[int, int]]) -> None:
    instruction = parse_instruction(text, 1, None, 0)

    assert wide_slots(instruction, Context(PROGRAM, find_target("gfx1250"), 1024)) == slots
