"""32-bit whole numbers and bits, against Python's integers. Source: CDNA3, CDNA4 and RDNA4 instruction sets, VALU."""

from typing import Any

import pytest

from tests.emulators.amdgcn.bench import execute
from tests.emulators.amdgcn.elementwise import WHOLE_EDGES, check_whole, count_sources, name_text, signed

M = 0xFFFFFFFF
G9, G12 = ("gfx942", "gfx950"), ("gfx1250", "gfx1201")
BOTH = (*G9, *G12)


def low24(value: int) -> int:
    return value & 0xFFFFFF


def signed24(value: int) -> int:
    return signed(value, 24)


def field(value: int, offset: int, width: int) -> int:
    return value >> (offset & 31) & ((1 << (width & 31)) - 1)


def signed_field(value: int, offset: int, width: int) -> int:
    """Bits beyond 31 are copies of the sign."""
    width &= 31
    return signed(signed(value) >> (offset & 31), width) & M if width else 0


def leading(value: int) -> int:
    return 32 - value.bit_length() if value else M


def trailing(value: int) -> int:
    return (value & -value).bit_length() - 1 if value else M


def permute(high: int, low: int, selector: int) -> int:
    """V_PERM_B32: 0-3 bytes of the second source, 4-7 of the first, 8-11 signs, 12 zero, 13 and on ones."""
    octets = [low >> (8 * place) & 255 for place in range(4)] + [high >> (8 * place) & 255 for place in range(4)]
    result = 0
    for place in range(4):
        code = selector >> (8 * place) & 255
        if code < 8:
            octet = octets[code]
        elif code < 12:
            octet = 255 if octets[2 * (code - 8) + 1] & 128 else 0
        else:
            octet = 0 if code == 12 else 255
        result |= octet << (8 * place)
    return result


def median(a: int, b: int, c: int) -> int:
    return sorted((a, b, c))[1]


