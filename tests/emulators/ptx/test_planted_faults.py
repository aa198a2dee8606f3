"""Miscompilations, planted one at a time into what Triton compiled: each is found, and the right text never is.

A text is found wrong by a fault, by results that differ from the exact ones by more than rounding, or by bits that
depend on the schedule.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from porting.emulators import Fault, FaultKind, Launch, Schedule
from porting.emulators.ptx import run
from tests.emulators.planting import (
    SCHEDULES,
    WRONG,
    Array,
    Planted,
    Problem,
    judge,
    multiply,
    multiply_scaled,
    plant,
    rounded_once,
    soften,
)
from tests.emulators.ptx.conftest import Compiled, compile_kernels

COLUMNS, ROW, DEPTH = 88, 300, 256
"""The first two are no multiples of a tile."""


@cache
def multiply_tiles() -> Problem:
    random = np.random.default_rng(3)
    a, b = (random.normal(0, 1, (64, DEPTH)).astype(np.float16) for _ in range(2))
    return Problem((a, b, np.zeros((64, 64), np.float16)), (), (1, 1, 1), rounded_once(a, b.T))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "soften": cache(partial(soften, ROW)),
    "multiply": cache(partial(multiply, 64, DEPTH, COLUMNS)),
    "multiply_tiles": multiply_tiles,
    "multiply_scaled": cache(partial(multiply_scaled, 128)),
}


def launch_for(problem: Problem, processor: int, code: dict[str, Any], text: str) -> Launch:
    """A launch of a text over copies of the problem's arrays; the output is the buffer before the last."""
    buffers = problem.place(max(code["scratch"] * int(np.prod(problem.grid)), 1))
    pointers = [buffer.address.to_bytes(8, "little") for buffer in buffers]
    numbers = [number.to_bytes(4, "little") for number in problem.numbers]
    return Launch(
        text=text,
        architecture=f"cuda:{processor}",
        grid=problem.grid,
        arguments=(*pointers[:-1], *numbers, pointers[-1], bytes(8)),
        buffers=buffers,
        warps=code["warps"],
        shared_bytes=code["shared"],
        tensor_memory_columns=code["columns"],
    )


def execute(problem: Problem, processor: int, code: dict[str, Any], text: str, schedule: Schedule) -> Array:
    """The output of one execution."""
    launch = launch_for(problem, processor, code, text)
    run(launch, schedule)
    return problem.read(launch.buffers)


def find_wrong(problem: Problem, processor: int, code: dict[str, Any], text: str) -> str:
    """How a text is found wrong; empty where it is not."""
    return judge(problem, partial(execute, problem, processor, code, text))


RIGHT = [
    ("soften", 80),
    *(("multiply", processor) for processor in (80, 90, 100, 120)),
    *(("multiply_tiles", processor) for processor in (90, 100)),
    *(("multiply_scaled", processor) for processor in (100, 107, 120)),
]


@pytest.mark.parametrize(("kernel", "processor"), RIGHT)
def test_what_triton_compiled_is_right(compiled: Compiled, kernel: str, processor: int) -> None:
    code = compiled[kernel, processor]
    assert find_wrong(PROBLEMS[kernel](), processor, code, code["text"]) == ""


PENDING, RACE, DEADLOCK = FaultKind.PENDING.value, FaultKind.RACE.value, FaultKind.DEADLOCK.value
BEYOND, MISUSE = FaultKind.OUT_OF_BOUNDS.value, FaultKind.MISUSE.value
SWIZZLED_128 = 0x4000_0040_0000_0000
"""Triton's descriptors for wgmma of fp16 in rows of 128 bytes: swizzle 1 at bit 62, stride 1024 / 16 at bit 32."""
EXCHANGED, SWIZZLED_64 = 0x4000_0000_0040_0000, 0x8000_0040_0000_0000


