"""Scalar instructions against Python's integers. Source: CDNA3 and RDNA4 instruction sets, chapter "Scalar ALU"."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from porting.emulators.amdgcn.operands import EXEC
from tests.emulators.amdgcn.bench import execute
from tests.emulators.amdgcn.elementwise import WHOLE_EDGES, bits_of, name_text, signed

M, W = 0xFFFFFFFF, (1 << 64) - 1
G9, G12 = ("gfx942",), ("gfx1250", "gfx1201")
BOTH = (*G9, *G12)
SOME = [0, 1, 5, 31, 32, 0x10003, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00200004, 0x12345678]


def past(total: int) -> bool:
    """A signed sum that 32 bits cannot hold."""
    return not -(2**31) <= total < 2**31


def field(value: int, where: int) -> int:
    return value >> (where & 31) & ((1 << (where >> 16 & 127)) - 1)


def signed_field(value: int, where: int) -> int:
    width = where >> 16 & 127
    return signed(signed(value) >> (where & 31), min(width, 32)) & M if width else 0


CASES: list[tuple[tuple[str, ...], str, Callable[..., int], Callable[..., bool] | None]] = [
    (G9, "s_add_u32 s8, s2, s3", lambda a, b: a + b, lambda a, b: a + b > M),
    (G9, "s_sub_u32 s8, s2, s3", lambda a, b: a - b, lambda a, b: b > a),
    (G9, "s_add_i32 s8, s2, s3", lambda a, b: a + b, lambda a, b: past(signed(a) + signed(b))),
    (G9, "s_sub_i32 s8, s2, s3", lambda a, b: a - b, lambda a, b: past(signed(a) - signed(b))),
    (G12, "s_add_co_i32 s8, s2, s3", lambda a, b: a + b, lambda a, b: past(signed(a) + signed(b))),
    (G12, "s_sub_co_i32 s8, s2, s3", lambda a, b: a - b, lambda a, b: past(signed(a) - signed(b))),
    (G12, "s_add_co_u32 s8, s2, s3", lambda a, b: a + b, lambda a, b: a + b > M),
    (BOTH, "s_mul_i32 s8, s2, s3", lambda a, b: a * b, None),
    (BOTH, "s_mul_hi_u32 s8, s2, s3", lambda a, b: a * b >> 32, None),
    (BOTH, "s_mul_hi_i32 s8, s2, s3", lambda a, b: signed(a) * signed(b) >> 32, None),
    (BOTH, "s_and_b32 s8, s2, s3", lambda a, b: a & b, lambda a, b: a & b != 0),
    (BOTH, "s_or_b32 s8, s2, s3", lambda a, b: a | b, lambda a, b: a | b != 0),
    (BOTH, "s_xor_b32 s8, s2, s3", lambda a, b: a ^ b, lambda a, b: a ^ b != 0),
    (G9, "s_andn2_b32 s8, s2, s3", lambda a, b: a & ~b, lambda a, b: a & ~b != 0),
    (G12, "s_and_not1_b32 s8, s2, s3", lambda a, b: a & ~b, lambda a, b: a & ~b != 0),
    (BOTH, "s_lshl_b32 s8, s2, s3", lambda a, b: a << (b & 31), lambda a, b: a << (b & 31) & M != 0),
    (BOTH, "s_lshr_b32 s8, s2, s3", lambda a, b: a >> (b & 31), lambda a, b: a >> (b & 31) != 0),
    (BOTH, "s_ashr_i32 s8, s2, s3", lambda a, b: signed(a) >> (b & 31), lambda a, b: signed(a) >> (b & 31) != 0),
    (BOTH, "s_bfe_u32 s8, s2, s3", field, lambda a, b: field(a, b) != 0),
    (BOTH, "s_bfe_i32 s8, s2, s3", signed_field, lambda a, b: signed_field(a, b) != 0),
    (BOTH, "s_bfm_b32 s8, s2, s3", lambda a, b: ((1 << (a & 31)) - 1) << (b & 31), None),
    (BOTH, "s_lshl1_add_u32 s8, s2, s3", lambda a, b: 2 * a + b, lambda a, b: 2 * a + b > M),
    (BOTH, "s_lshl4_add_u32 s8, s2, s3", lambda a, b: 16 * a + b, lambda a, b: 16 * a + b > M),
    (BOTH, "s_max_i32 s8, s2, s3", lambda a, b: max(signed(a), signed(b)), lambda a, b: signed(a) >= signed(b)),
    (BOTH, "s_min_u32 s8, s2, s3", min, lambda a, b: a <= b),
    (BOTH, "s_not_b32 s8, s2", lambda a, b: ~a, lambda a, b: a != M),
    (BOTH, "s_brev_b32 s8, s2", lambda a, b: int(f"{a:032b}"[::-1], 2), None),
    (BOTH, "s_abs_i32 s8, s2", lambda a, b: abs(signed(a)), lambda a, b: a != 0),
    (BOTH, "s_sext_i32_i8 s8, s2", lambda a, b: signed(a, 8), None),
    (BOTH, "s_sext_i32_i16 s8, s2", lambda a, b: signed(a, 16), None),
    (BOTH, "s_bcnt1_i32_b32 s8, s2", lambda a, b: a.bit_count(), lambda a, b: a != 0),
    (G9, "s_flbit_i32_b32 s8, s2", lambda a, b: 32 - a.bit_length() if a else M, None),
    (G12, "s_ctz_i32_b32 s8, s2", lambda a, b: (a & -a).bit_length() - 1 if a else M, None),
    (BOTH, "s_pack_ll_b32_b16 s8, s2, s3", lambda a, b: a & 0xFFFF | b << 16, None),
    (BOTH, "s_pack_hh_b32_b16 s8, s2, s3", lambda a, b: a >> 16 | b & 0xFFFF0000, None),
    (BOTH, "s_movk_i32 s8, 0x8001", lambda a, b: 0xFFFF8001, None),
]
PAIRS = [(target, *case) for targets, *case in CASES for target in targets]


@pytest.mark.parametrize(("target", "text", "function", "flag"), PAIRS, ids=name_text)
def test_instruction(target: str, text: str, function: Any, flag: Any) -> None:
    """Without a flag of its own an instruction leaves SCC as it was."""
    for number, (a, b) in enumerate(zip(SOME * 3, SOME + SOME[4:] + SOME[:4] + SOME[7:] + SOME[:7], strict=True)):
        before, line = number % 2, f"s_cmp_eq_u32 s4, s5\n{text}"
        waves = execute(target, line, scalars={2: a, 3: b, 4: 1, 5: before})
        assert waves.s32[8][0] == function(a, b) & M, (text, hex(a), hex(b))
        assert waves.scc[0] == (flag(a, b) if flag else bool(before)), (text, hex(a), hex(b))


WIDE: list[tuple[tuple[str, ...], str, Callable[[int, int], int]]] = [
    (BOTH, "s_and_b64 s[8:9], s[2:3], s[4:5]", lambda a, b: a & b),
    (BOTH, "s_or_b64 s[8:9], s[2:3], s[4:5]", lambda a, b: a | b),
    (BOTH, "s_xor_b64 s[8:9], s[2:3], s[4:5]", lambda a, b: a ^ b),
    (BOTH, "s_mov_b64 s[8:9], s[2:3]", lambda a, b: a),
    (BOTH, "s_lshl_b64 s[8:9], s[2:3], s4", lambda a, b: a << (b & 63)),
    (BOTH, "s_lshr_b64 s[8:9], s[2:3], s4", lambda a, b: a >> (b & 63)),
    (BOTH, "s_ashr_i64 s[8:9], s[2:3], s4", lambda a, b: signed(a, 64) >> (b & 63)),
    (G12, "s_add_nc_u64 s[8:9], s[2:3], s[4:5]", lambda a, b: a + b),
    (G12, "s_sub_nc_u64 s[8:9], s[2:3], s[4:5]", lambda a, b: a - b),
    (G12, "s_mul_u64 s[8:9], s[2:3], s[4:5]", lambda a, b: a * b),
]


@pytest.mark.parametrize(("target", "text", "function"), [(t, *case) for ts, *case in WIDE for t in ts], ids=name_text)
def test_pairs(target: str, text: str, function: Any) -> None:
    for a in (0, 1, W, 0x8000000000000000, 0x123456789ABCDEF0):
        for b in (0, 1, 33, 63, 64, W, 0xF0F0F0F00F0F0F0F):
            waves = execute(target, text, scalars={2: a & M, 3: a >> 32, 4: b & M, 5: b >> 32})
            assert waves.s64[8][0] == function(a, b) & W, (text, hex(a), hex(b))


@pytest.mark.parametrize("carry", [0, 1])
def test_carry_chains(carry: int) -> None:
    for a in WHOLE_EDGES[::3]:
        for b in (0, 1, 0xFFFFFFFF):
            text = "s_cmp_eq_u32 s4, s5\ns_addc_u32 s8, s2, s3"
            waves = execute("gfx942", text, scalars={2: a, 3: b, 4: 1, 5: carry})
            assert (waves.s32[8][0], waves.scc[0]) == (a + b + carry & M, a + b + carry > M)
            text = "s_cmp_eq_u32 s4, s5\ns_subb_u32 s8, s2, s3"
            waves = execute("gfx942", text, scalars={2: a, 3: b, 4: 1, 5: carry})
            assert (waves.s32[8][0], waves.scc[0]) == (a - b - carry & M, b + carry > a)


COMPARES: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "lg": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
}


@pytest.mark.parametrize("name", COMPARES)
@pytest.mark.parametrize("kind", ["u32", "i32"])
def test_comparisons(name: str, kind: str) -> None:
    for a in SOME:
        for b in SOME:
            waves = execute("gfx942", f"s_cmp_{name}_{kind} s2, s3", scalars={2: a, 3: b})
            pair = (a, b) if kind == "u32" else (signed(a), signed(b))
            assert waves.scc[0] == COMPARES[name](*pair)


def test_comparisons_with_immediates() -> None:
    """The immediate of the signed ones is signed, of the others it is not."""
    assert execute("gfx942", "s_cmpk_gt_i32 s2, 0xffff", scalars={2: 0}).scc[0]
    assert not execute("gfx942", "s_cmpk_gt_u32 s2, 0xffff", scalars={2: 0}).scc[0]
    assert execute("gfx942", "s_cmpk_lt_i32 s2, 0x8000", scalars={2: 0x80000000}).scc[0]
    assert execute("gfx942", "s_cmp_lg_u64 s[2:3], s[4:5]", scalars={2: 1, 3: 0, 4: 1, 5: 1}).scc[0]


@pytest.mark.parametrize("text", ["s_bitcmp0_b32 s2, s3", "s_bitcmp1_b32 s2, s3"])
def test_one_bit(text: str) -> None:
    for place in (0, 5, 31, 37):
        for value in (0x20, 0xFFFFFFDF, 0x80000000):
            bit = value >> (place & 31) & 1
            assert execute("gfx942", text, scalars={2: value, 3: place}).scc[0] == (bit == int(text[8]))


def test_selection_by_the_condition() -> None:
    for condition in (0, 1):
        text = "s_cmp_eq_u32 s4, 1\ns_cselect_b32 s8, s2, s3\ns_cselect_b64 s[10:11], s[2:3], -1\ns_cmov_b32 s9, s2"
        waves = execute("gfx942", text, scalars={2: 11, 3: 22, 4: condition, 9: 99})
        assert waves.s32[8][0] == (11 if condition else 22)
        assert waves.s64[10][0] == (22 << 32 | 11 if condition else W)
        assert waves.s32[9][0] == (11 if condition else 99)


def test_immediates_are_added_and_multiplied_signed() -> None:
    waves = execute("gfx942", "s_addk_i32 s2, 0xfffe\ns_mulk_i32 s3, 0xfffd", scalars={2: 5, 3: 7})
    assert (waves.s32[2][0], waves.s32[3][0]) == (3, -21 & M)
    assert execute("gfx1250", "s_addk_co_i32 s2, 1", scalars={2: 0x7FFFFFFF}).scc[0]


@pytest.mark.parametrize(("target", "pair"), [("gfx942", "s[8:9]"), ("gfx1250", "s8")])
def test_exec_is_saved_and_narrowed(target: str, pair: str) -> None:
    mask = "s[2:3]" if target == "gfx942" else "s2"
    bits = "b64" if target == "gfx942" else "b32"
    text = f"s_and_saveexec_{bits} {pair}, {mask}\nv_mov_b32_e32 v16, 5"
    waves = execute(target, text, {16: 1}, {2: 0x0F0F0F0F, 3: 0}, exec_mask=0x000000FF)
    assert waves.s32[8][0] == 0xFF
    assert waves.s32[EXEC][0] == 0x0F
    assert waves.scc[0]
    assert waves.u32[16][0].tolist() == [5] * 4 + [1] * (waves.lanes - 4)
    assert not execute(target, text, {16: 1}, {2: 0, 3: 0}).scc[0]


def test_writing_exec_turns_lanes_on_and_off() -> None:
    waves = execute(
        "gfx942",
        "s_mov_b64 exec, 3\nv_mov_b32_e32 v16, 5\ns_or_b64 exec, exec, s[2:3]\nv_mov_b32_e32 v17, 6",
        {16: 1, 17: 1},
        {2: 8, 3: 0},
    )
    assert waves.u32[16][0].tolist() == [5, 5] + [1] * 62
    assert waves.u32[17][0].tolist() == [6, 6, 1, 6] + [1] * 60


FLOATS: list[tuple[str, Callable[[float, float], float]]] = [
    ("s_mul_f32 s8, s2, s3", lambda a, b: a * b),
    ("s_sub_f32 s8, s2, s3", lambda a, b: a - b),
    ("s_add_f32 s8, s2, s3", lambda a, b: a + b),
    ("v_s_rcp_f32 s8, s2", lambda a, b: 1 / a if a else math.copysign(math.inf, a)),
]


@pytest.mark.parametrize(("text", "function"), FLOATS, ids=name_text)
def test_floats_of_gfx12(text: str, function: Any) -> None:
    for a, b in ((1.5, 2.25), (0.1, -3.0), (-0.0, 4.0), (1e30, 1e9)):
        with np.errstate(over="ignore"):
            single = [float(np.float32(value)) for value in (a, b)]
            want = bits_of(function(*single))
        waves = execute("gfx1250", text, scalars={2: bits_of(a), 3: bits_of(b)})
        assert waves.s32[8][0] == want, (text, a, b)


def test_conversions_of_gfx12() -> None:
    text = "s_cvt_f32_u32 s8, s2\ns_cvt_f32_i32 s9, s2\ns_cvt_u32_f32 s10, s3"
    waves = execute("gfx1250", text, scalars={2: 0xFFFFFFFE, 3: bits_of(-7.5)})
    assert waves.s32[8][0] == bits_of(4294967296.0)
    assert waves.s32[9][0] == bits_of(-2.0)
    assert waves.s32[10][0] == 0