CASES = [
    (G9, "v_add_u32_e32 v16, v0, v1", lambda a, b: a + b),
    (G9, "v_sub_u32_e32 v16, v0, v1", lambda a, b: a - b),
    (G9, "v_subrev_u32_e32 v16, v0, v1", lambda a, b: b - a),
    (G12, "v_add_nc_u32_e32 v16, v0, v1", lambda a, b: a + b),
    (G12, "v_sub_nc_u32_e32 v16, v0, v1", lambda a, b: a - b),
    (G12, "v_subrev_nc_u32_e32 v16, v0, v1", lambda a, b: b - a),
    (BOTH, "v_mul_lo_u32 v16, v0, v1", lambda a, b: a * b),
    (BOTH, "v_mul_hi_u32 v16, v0, v1", lambda a, b: a * b >> 32),
    (BOTH, "v_mul_hi_i32 v16, v0, v1", lambda a, b: signed(a) * signed(b) >> 32),
    (BOTH, "v_mul_u32_u24_e32 v16, v0, v1", lambda a, b: low24(a) * low24(b)),
    (BOTH, "v_mul_i32_i24_e32 v16, v0, v1", lambda a, b: signed24(a) * signed24(b)),
    (BOTH, "v_mad_u32_u24 v16, v0, v1, v2", lambda a, b, c: low24(a) * low24(b) + c),
    (BOTH, "v_mad_i32_i24 v16, v0, v1, v2", lambda a, b, c: signed24(a) * signed24(b) + c),
    (("gfx1250",), "v_mad_u32 v16, v0, v1, v2", lambda a, b, c: a * b + c),
    (BOTH, "v_add3_u32 v16, v0, v1, v2", lambda a, b, c: a + b + c),
    (BOTH, "v_lshl_add_u32 v16, v0, v1, v2", lambda a, b, c: (a << (b & 31)) + c),
    (BOTH, "v_add_lshl_u32 v16, v0, v1, v2", lambda a, b, c: (a + b & M) << (c & 31)),
    (BOTH, "v_xad_u32 v16, v0, v1, v2", lambda a, b, c: (a ^ b) + c),
    (BOTH, "v_min_u32_e32 v16, v0, v1", min),
    (BOTH, "v_max_u32_e32 v16, v0, v1", max),
    (BOTH, "v_min_i32_e32 v16, v0, v1", lambda a, b: min(signed(a), signed(b))),
    (BOTH, "v_max_i32_e32 v16, v0, v1", lambda a, b: max(signed(a), signed(b))),
    (BOTH, "v_max3_u32 v16, v0, v1, v2", max),
    (BOTH, "v_min3_i32 v16, v0, v1, v2", lambda *s: min(signed(value) for value in s)),
    (BOTH, "v_max3_i32 v16, v0, v1, v2", lambda *s: max(signed(value) for value in s)),
    (BOTH, "v_med3_u32 v16, v0, v1, v2", median),
    (BOTH, "v_med3_i32 v16, v0, v1, v2", lambda *s: median(*(signed(value) for value in s))),
    (BOTH, "v_mov_b32_e32 v16, v0", lambda a: a),
    (G9, "v_accvgpr_write_b32 a5, v0\nv_accvgpr_read_b32 v16, a5", lambda a: a),
    (BOTH, "v_not_b32_e32 v16, v0", lambda a: ~a),
    (BOTH, "v_and_b32_e32 v16, v0, v1", lambda a, b: a & b),
    (BOTH, "v_or_b32_e32 v16, v0, v1", lambda a, b: a | b),
    (BOTH, "v_xor_b32_e32 v16, v0, v1", lambda a, b: a ^ b),
    (BOTH, "v_xnor_b32_e32 v16, v0, v1", lambda a, b: ~(a ^ b)),
    (BOTH, "v_and_or_b32 v16, v0, v1, v2", lambda a, b, c: a & b | c),
    (BOTH, "v_or3_b32 v16, v0, v1, v2", lambda a, b, c: a | b | c),
    (G12, "v_xor3_b32 v16, v0, v1, v2", lambda a, b, c: a ^ b ^ c),
    (BOTH, "v_lshl_or_b32 v16, v0, v1, v2", lambda a, b, c: a << (b & 31) | c),
    (BOTH, "v_lshlrev_b32_e32 v16, v0, v1", lambda a, b: b << (a & 31)),
    (BOTH, "v_lshrrev_b32_e32 v16, v0, v1", lambda a, b: b >> (a & 31)),
    (BOTH, "v_ashrrev_i32_e32 v16, v0, v1", lambda a, b: signed(b) >> (a & 31)),
    (BOTH, "v_bfe_u32 v16, v0, v1, v2", field),
    (BOTH, "v_bfe_i32 v16, v0, v1, v2", signed_field),
    (BOTH, "v_bfi_b32 v16, v0, v1, v2", lambda a, b, c: a & b | ~a & c),
    (BOTH, "v_bfm_b32 v16, v0, v1", lambda a, b: ((1 << (a & 31)) - 1) << (b & 31)),
    (BOTH, "v_bfrev_b32_e32 v16, v0", lambda a: int(f"{a:032b}"[::-1], 2)),
    (BOTH, "v_bcnt_u32_b32 v16, v0, v1", lambda a, b: a.bit_count() + b),
    (G9, "v_ffbh_u32_e32 v16, v0", leading),
    (G12, "v_clz_i32_u32_e32 v16, v0", leading),
    (G9, "v_ffbl_b32_e32 v16, v0", trailing),
    (G12, "v_ctz_i32_b32_e32 v16, v0", trailing),
    (BOTH, "v_perm_b32 v16, v0, v1, v2", permute),
    (BOTH, "v_alignbit_b32 v16, v0, v1, v2", lambda a, b, c: (a << 32 | b) >> (c & 31)),
    (BOTH, "v_alignbyte_b32 v16, v0, v1, v2", lambda a, b, c: (a << 32 | b) >> 8 * (c & 3)),
    (BOTH, "v_sad_u32 v16, v0, v1, v2", lambda a, b, c: abs(a - b) + c),
    (("gfx950", "gfx1250"), "v_bitop3_b32 v16, v0, v1, v2 bitop3:0x6c", lambda a, b, c: b ^ (a & c)),
    (("gfx950", "gfx1250"), "v_bitop3_b32 v16, v0, v1, v2 bitop3:0x1", lambda a, b, c: ~(a | b | c)),
]
PAIRS = [(target, text, function) for targets, text, function in CASES for target in targets]