FAULTS = [
    Planted("wrong lane in a reduction", "soften", 80, r"(shfl\.sync\.bfly.*), 8, 31", r"\1, 4, 31", WRONG, 1),
    Planted("barrier after the store dropped", "soften", 80, r"bar\.sync\s+0;", "", RACE),
    Planted("barrier before the reuse dropped", "soften", 80, r"bar\.sync\s+0;", "", RACE, 1),
    Planted("comparison off by one", "soften", 80, r"setp\.lt\.s32", "setp.le.s32", BEYOND, 2),
    Planted("index of the pipeline's stage off by one", "multiply", 80, r"(setp\.gt\.s32 .*), 1;", r"\1, 0;"),
    Planted("wait too weak by one", "multiply", 80, r"cp\.async\.wait_group\s+1;", "cp.async.wait_group 2;", PENDING),
    Planted("truncating conversion", "multiply", 80, r"cvt\.rn\.f16x2", "cvt.rz.f16x2", WRONG, 3),
    Planted("load that does not transpose", "multiply", 80, r"\.x4\.trans\.", ".x4.", WRONG, 2),
    Planted(
        "registers of a fragment exchanged", "multiply", 80, r"(mma\.sync.*}, {) (%r\d+), (%r\d+)", r"\1 \3, \2", WRONG
    ),
    Planted("barrier between products and copies dropped", "multiply", 80, r"bar\.sync\s+0;", "", RACE, 1),
    Planted("fields of a descriptor exchanged", "multiply", 90, f", {SWIZZLED_128};", f", {EXCHANGED};"),
    Planted("wrong swizzle", "multiply", 90, f", {SWIZZLED_128};", f", {SWIZZLED_64};"),
    Planted("step along k too long", "multiply", 90, r"add\.s32 (\s*%r\d+, %r\d+), 2;", r"add.s32 \1, 4;", WRONG),
    Planted("proxy fence dropped", "multiply", 90, r"fence\.proxy\.async\.shared::cta;", "", RACE),
    Planted("wgmma.fence dropped", "multiply", 90, r"wgmma\.fence\.sync\.aligned;", ""),
    Planted("wgmma.wait_group too weak", "multiply", 90, r"(wait_group\.sync\.aligned) 0;", r"\1 1;", RACE),
    Planted("commit dropped", "multiply", 90, r"wgmma\.commit_group\.sync\.aligned;", ""),
    Planted("A read across", "multiply", 90, r"(wgmma\.mma_async.*, )0, 1;", r"\g<1>1, 1;"),
    Planted("A negated", "multiply", 90, r"(wgmma\.mma_async.*), 1, 1, (\d, \d);", r"\1, -1, 1, \2;", WRONG),
    Planted("commit dropped", "multiply", 100, r"@%p\d+ tcgen05\.commit.*;", "", DEADLOCK, 1),
    Planted("proxy fence dropped", "multiply", 100, r"fence\.proxy\.async\.shared::cta;", "", RACE, 1),
    Planted("wait of the store dropped", "multiply", 100, r"tcgen05\.wait::st\.sync\.aligned;", "", RACE),
    Planted("columns of a load off", "multiply", 100, r"(tcgen05\.ld.*), (\[%r\d+ \+) 0\], 32;", r"\1, \2 1], 32;"),
    Planted("tensor memory kept", "multiply", 100, r"@%p\d+ tcgen05\.dealloc.*;", "", MISUSE),
    Planted("wait for the wrong phase", "multiply", 100, r"(try_wait.*), %r313;", r"\1, 1;"),
    Planted("too many bytes expected", "multiply_tiles", 90, r"_, (\[%r\d+\]), 16384;", r"_, \1, 16400;", DEADLOCK),
    Planted("too few bytes expected", "multiply_tiles", 90, r"_, (\[%r\d+\]), 16384;", r"_, \1, 8192;"),
    Planted("coordinates exchanged", "multiply_tiles", 90, r"{%r25, %r102}", "{%r102, %r25}", WRONG),
    Planted("swizzle of a copy left out", "multiply_tiles", 90, r"(swizzle_mode.*), 0x3;", r"\1, 0x0;", WRONG),
    Planted("swizzle of a copy too short", "multiply_tiles", 90, r"(swizzle_mode.*), 0x3;", r"\1, 0x2;", MISUSE),
    Planted("proxy fence before the store dropped", "multiply_tiles", 90, r"fence\.proxy\.async\.\S+;", "", RACE, 1),
    Planted("arrival dropped", "multiply_tiles", 100, r"@%p\d+ mbarrier\.arrive\.expect_tx.*;", ""),
    Planted("wait for the store dropped", "multiply_tiles", 100, r"cp\.async\.bulk\.wait_group\s+0;", ""),
    Planted(
        "scales exchanged",
        "multiply_scaled",
        100,
        r"(tcgen05\.mma.*), (\[ %r\d+ \+ 0 \]), (\[ %r\d+ \+ 0 \]), (%p\d+);",
        r"\1, \3, \2, \4;",
        WRONG,
        2,
    ),
    Planted(
        "scale of the wrong byte",
        "multiply_scaled",
        100,
        r"(tcgen05\.mma.*), %r190, ",
        r"\1, %r187, ",
        WRONG,
    ),
    Planted(
        "scales exchanged",
        "multiply_scaled",
        120,
        r"(mma\.sync.*}), (%r\d+), ({.*}), (%r\d+), ({.*});",
        r"\1, \4, \3, \2, \5;",
        WRONG,
    ),
    Planted("scale of the wrong byte", "multiply_scaled", 120, r"(mma\.sync.*), { 0, 0 };", r"\1, { 1, 0 };", WRONG),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kernel}, {fault.processor}: {fault.name}")
def test_planted_fault_is_found(compiled: Compiled, fault: Planted) -> None:
    code = compiled[fault.kernel, fault.processor]
    found = find_wrong(PROBLEMS[fault.kernel](), fault.processor, code, plant(code["text"], fault, "//"))
    assert found
    assert found == (fault.how or found)
    assert found != FaultKind.UNKNOWN.value


def attend() -> Problem:
    """bfloat16 over 256 places; the second factor of the second product is rounded to bfloat16 too."""
    random = np.random.default_rng(4)
    q, k, v = (random.normal(0, 1, (256, 64)).astype(ml_dtypes.bfloat16) for _ in range(3))
    score = q.astype(float) @ k.astype(float).T / 8
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    exact = weight / weight.sum(axis=1, keepdims=True) @ v.astype(float)

    def is_right(got: Array) -> bool:
        return bool(np.linalg.norm(got - exact) <= 4e-3 * np.linalg.norm(exact))

    return Problem((q, k, v, np.zeros((256, 64), ml_dtypes.bfloat16)), (), (2, 1, 1), is_right)


@pytest.mark.slow
def test_rows_that_triton_3_9_misplaces_on_sm_90_are_found(tmp_path: Path) -> None:
    """With specialised warps the second consumer's rows are offset twice in a store by pointer: the last program's
    lie beyond the output. By a tensor descriptor the same attention is right."""
    codes = compile_kernels(tmp_path, "attend_by_pointer", "attend_by_tiles")
    code = codes["attend_by_tiles", 90]
    assert find_wrong(attend(), 90, code, code["text"]) == ""
    code = codes["attend_by_pointer", 90]
    for schedule in SCHEDULES:
        with pytest.raises(Fault) as raised:
            execute(attend(), 90, code, code["text"], schedule)
        assert raised.value.kind is FaultKind.OUT_OF_BOUNDS
        assert "st.global" in raised.value.instruction
