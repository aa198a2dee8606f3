"""Miscompilations, planted one at a time into what Triton compiled: each is found, and the right text never is.

A text is found wrong by a fault, by results that differ from the exact ones by more than rounding, or by bits that
depend on the schedule.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from porting.emulators import Buffer, Fault, FaultKind, Launch, Schedule
from porting.emulators.ptx import run
from tests.emulators.ptx.conftest import Compiled, compile_kernels

Array = npt.NDArray[Any]
ADDRESS = 0x7F5500000000
SPACING = 1 << 20
SCHEDULES = (Schedule(), Schedule(reverse=True), Schedule(lazy=False))
POISON = 0xFF
"""In every byte of an output before it is written: a NaN."""
COLUMNS, ROW, DEPTH = 88, 300, 256
"""The first two are no multiples of a tile."""


@dataclass(frozen=True)
class Problem:
    """Inputs of a kernel, and what it must compute of them."""

    arrays: tuple[Array, ...]
    """The last one is the output."""
    numbers: tuple[int, ...]
    grid: tuple[int, int, int]
    is_right: Callable[[Array], bool]


@cache
def soften() -> Problem:
    x = np.random.default_rng(1).normal(0, 3, (3, ROW)).astype(np.float32)
    raised = np.exp(x.astype(float) - x.max(axis=1, keepdims=True))
    exact = raised / raised.sum(axis=1, keepdims=True)
    return Problem(
        (x, np.zeros_like(x)), (ROW,), (3, 1, 1), lambda got: bool(np.allclose(got, exact, rtol=3e-6, atol=0))
    )


@cache
def multiply() -> Problem:
    """float16, the sum rounded once: within half a unit of the last place."""
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, (64, DEPTH)).astype(np.float16), random.normal(0, 1, (DEPTH, COLUMNS)).astype(np.float16)
    return Problem((a, b, np.zeros((64, COLUMNS), np.float16)), (COLUMNS,), (2, 1, 1), rounded_once(a, b))


@cache
def multiply_tiles() -> Problem:
    random = np.random.default_rng(3)
    a, b = (random.normal(0, 1, (64, DEPTH)).astype(np.float16) for _ in range(2))
    return Problem((a, b, np.zeros((64, 64), np.float16)), (), (1, 1, 1), rounded_once(a, b.T))


def rounded_once(a: Array, b: Array) -> Callable[[Array], bool]:
    """Whether what was got is the product of float16, rounded once to float16."""
    exact = a.astype(float) @ b.astype(float)
    unit = np.spacing(np.abs(exact).astype(np.float16)).astype(float)
    slack = 1e-6 * (np.abs(a.astype(float)) @ np.abs(b.astype(float)))
    return lambda got: bool((np.abs(got - exact) <= 0.505 * unit + slack).all())


@cache
def multiply_scaled() -> Problem:
    random = np.random.default_rng(2)
    values = [random.normal(0, 1, (128, 256)).astype(ml_dtypes.float8_e4m3fn) for _ in range(2)]
    scales = [random.integers(120, 134, (128, 8)).astype(np.uint8) for _ in range(2)]
    scaled = [
        value.astype(float) * np.repeat(np.exp2(scale.astype(float) - 127), 32, axis=1)
        for value, scale in zip(values, scales, strict=True)
    ]
    exact, size = scaled[0] @ scaled[1].T, np.abs(scaled[0]) @ np.abs(scaled[1]).T
    arrays = (values[0], scales[0], values[1], scales[1], np.zeros((128, 128), np.float32))
    return Problem(arrays, (), (1, 1, 1), lambda got: bool((np.abs(got - exact) <= 1e-6 * size).all()))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "soften": soften,
    "multiply": multiply,
    "multiply_tiles": multiply_tiles,
    "multiply_scaled": multiply_scaled,
}


def launch_for(problem: Problem, processor: int, code: dict[str, Any], text: str) -> Launch:
    """A launch of a text over copies of the problem's arrays; the output is the buffer before the last."""
    contents = [array.reshape(-1).view(np.uint8).copy() for array in problem.arrays]
    contents[-1][:] = POISON
    programs = int(np.prod(problem.grid))
    contents.append(np.zeros(max(code["scratch"] * programs, 1), np.uint8))
    buffers = tuple(
        Buffer(f"array {number}", ADDRESS + SPACING * number, content) for number, content in enumerate(contents)
    )
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
    output = problem.arrays[-1]
    return launch.buffers[-2].content.view(output.dtype).reshape(output.shape)


def judge(problem: Problem, processor: int, code: dict[str, Any], text: str) -> str:
    """How a text is found wrong; empty where it is not."""
    outputs: list[Array] = []
    for schedule in SCHEDULES:
        try:
            outputs.append(execute(problem, processor, code, text, schedule))
        except Fault as fault:
            return str(fault.kind.value)
        if not problem.is_right(outputs[-1].astype(float)):
            return WRONG
        if outputs[-1].tobytes() != outputs[0].tobytes():
            return "bits of the schedule"
    return ""


RIGHT = [
    ("soften", 80),
    *(("multiply", processor) for processor in (80, 90, 100, 120)),
    *(("multiply_tiles", processor) for processor in (90, 100)),
    *(("multiply_scaled", processor) for processor in (100, 107, 120)),
]


@pytest.mark.parametrize(("kernel", "processor"), RIGHT)
def test_what_triton_compiled_is_right(compiled: Compiled, kernel: str, processor: int) -> None:
    code = compiled[kernel, processor]
    assert judge(PROBLEMS[kernel](), processor, code, code["text"]) == ""


WRONG = "wrong results"
PENDING, RACE, DEADLOCK = FaultKind.PENDING.value, FaultKind.RACE.value, FaultKind.DEADLOCK.value
BEYOND, MISUSE = FaultKind.OUT_OF_BOUNDS.value, FaultKind.MISUSE.value
SWIZZLED_128 = 0x4000_0040_0000_0000
"""Triton's descriptors for wgmma of fp16 in rows of 128 bytes: swizzle 1 at bit 62, stride 1024 / 16 at bit 32."""
EXCHANGED, SWIZZLED_64 = 0x4000_0000_0040_0000, 0x8000_0040_0000_0000


@dataclass(frozen=True)
class Planted:
    """One miscompilation."""

    name: str
    kernel: str
    processor: int
    pattern: str
    replacement: str
    how: str = ""
    """How it is found; empty where the inputs decide what is seen first."""
    occurrence: int = 0


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
    found = judge(PROBLEMS[fault.kernel](), fault.processor, code, plant(code["text"], fault))
    assert found
    assert found == (fault.how or found)
    assert found != FaultKind.UNKNOWN.value


def plant(text: str, fault: Planted) -> str:
    """The text with one occurrence of the pattern replaced."""
    lines = [line.split("//")[0].rstrip() for line in text.splitlines()]
    places = [number for number, line in enumerate(lines) if re.search(fault.pattern, line)]
    assert len(places) > fault.occurrence, f"{fault.pattern} occurs {len(places)} times"
    place = places[fault.occurrence]
    changed = re.sub(fault.pattern, fault.replacement, lines[place], count=1)
    assert changed != lines[place]
    return "\n".join([*text.splitlines()[:place], changed, *text.splitlines()[place + 1 :]]) + "\n"


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
    assert judge(attend(), 90, code, code["text"]) == ""
    code = codes["attend_by_pointer", 90]
    for schedule in SCHEDULES:
        with pytest.raises(Fault) as raised:
            execute(attend(), 90, code, code["text"], schedule)
        assert raised.value.kind is FaultKind.OUT_OF_BOUNDS
        assert "st.global" in raised.value.instruction