@pytest.mark.parametrize(("target", "text", "function"), PAIRS, ids=name_text)
def test_instruction(target: str, text: str, function: Any) -> None:
    count = 1 if text.startswith("v_accvgpr") else count_sources(text)
    check_whole(target, text, lambda *sources: function(*sources) & M, count, seed=len(text))


@pytest.mark.parametrize("selector", [0x03020100, 0x07060504, 0x0B0A0908, 0x0F0E0D0C, 0x04000C0D, 0xFF80100C])
def test_byte_permutations(selector: int) -> None:
    for high in (0x80FF7F01, 0x7F008081):
        waves = execute("gfx942", "v_perm_b32 v16, v0, v1, s2", {0: high, 1: 0x8001FF7E}, {2: selector})
        assert waves.u32[16][0][0] == permute(high, 0x8001FF7E, selector)


@pytest.mark.parametrize("target", BOTH)
def test_sources_may_be_scalars_and_constants(target: str) -> None:
    add = "v_add_u32_e32" if target in G9 else "v_add_nc_u32_e32"
    waves = execute(
        target, f"{add} v16, s3, v0\n{add} v17, -16, v0\n{add} v18, 0x12345678, v0", {0: 5}, {3: 0xFFFFFFFF}
    )
    assert waves.u32[16][0][0] == 4
    assert waves.u32[17][0][0] == 0xFFFFFFF5
    assert waves.u32[18][0][0] == 0x1234567D


@pytest.mark.parametrize(("target", "mask"), [("gfx942", "vcc"), ("gfx1250", "vcc_lo"), ("gfx1201", "vcc_lo")])
def test_conditional_move_takes_the_second_where_the_mask_is_set(target: str, mask: str) -> None:
    scalars = {106: 0x0F0F00FF, 107: 0xFFFF0000, 4: 0x3, 5: 0x80000000}
    text = (
        f"v_cndmask_b32_e32 v16, v0, v1, {mask}\nv_cndmask_b32_e64 v17, v0, v1, {'s[4:5]' if mask == 'vcc' else 's4'}"
    )
    waves = execute(target, text, {0: 7, 1: 9}, scalars)
    lanes = waves.lanes
    for row, low, high in ((16, 106, 107), (17, 4, 5)):
        bits = scalars[low] | scalars[high] << 32
        assert waves.u32[row][0].tolist() == [9 if bits >> lane & 1 else 7 for lane in range(lanes)]


def test_dual_halves_do_not_see_each_others_result() -> None:
    waves = execute("gfx1250", "v_dual_mov_b32 v0, v1 :: v_dual_mov_b32 v1, v0", {0: 3, 1: 4})
    assert (waves.u32[0][0][0], waves.u32[1][0][0]) == (4, 3)
    text = "v_dual_mul_f32 v4, v1, v2 :: v_dual_lshlrev_b32 v5, 3, v3"
    waves = execute("gfx1201", text, {1: 0x40000000, 2: 0x40400000, 3: 5})
    assert waves.u32[4][0][0] == 0x40C00000
    assert waves.u32[5][0][0] == 40


def test_edges_are_among_the_values() -> None:
    assert {0, 31, 32, 0x7FFFFFFF, 0x80000000, M} <= set(WHOLE_EDGES)
