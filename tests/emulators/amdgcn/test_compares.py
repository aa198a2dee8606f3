"""Comparisons under DPP, and the last step of a division of halves. Sources: RDNA4, CDNA3 instruction sets."""

import math

import numpy as np
import pytest

from porting.emulators.amdgcn.operands import VCC
from tests.emulators.amdgcn.bench import execute, lanes_of

ROW = "row_mask:0xf bank_mask:0xf"


def bits(value: int) -> list[int]:
    return [lane for lane in range(32) if value >> lane & 1]


@pytest.mark.parametrize("target", ["gfx1201", "gfx1250"])
def test_a_lane_compares_what_its_source_holds(target: str) -> None:
    values = lanes_of(target) * np.uint32(7) % np.uint32(5)
    text = f"v_cmp_gt_u32_e64_dpp s4, v0, v1 row_xmask:1 {ROW} bound_ctrl:1"

    waves = execute(target, text, {0: values, 1: np.uint32(2)})

    assert bits(int(waves.s32[4][0])) == [lane for lane in range(32) if values[lane ^ 1] > 2]


@pytest.mark.parametrize(("bound", "first"), [("", False), ("bound_ctrl:1", True)])
def test_a_lane_without_a_source(bound: str, first: bool) -> None:
    text = f"v_cmp_eq_u32_dpp vcc_lo, v0, v1 row_shr:1 {ROW} {bound}"

    waves = execute("gfx1201", text, {0: np.uint32(0), 1: np.uint32(0)})

    found = bits(int(waves.s32[VCC][0]))
    assert (0 in found, 16 in found) == (first, first)
    assert set(found) >= set(range(1, 16)) | set(range(17, 32))


def test_lanes_that_are_off_get_zero() -> None:
    text = f"v_cmp_eq_u32_e64_dpp s4, v0, v0 quad_perm:[0,1,2,3] {ROW}"

    assert int(execute("gfx1201", text, {0: lanes_of("gfx1201")}, exec_mask=0xF0F0).s32[4][0]) == 0xF0F0


INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("quotient", "denominator", "numerator", "want"),
    [
        (2.0, 3.0, 6.0, 2.0),
        (2.0, -3.0, 6.0, -2.0),
        (-2.0, 3.0, 6.0, 2.0),
        (NAN, 0.0, 1.0, INF),
        (NAN, -0.0, 1.0, -INF),
        (NAN, 0.0, 0.0, NAN),
        (NAN, INF, INF, NAN),
        (NAN, INF, -1.0, -0.0),
        (NAN, 2.0, INF, INF),
        (NAN, 5.0, -0.0, -0.0),
        (1.0, NAN, 1.0, NAN),
        (1.0, 1.0, NAN, NAN),
    ],
)
def test_division_of_halves_ends_with_its_special_cases(
    quotient: float, denominator: float, numerator: float, want: float
) -> None:
    words = [np.float16(value).view(np.uint16).astype(np.uint32) for value in (quotient, denominator, numerator)]

    waves = execute("gfx950", "v_div_fixup_f16 v3, v0, v1, v2", dict(enumerate(words)))

    got = waves.low16[3].view(np.float16)[0, 0]
    assert np.isnan(got) if math.isnan(want) else (got == want and math.copysign(1, got) == math.copysign(1, want))
