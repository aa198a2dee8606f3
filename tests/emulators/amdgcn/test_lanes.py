"""Values that move between lanes. Source: CDNA3 and RDNA4 instruction sets, chapters "DPP", "SDWA" and "LDS"."""

from typing import Any

import numpy as np
import pytest

from tests.emulators.amdgcn.bench import execute, lanes_of


def values(target: str) -> Any:
    """A different number for every lane."""
    return lanes_of(target) + np.uint32(100)


CONTROLS = [
    ("gfx942", "quad_perm:[3,0,2,1]", lambda lane: lane // 4 * 4 + (3, 0, 2, 1)[lane % 4]),
    ("gfx942", "row_shl:3", lambda lane: lane + 3 if lane % 16 + 3 < 16 else None),
    ("gfx942", "row_shr:1", lambda lane: lane - 1 if lane % 16 >= 1 else None),
    ("gfx942", "row_ror:5", lambda lane: lane // 16 * 16 + (lane - 5) % 16),
    ("gfx942", "row_mirror", lambda lane: lane // 16 * 16 + 15 - lane % 16),
    ("gfx942", "row_half_mirror", lambda lane: lane // 8 * 8 + 7 - lane % 8),
    ("gfx942", "row_bcast:15", lambda lane: lane // 16 * 16 - 1 if lane >= 16 else None),
    ("gfx942", "row_bcast:31", lambda lane: 31 if lane >= 32 else None),
    ("gfx942", "row_newbcast:7", lambda lane: lane // 16 * 16 + 7),
    ("gfx1201", "row_share:4", lambda lane: lane // 16 * 16 + 4),
    ("gfx1250", "row_xmask:6", lambda lane: lane ^ 6),
    ("gfx1201", "row_shr:8", lambda lane: lane - 8 if lane % 16 >= 8 else None),
    ("gfx1250", "dpp8:[7,6,5,4,3,2,0,1]", lambda lane: lane // 8 * 8 + (7, 6, 5, 4, 3, 2, 0, 1)[lane % 8]),
]


@pytest.mark.parametrize(("target", "control", "source"), CONTROLS)
@pytest.mark.parametrize("bound", ["", " bound_ctrl:1"])
def test_dpp_moves_the_first_source(target: str, control: str, source: Any, bound: str) -> None:
    """A lane without a source keeps its result, or reads 0 under bound_ctrl."""
    lanes = len(lanes_of(target))
    if control.startswith("dpp8"):
        text = f"v_mov_b32_dpp v16, v0 {control}"
    else:
        text = f"v_mov_b32_dpp v16, v0 {control} row_mask:0xf bank_mask:0xf{bound}"
    got = execute(target, text, {0: values(target), 16: 7}).u32[16][0]
    for lane in range(lanes):
        found = source(lane)
        want = 100 + found if found is not None else 0 if bound else 7
        assert got[lane] == want, lane


@pytest.mark.parametrize("bound", ["", " bound_ctrl:1"])
def test_dpp_from_an_inactive_lane(bound: str) -> None:
    """Without fi an inactive source lane is as good as none."""
    text = f"v_add_f32_dpp v16, v0, v1 row_shr:1 row_mask:0xf bank_mask:0xf{bound}"
    numbers = np.arange(64, dtype=np.float32)
    waves = execute(
        "gfx950", text, {0: numbers, 1: np.full(64, np.float32(1000)), 16: 7}, exec_mask=0xFFFF_FFFF_FFFF_FFF7
    )
    assert waves.u32[16][0][3] == 7
    if bound:
        assert waves.f32[16][0][4] == 1000
    else:
        assert waves.u32[16][0][4] == 7
    assert waves.f32[16][0][5] == 1004


def test_dpp_masks_choose_rows_and_banks() -> None:
    text = "v_mov_b32_dpp v16, v0 quad_perm:[0,1,2,3] row_mask:0x5 bank_mask:0x3"
    got = execute("gfx942", text, {0: values("gfx942"), 16: 7}).u32[16][0]
    for lane in range(64):
        written = lane // 16 in (0, 2) and lane % 16 < 8
        assert got[lane] == (100 + lane if written else 7)


def test_fetch_inactive_reads_lanes_that_are_off() -> None:
    text = "v_mov_b32_dpp v16, v0 row_shr:1 row_mask:0xf bank_mask:0xf fi:1"
    got = execute("gfx1201", text, {0: values("gfx1201"), 16: 7}, exec_mask=0xFFFFFFF7).u32[16][0]
    assert got[4] == 103
    assert got[3] == 7


PAD, KEEP = "dst_unused:UNUSED_PAD", "dst_unused:UNUSED_PRESERVE"
SDWA = [
    ("v_add_u16", f"dst_sel:DWORD {PAD} src0_sel:BYTE_1 src1_sel:WORD_1", 0x22 + 0xAABB),
    ("v_and_b32", f"dst_sel:DWORD {PAD} src0_sel:WORD_0 src1_sel:DWORD", 0x2211 & 0xAABBCCDD),
    ("v_or_b32", f"dst_sel:WORD_1 {KEEP} src0_sel:BYTE_0 src1_sel:BYTE_3", (0x11 | 0xAA) << 16 | 0x5678),
    ("v_or_b32", f"dst_sel:BYTE_2 {KEEP} src0_sel:BYTE_0 src1_sel:BYTE_3", 0x12005678 | (0x11 | 0xAA) << 16),
    ("v_or_b32", f"dst_sel:BYTE_1 {PAD} src0_sel:BYTE_0 src1_sel:BYTE_3", (0x11 | 0xAA) << 8),
    ("v_lshlrev_b16", f"dst_sel:BYTE_1 {PAD} src0_sel:BYTE_3 src1_sel:WORD_0", (0xCCDD << (0x44 & 15) & 0xFF) << 8),
    ("v_mul_u32_u24", f"dst_sel:DWORD {PAD} src0_sel:BYTE_1 src1_sel:BYTE_2", 0x22 * 0xBB),
]


@pytest.mark.parametrize(("name", "selections", "want"), SDWA)
def test_sdwa_selects_bytes_and_words(name: str, selections: str, want: int) -> None:
    words = {0: 0x44332211, 1: 0xAABBCCDD, 16: 0x12345678}
    assert execute("gfx942", f"{name}_sdwa v16, v0, v1 {selections}", words).u32[16][0][0] == want


def test_sdwa_of_a_half_and_of_a_comparison() -> None:
    words = {0: 0x3C004000, 1: 0x00050003}
    waves = execute("gfx942", "v_cvt_f32_f16_sdwa v16, v0 dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:WORD_1", words)
    assert waves.f32[16][0][0] == 1.0
    text = "v_cmp_eq_u16_sdwa s[4:5], v1, v2 src0_sel:WORD_1 src1_sel:BYTE_0"
    flags = execute("gfx942", text, {**words, 2: np.arange(64, dtype=np.uint32) % 7})
    assert flags.s64[4][0] == sum(1 << lane for lane in range(64) if lane % 7 == 5)


def test_pull_and_push_between_lanes() -> None:
    """ds_bpermute pulls from the lane that a byte address names, modulo the wave; ds_permute pushes to it."""
    places = (np.arange(64, dtype=np.uint32) * 7 + 3) % 64
    addresses = places * 4 + 256
    text = "ds_bpermute_b32 v16, v1, v0\nds_permute_b32 v17, v1, v0"
    waves = execute("gfx942", text, {0: values("gfx942"), 1: addresses})
    assert waves.u32[16][0].tolist() == [100 + int(place) for place in places]
    pushed = waves.u32[17][0]
    assert all(pushed[place] == 100 + lane for lane, place in enumerate(places))


def test_pull_from_an_inactive_lane_gives_zero() -> None:
    waves = execute(
        "gfx1201", "ds_bpermute_b32 v16, v1, v0", {0: values("gfx1201"), 1: 4 * 9, 16: 7}, exec_mask=0xFFFFFDFF
    )
    assert waves.u32[16][0][0] == 0
    assert waves.u32[16][0][9] == 7


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ('swizzle(BITMASK_PERM,"0p1ip")', lambda lane: (lane & 0b01011 | 0b00100) ^ 0b00010),
        ("swizzle(QUAD_PERM,1,0,3,2)", lambda lane: lane ^ 1),
        ("swizzle(SWAP,16)", lambda lane: lane ^ 16),
        ("swizzle(REVERSE,8)", lambda lane: lane ^ 7),
        ("swizzle(BROADCAST,4,2)", lambda lane: lane // 4 * 4 + 2),
    ],
)
def test_swizzle(text: str, source: Any) -> None:
    got = execute("gfx942", f"ds_swizzle_b32 v16, v0 offset:{text}", {0: values("gfx942")}).u32[16][0]
    assert got.tolist() == [100 + lane // 32 * 32 + source(lane % 32) for lane in range(64)]


@pytest.mark.parametrize(("name", "size"), [("v_permlane16_swap_b32_e32", 16), ("v_permlane32_swap_b32_e32", 32)])
def test_swap_of_rows(name: str, size: int) -> None:
    """CDNA4: the odd rows of the first register change places with the even rows of the second."""
    a, b = values("gfx950"), values("gfx950") + np.uint32(1000)
    waves = execute("gfx950", f"{name} v0, v1", {0: a, 1: b})
    for lane in range(64):
        odd = lane // size % 2
        assert waves.u32[0][0][lane] == (b[lane - size] if odd else a[lane])
        assert waves.u32[1][0][lane] == (b[lane] if odd else a[lane + size])


@pytest.mark.parametrize("other", [0, 16])
def test_permutation_within_rows(other: int) -> None:
    """Selectors of four bits: lanes 0-7 of a row in the first scalar, lanes 8-15 in the second."""
    name = "v_permlanex16_b32" if other else "v_permlane16_b32"
    chosen = [3, 1, 15, 0, 7, 7, 2, 9, 8, 4, 5, 6, 10, 11, 12, 14]
    low = sum(place << 4 * at for at, place in enumerate(chosen[:8]))
    high = sum(place << 4 * at for at, place in enumerate(chosen[8:]))
    got = execute("gfx1201", f"{name} v16, v0, s2, s3", {0: values("gfx1201")}, {2: low, 3: high}).u32[16][0]
    assert got.tolist() == [100 + (lane // 16 * 16 ^ other) + chosen[lane % 16] for lane in range(32)]


@pytest.mark.parametrize("target", ["gfx942", "gfx1250"])
def test_one_lane_and_a_scalar(target: str) -> None:
    text = "v_readlane_b32 s4, v0, 5\nv_readlane_b32 s5, v0, s2\nv_readfirstlane_b32 s6, v0\nv_writelane_b32 v16, s3, 9"
    waves = execute(target, text, {0: values(target), 16: 1}, {2: 64 + 7, 3: 0xABC}, exec_mask=0b111000)
    assert (waves.s32[4][0], waves.s32[6][0]) == (105, 103)
    assert waves.s32[5][0] == 107
    assert waves.u32[16][0].tolist() == [0xABC if lane == 9 else 1 for lane in range(waves.lanes)]


def test_counting_bits_below() -> None:
    text = "v_mbcnt_lo_u32_b32 v16, s2, 10\nv_mbcnt_hi_u32_b32 v16, s3, v16"
    mask = 0xF0F0_1234_8765_4321
    got = execute("gfx942", text, {}, {2: mask & 0xFFFFFFFF, 3: mask >> 32}).u32[16][0]
    assert got.tolist() == [10 + (mask & ((1 << lane) - 1)).bit_count() for lane in range(64)]


def test_two_registers_exchange() -> None:
    waves = execute("gfx942", "v_swap_b32 v0, v1", {0: 3, 1: 4}, exec_mask=1)
    assert (waves.u32[0][0][0], waves.u32[1][0][0]) == (4, 3)
    assert (waves.u32[0][0][1], waves.u32[1][0][1]) == (3, 4)
