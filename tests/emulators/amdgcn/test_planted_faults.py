"""Miscompilations, planted one at a time into what Triton compiled: each is found, and the right text never is.

A text is found wrong by a fault, by results that differ from the exact ones by more than rounding, or by bits that
depend on the schedule. Every planted text still assembles.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from triton.backends.amd.compiler import assemble_amdgcn

from porting.emulators import Launch, Schedule
from porting.emulators.amdgcn import run
from tests.emulators.amdgcn.conftest import Compiled
from tests.emulators.planting import (
    WRONG,
    Array,
    Planted,
    Problem,
    judge,
    multiply,
    multiply_scaled,
    plant,
    soften,
)

COLUMNS, ROW = 40, 300
"""Neither is a multiple of a tile."""


@cache
def multiply_described() -> Problem:
    """bfloat16, the sum rounded once; no size is a multiple of a tile."""
    random = np.random.default_rng(3)
    m, n, k = 48, 80, 144
    a, b = (random.normal(0, 1, (rows, k)).astype(ml_dtypes.bfloat16) for rows in (m, n))
    exact = a.astype(float) @ b.astype(float).T
    unit = np.exp2(np.floor(np.log2(np.abs(exact))) - 7)
    c = np.zeros((m, n), ml_dtypes.bfloat16)
    return Problem((a, b, c), (m, n, k), (2, 3, 1), lambda got: bool((np.abs(got - exact) <= 0.505 * unit).all()))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "multiply_described": multiply_described,
    "multiply": cache(partial(multiply, 32, 128, COLUMNS)),
    "soften": cache(partial(soften, ROW)),
    "multiply_scaled": cache(partial(multiply_scaled, 32)),
}


def make_launch(problem: Problem, code: dict[str, Any], text: str, target: str) -> Launch:
    """The launch of a text; its last buffer is the output, poisoned."""
    buffers = problem.place()
    arguments = [buffer.address.to_bytes(8, "little") for buffer in buffers]
    arguments += [number.to_bytes(4, "little") for number in problem.numbers] + [bytes(8), bytes(8)]
    warps, shared = code["warps"], code["shared"]
    return Launch(text, f"hip:{target}", problem.grid, tuple(arguments), buffers, warps, shared)


def execute(problem: Problem, code: dict[str, Any], text: str, target: str, schedule: Schedule) -> Array:
    """The output of one execution."""
    launch = make_launch(problem, code, text, target)
    run(launch, schedule)
    return problem.read(launch.buffers)


def find_wrong(kernel: str, target: str, code: dict[str, Any], text: str) -> str:
    """How a text is found wrong; empty where it is not."""
    problem = PROBLEMS[kernel]()
    return judge(problem, partial(execute, problem, code, text, target))


@pytest.mark.parametrize("target", ["gfx942", "gfx950", "gfx1250", "gfx1201"])
@pytest.mark.parametrize("kernel", PROBLEMS)
def test_what_triton_compiled_is_right(compiled: Compiled, kernel: str, target: str) -> None:
    if (kernel, target) not in compiled:
        assert kernel in ("multiply_scaled", "multiply_described")
        assert target in ("gfx942", "gfx1201")
        return
    assert find_wrong(kernel, target, compiled[kernel, target], compiled[kernel, target]["text"]) == ""


PENDING, RACE, BEYOND = "use before it is there", "race", "access out of bounds"


FAULTS = [
    Planted("wrong lane in a reduction", "soften", "gfx950", r"(v_add_f32_dpp .*)row_shr:4", r"\1row_shr:3", WRONG),
    Planted("wrong lane read", "soften", "gfx950", r"(v_readlane_b32 s\d+, v\d+), 63", r"\1, 62", WRONG, 1),
    Planted(
        "one term of a sum lost", "soften", "gfx950", r"v_add_f32_e32 (v\d+), v3, v4$", r"v_mov_b32_e32 \1, v3", WRONG
    ),
    Planted(
        "selection the wrong way round",
        "soften",
        "gfx950",
        r"v_cndmask_b32_e32 (v\d+), (v4), (v3), vcc",
        r"v_cndmask_b32_e32 \1, \3, \2, vcc",
        WRONG,
    ),
    Planted("barrier after the store dropped", "soften", "gfx950", r"s_barrier\b", "s_nop 0", RACE),
    Planted("barrier before the reuse of LDS dropped", "soften", "gfx950", r"s_barrier\b", "s_nop 0", RACE, 1),
    Planted("wait for LDS dropped", "soften", "gfx950", r"s_waitcnt lgkmcnt\(0\)", "s_nop 0", PENDING, 2),
    Planted(
        "registers of a lane exchange exchanged",
        "multiply",
        "gfx950",
        r"v_permlane32_swap_b32_e32 (v\d+), (v\d+)",
        r"v_permlane32_swap_b32_e32 \2, \1",
        WRONG,
    ),
    Planted(
        "operands of a matrix product exchanged",
        "multiply",
        "gfx950",
        r"(v_mfma_f32_32x32x16_f16 v\[0:15\]), (\S+), (\S+),",
        r"\1, \3, \2,",
        WRONG,
    ),
    Planted("sum begun anew in the loop", "multiply", "gfx950", r"(v_mfma_\S+ .*), v\[0:15\]$", r"\1, 0", WRONG, 2),
    Planted("truncating conversion", "multiply", "gfx950", "v_cvt_pk_f16_f32 ", "v_cvt_pkrtz_f16_f32_e64 ", WRONG, 3),
    Planted(
        "index of the pipeline's buffer off by one",
        "multiply",
        "gfx950",
        r"(ds_read_b128 v\[\d+:\d+\], v\d+) offset:2048",
        r"\1 offset:4096",
    ),
    Planted("wait too weak by one", "multiply", "gfx950", r"s_waitcnt vmcnt\(0\)", "s_waitcnt vmcnt(1)", PENDING),
    Planted("load that does not transpose", "multiply", "gfx950", "ds_read_b64_tr_b16", "ds_read_b64", WRONG),
    Planted("mask left out", "multiply", "gfx950", r"s_and_saveexec_b64 (s\[2:3\]), s\[4:5\]", r"s_mov_b64 \1, exec"),
    Planted(
        "comparison off by one",
        "multiply",
        "gfx950",
        r"v_cmp_gt_i32_e32 (vcc, s8, v2)$",
        r"v_cmp_ge_i32_e32 \1",
        BEYOND,
    ),
    Planted(
        "wrong offset of a store",
        "multiply",
        "gfx950",
        r"(global_store_short .*, off) offset:4$",
        r"\1 offset:6",
        WRONG,
    ),
    Planted("address scaled wrongly", "multiply", "gfx950", r"(v_lshl_add_u64 v\[18:19\], v\[16:17\]), 1,", r"\1, 2,"),
    Planted(
        "scale of A from the wrong byte",
        "multiply_scaled",
        "gfx950",
        r"op_sel:\[1,1,0\] op_sel_hi:\[0,0,0\]",
        "op_sel:[0,1,0] op_sel_hi:[0,0,0]",
        WRONG,
    ),
    Planted(
        "scale of B from the wrong half",
        "multiply_scaled",
        "gfx950",
        r"op_sel_hi:\[1,1,0\]",
        "op_sel_hi:[1,0,0]",
        WRONG,
    ),
    Planted(
        "scales exchanged",
        "multiply_scaled",
        "gfx950",
        r"(v_mfma_scale_.*), (v\d+), (v\d+) op",
        r"\1, \3, \2 op",
        WRONG,
    ),
    Planted(
        "wrong format", "multiply_scaled", "gfx950", r"(v_mfma_scale_.* op_sel_hi:\[0,0,0\])$", r"\1 cbsz:1", WRONG
    ),
    Planted(
        "scales exchanged", "multiply_scaled", "gfx1250", r"(v_wmma_scale_.*), (v\d+), (v\d+)$", r"\1, \3, \2", WRONG
    ),
    Planted("wait for the tensor mover dropped", "multiply_described", "gfx1250", "s_wait_tensorcnt 0x0", "s_nop 0"),
    Planted(
        "copied tile not awaited by the others",
        "multiply_described",
        "gfx1250",
        r"s_barrier_(signal|wait) -1",
        "s_nop 0",
    ),
    Planted("wait for LDS dropped", "multiply", "gfx1250", r"s_wait_dscnt 0x\w+", "s_nop 0", "", 1),
    Planted("wait for a load dropped", "multiply", "gfx1250", "s_wait_loadcnt 0x0", "s_nop 0"),
    Planted("C negated", "multiply", "gfx1250", r"(v_wmma_\S+ .*, v\[\d+:\d+\])$", r"\1 neg_lo:[0,0,1]", WRONG, 1),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kernel}, {fault.processor}: {fault.name}")
def test_planted_fault_is_found(compiled: Compiled, fault: Planted) -> None:
    code = compiled[fault.kernel, fault.processor]
    text = plant(code["text"], fault, ";")
    assemble_amdgcn(text, fault.processor, "")
    found = find_wrong(fault.kernel, fault.processor, code, text)
    assert found
    assert found == (fault.how or found)
