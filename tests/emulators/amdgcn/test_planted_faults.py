"""Miscompilations, planted one at a time into what Triton compiled: each is found, and the right text never is.

A text is found wrong by a fault, by results that differ from the exact ones by more than rounding, or by bits that
depend on the schedule. Every planted text still assembles.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from triton.backends.amd.compiler import assemble_amdgcn

from porting.emulators.amdgcn import run
from porting.emulators.faults import Fault
from porting.emulators.launch import Buffer, Launch, Schedule
from tests.emulators.amdgcn.conftest import Compiled

Array = npt.NDArray[Any]
ADDRESS = 0x7F5500000000
SPACING = 1 << 20
SCHEDULES = (Schedule(), Schedule(reverse=True), Schedule(lazy=False))
POISON = 0xFF
"""In every byte of an output before it is written: a NaN."""
COLUMNS, ROW = 40, 300
"""Neither is a multiple of a tile."""


@dataclass(frozen=True)
class Problem:
    """Inputs of a kernel, and what it must compute of them."""

    arrays: tuple[Array, ...]
    """The last one is the output."""
    numbers: tuple[int, ...]
    grid: tuple[int, int, int]
    is_right: Callable[[Array], bool]


@cache
def multiply() -> Problem:
    """float16, the sum rounded once: within half a unit of the last place."""
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, (32, 128)).astype(np.float16), random.normal(0, 1, (128, COLUMNS)).astype(np.float16)
    exact = a.astype(float) @ b.astype(float)
    unit = np.spacing(np.abs(exact).astype(np.float16)).astype(float)
    c = np.zeros((32, COLUMNS), np.float16)
    return Problem((a, b, c), (COLUMNS,), (2, 1, 1), lambda got: bool((np.abs(got - exact) <= 0.505 * unit).all()))


@cache
def soften() -> Problem:
    x = np.random.default_rng(1).normal(0, 3, (3, ROW)).astype(np.float32)
    raised = np.exp(x.astype(float) - x.max(axis=1, keepdims=True))
    exact = raised / raised.sum(axis=1, keepdims=True)
    y = np.zeros_like(x)
    return Problem((x, y), (ROW,), (3, 1, 1), lambda got: bool(np.allclose(got, exact, rtol=3e-6, atol=0)))


@cache
def multiply_scaled() -> Problem:
    random = np.random.default_rng(2)
    values = [random.normal(0, 1, (32, 256)).astype(ml_dtypes.float8_e4m3fn) for _ in range(2)]
    scales = [random.integers(120, 134, (32, 8)).astype(np.uint8) for _ in range(2)]
    scaled = [
        value.astype(float) * np.repeat(np.exp2(scale.astype(float) - 127), 32, axis=1)
        for value, scale in zip(values, scales, strict=True)
    ]
    exact, size = scaled[0] @ scaled[1].T, np.abs(scaled[0]) @ np.abs(scaled[1]).T
    arrays = (values[0], scales[0], values[1], scales[1], np.zeros((32, 32), np.float32))
    return Problem(arrays, (), (1, 1, 1), lambda got: bool((np.abs(got - exact) <= 1e-6 * size).all()))


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
    "multiply": multiply,
    "soften": soften,
    "multiply_scaled": multiply_scaled,
}


def make_launch(problem: Problem, code: dict[str, Any], text: str, target: str) -> Launch:
    """The launch of a text; its last buffer is the output, poisoned."""
    contents = [array.reshape(-1).view(np.uint8).copy() for array in problem.arrays]
    contents[-1][:] = POISON
    buffers = tuple(
        Buffer(f"array {number}", ADDRESS + SPACING * number, content) for number, content in enumerate(contents)
    )
    arguments = [buffer.address.to_bytes(8, "little") for buffer in buffers]
    arguments += [number.to_bytes(4, "little") for number in problem.numbers] + [bytes(8), bytes(8)]
    warps, shared = code["warps"], code["shared"]
    return Launch(text, f"hip:{target}", problem.grid, tuple(arguments), buffers, warps, shared)


def execute(problem: Problem, code: dict[str, Any], text: str, target: str, schedule: Schedule) -> Array:
    """The output of one execution."""
    launch, output = make_launch(problem, code, text, target), problem.arrays[-1]
    run(launch, schedule)
    written: Array = launch.buffers[-1].content.view(output.dtype).reshape(output.shape)
    return written


def judge(kernel: str, target: str, code: dict[str, Any], text: str) -> str:
    """How a text is found wrong; empty where it is not."""
    problem, outputs = PROBLEMS[kernel](), []
    for schedule in SCHEDULES:
        try:
            outputs.append(execute(problem, code, text, target, schedule))
        except Fault as fault:
            return str(fault.kind.value)
        if not problem.is_right(outputs[-1].astype(float)):
            return "wrong results"
        if outputs[-1].tobytes() != outputs[0].tobytes():
            return "bits of the schedule"
    return ""


@pytest.mark.parametrize("target", ["gfx942", "gfx950", "gfx1250", "gfx1201"])
@pytest.mark.parametrize("kernel", PROBLEMS)
def test_what_triton_compiled_is_right(compiled: Compiled, kernel: str, target: str) -> None:
    if (kernel, target) not in compiled:
        assert kernel in ("multiply_scaled", "multiply_described")
        assert target in ("gfx942", "gfx1201")
        return
    assert judge(kernel, target, compiled[kernel, target], compiled[kernel, target]["text"]) == ""


PENDING, RACE, WRONG, BEYOND = "use before it is there", "race", "wrong results", "access out of bounds"


@dataclass(frozen=True)
class Planted:
    """One miscompilation."""

    name: str
    kernel: str
    target: str
    pattern: str
    replacement: str
    how: str = ""
    """How it is found; empty where the inputs decide what is seen first."""
    occurrence: int = 0


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


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kernel}, {fault.target}: {fault.name}")
def test_planted_fault_is_found(compiled: Compiled, fault: Planted) -> None:
    code = compiled[fault.kernel, fault.target]
    text = plant(code["text"], fault)
    assemble_amdgcn(text, fault.target, "")
    found = judge(fault.kernel, fault.target, code, text)
    assert found
    assert found == (fault.how or found)


def plant(text: str, fault: Planted) -> str:
    """The text with one occurrence of the pattern replaced."""
    lines = [line.split(";")[0].rstrip() for line in text.splitlines()]
    places = [number for number, line in enumerate(lines) if re.search(fault.pattern, line)]
    assert len(places) > fault.occurrence, f"{fault.pattern} occurs {len(places)} times"
    place = places[fault.occurrence]
    changed = re.sub(fault.pattern, fault.replacement, lines[place], count=1)
    assert changed != lines[place]
    return "\n".join([*text.splitlines()[:place], changed, *text.splitlines()[place + 1 :]]) + "\n"
