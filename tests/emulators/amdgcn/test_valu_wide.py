"""64-bit arithmetic, carries and comparisons. Source: CDNA3 and RDNA4 instruction sets."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from porting.emulators.amdgcn.operands import EXEC, VCC
from tests.emulators.amdgcn.bench import execute, lanes_of
from tests.emulators.amdgcn.elementwise import check, draw_floats, draw_whole, name_text, signed

W = (1 << 64) - 1
PAIR = "v[0:1]"


def wide(low: Any, high: Any, lane: int) -> int:
    return int(low[lane]) | int(high[lane]) << 32


CASES = [
    ("gfx942", "v_lshlrev_b64 v[16:17], v4, v[0:1]", lambda a, b, s: a << (s & 63)),
    ("gfx950", "v_lshrrev_b64 v[16:17], v4, v[0:1]", lambda a, b, s: a >> (s & 63)),
    ("gfx942", "v_ashrrev_i64 v[16:17], v4, v[0:1]", lambda a, b, s: signed(a, 64) >> (s & 63)),
    ("gfx1201", "v_lshlrev_b64_e32 v[16:17], v4, v[0:1]", lambda a, b, s: a << (s & 63)),
    ("gfx942", "v_lshl_add_u64 v[16:17], v[0:1], 3, v[2:3]", lambda a, b, s: (a << 3) + b),
    ("gfx1250", "v_lshl_add_u64 v[16:17], v[0:1], 4, v[2:3]", lambda a, b, s: (a << 4) + b),
    ("gfx1250", "v_add_nc_u64_e32 v[16:17], v[0:1], v[2:3]", lambda a, b, s: a + b),
    ("gfx1250", "v_sub_nc_u64_e32 v[16:17], v[0:1], v[2:3]", lambda a, b, s: a - b),
    ("gfx942", "v_mov_b64_e32 v[16:17], v[0:1]", lambda a, b, s: a),
    ("gfx942", "v_mad_u64_u32 v[16:17], s[4:5], v0, v4, v[2:3]", lambda a, b, s: (a & 0xFFFFFFFF) * s + b),
    ("gfx950", "v_mad_i64_i32 v[16:17], s[4:5], v0, v4, v[2:3]", lambda a, b, s: signed(a) * signed(s) + b),
    ("gfx1201", "v_mad_co_u64_u32 v[16:17], s4, v0, v4, v[2:3]", lambda a, b, s: (a & 0xFFFFFFFF) * s + b),
    ("gfx1250", "v_mad_nc_u64_u32 v[16:17], v0, v4, v[2:3]", lambda a, b, s: (a & 0xFFFFFFFF) * s + b),
    ("gfx1250", "v_mad_nc_i64_i32 v[16:17], v0, v4, v[2:3]", lambda a, b, s: signed(a) * signed(s) + b),
]


@pytest.mark.parametrize(("target", "text", "function"), CASES, ids=name_text)
def test_instruction(target: str, text: str, function: Any) -> None:
    lanes = len(lanes_of(target))
    words = {row: draw_whole(lanes, 80 + row) for row in range(5)}
    expected = [
        function(wide(words[0], words[1], lane), wide(words[2], words[3], lane), int(words[4][lane])) & W
        for lane in range(lanes)
    ]
    check(target, text, words, expected, registers=2)


ADDS: list[tuple[str, str, Callable[[int, int, int], int]]] = [
    ("gfx942", "v_add_co_u32_e32 v16, vcc, v0, v1", lambda a, b, c: a + b),
    ("gfx942", "v_sub_co_u32_e32 v16, vcc, v0, v1", lambda a, b, c: a - b),
    ("gfx942", "v_subrev_co_u32_e32 v16, vcc, v0, v1", lambda a, b, c: b - a),
    ("gfx950", "v_addc_co_u32_e32 v16, vcc, v0, v1, vcc", lambda a, b, c: a + b + c),
    ("gfx950", "v_subb_co_u32_e32 v16, vcc, v0, v1, vcc", lambda a, b, c: a - b - c),
    ("gfx950", "v_subbrev_co_u32_e32 v16, vcc, v0, v1, vcc", lambda a, b, c: b - a - c),
    ("gfx1201", "v_add_co_u32 v16, vcc_lo, v0, v1", lambda a, b, c: a + b),
    ("gfx1201", "v_add_co_ci_u32_e64 v16, vcc_lo, v0, v1, vcc_lo", lambda a, b, c: a + b + c),
    ("gfx1201", "v_sub_co_ci_u32_e64 v16, vcc_lo, v0, v1, vcc_lo", lambda a, b, c: a - b - c),
    ("gfx1250", "v_sub_co_u32 v16, vcc_lo, v0, v1", lambda a, b, c: a - b),
]


@pytest.mark.parametrize(("target", "text", "function"), ADDS, ids=name_text)
@pytest.mark.parametrize("exec_mask", [None, 0xA5A5F00F])
def test_carries_of_inactive_lanes_are_zero(target: str, text: str, function: Any, exec_mask: int | None) -> None:
    lanes = len(lanes_of(target))
    a, b = draw_whole(lanes, 91), draw_whole(lanes, 92)
    carries = 0x0FF0_3355_CC99_AA55
    waves = execute(target, text, {0: a, 1: b}, {VCC: carries & 0xFFFFFFFF, VCC + 1: carries >> 32}, exec_mask)
    out = int(waves.s64[VCC][0]) if lanes == 64 else int(waves.s32[VCC][0])
    for lane in range(lanes):
        total = function(int(a[lane]), int(b[lane]), carries >> lane & 1)
        if exec_mask is not None and not exec_mask >> lane & 1:
            assert not out >> lane & 1
            continue
        assert waves.u32[16][0][lane] == total & 0xFFFFFFFF
        assert out >> lane & 1 == (total < 0 or total > 0xFFFFFFFF)


def test_carry_out_of_a_wide_multiplication() -> None:
    waves = execute(
        "gfx942", "v_mad_u64_u32 v[16:17], s[4:5], v0, v1, v[2:3]", {0: 0xFFFFFFFF, 1: 2, 2: 0xFFFFFFFF, 3: 0xFFFFFFFF}
    )
    assert waves.s64[4][0] == W
    none = execute("gfx942", "v_mad_u64_u32 v[16:17], s[4:5], v0, v1, v[2:3]", {0: 5, 1: 2, 2: 3, 3: 4})
    assert none.s64[4][0] == 0


COMPARES: dict[str, Callable[[Any, Any], bool]] = {
    "lt": lambda a, b: a < b,
    "eq": lambda a, b: a == b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
UNORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "lg": lambda a, b: a < b or a > b,
    "o": lambda a, b: not (math.isnan(a) or math.isnan(b)),
    "u": lambda a, b: math.isnan(a) or math.isnan(b),
    "nlt": lambda a, b: not a < b,
    "neq": lambda a, b: a != b,
    "nge": lambda a, b: not a >= b,
    "ngt": lambda a, b: not a > b,
    "nle": lambda a, b: not a <= b,
    "nlg": lambda a, b: not (a < b or a > b),
}


def mask_of(waves: Any, index: int) -> int:
    return int(waves.s64[index][0]) if waves.lanes == 64 else int(waves.s32[index][0])


@pytest.mark.parametrize("name", [*COMPARES, *UNORDERED])
@pytest.mark.parametrize("target", ["gfx942", "gfx1250"])
def test_float_comparisons(target: str, name: str) -> None:
    lanes = len(lanes_of(target))
    a, b = draw_floats(lanes, 93), draw_floats(lanes, 94)
    b[::3] = a[::3]
    destination = "s[6:7]" if lanes == 64 else "s6"
    mask = (1 << lanes) - 1 ^ 0b1011
    waves = execute(target, f"v_cmp_{name}_f32_e64 {destination}, v0, v1", {0: a, 1: b}, exec_mask=mask)
    compare: Callable[[Any, Any], bool] = {**COMPARES, **UNORDERED}[name]
    want = sum(int(compare(float(a[lane]), float(b[lane]))) << lane for lane in range(lanes)) & mask
    assert mask_of(waves, 6) == want


@pytest.mark.parametrize("name", [*COMPARES, "ne"])
@pytest.mark.parametrize("kind", ["u32", "i32", "u16", "i16", "u64", "i64"])
@pytest.mark.parametrize("target", ["gfx942", "gfx1201"])
def test_whole_comparisons(target: str, name: str, kind: str) -> None:
    lanes, bits = len(lanes_of(target)), int(kind[1:])
    words = {row: draw_whole(lanes, 95 + row) for row in range(4)}
    words[2][::4], words[3][::4] = words[0][::4], words[1][::4]
    sources = "v[0:1], v[2:3]" if bits == 64 else "v0.l, v2.l" if bits == 16 and lanes == 32 else "v0, v2"
    destination = "vcc" if lanes == 64 else "vcc_lo"
    waves = execute(target, f"v_cmp_{name}_{kind}_e32 {destination}, {sources}", words)
    different: Callable[[Any, Any], bool] = lambda a, b: a != b  # noqa: E731
    compare = {**COMPARES, "ne": different}[name]
    want = 0
    for lane in range(lanes):
        pair = [wide(words[row], words[row + 1], lane) & ((1 << bits) - 1) for row in (0, 2)]
        if kind[0] == "i":
            pair = [signed(value, bits) for value in pair]
        want |= int(compare(*pair)) << lane
    assert mask_of(waves, VCC) == want


def test_comparison_into_exec_turns_lanes_off() -> None:
    words = np.arange(32, dtype=np.uint32)
    waves = execute("gfx1250", "v_cmpx_gt_i32_e32 9, v0\nv_mov_b32_e32 v16, 7", {0: words, 16: 1}, exec_mask=0xFFFFFFFE)
    assert waves.s32[EXEC][0] == 0x1FE
    assert waves.u32[16][0].tolist() == [1] + [7] * 8 + [1] * 23


@pytest.mark.parametrize(
    ("bit", "number"),
    [
        (1, math.nan),
        (2, -math.inf),
        (3, -2.0),
        (4, -1e-40),
        (5, -0.0),
        (6, 0.0),
        (7, 1e-40),
        (8, 2.0),
        (9, math.inf),
    ],
)
def test_class_of_a_float(bit: int, number: float) -> None:
    """V_CMP_CLASS: bit 1 quiet NaN, 2 -inf, 3 -normal, 4 -subnormal, 5 -0, 6 +0, 7 subnormal, 8 normal, 9 inf."""
    word = {0: np.float32(number).view(np.uint32)}
    for mask in range(10):
        waves = execute("gfx942", "v_cmp_class_f32_e64 s[6:7], v0, v1", {**word, 1: 1 << mask})
        assert (waves.s64[6][0] != 0) == (mask == bit)
