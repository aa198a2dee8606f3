"""What both emulators' planted faults share: problems, how a text is changed, and how it is found wrong."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from porting.emulators import Buffer, Fault, Schedule

Array = npt.NDArray[Any]
ADDRESS = 0x7F5500000000
SPACING = 1 << 20
SCHEDULES = (Schedule(), Schedule(reverse=True), Schedule(lazy=False))
POISON = 0xFF
"""In every byte of an output before it is written: a NaN."""
WRONG = "wrong results"


@dataclass(frozen=True)
class Problem:
    """Inputs of a kernel, and what it must compute of them."""

    arrays: tuple[Array, ...]
    """The last one is the output."""
    numbers: tuple[int, ...]
    grid: tuple[int, int, int]
    is_right: Callable[[Array], bool]

    def place(self, scratch: int = 0) -> tuple[Buffer, ...]:
        """Copies of the arrays, the output poisoned; behind them so many bytes of scratch memory, if any."""
        contents = [array.reshape(-1).view(np.uint8).copy() for array in self.arrays]
        contents[-1][:] = POISON
        contents += [np.zeros(scratch, np.uint8)] if scratch else []
        return tuple(
            Buffer(f"array {number}", ADDRESS + SPACING * number, content) for number, content in enumerate(contents)
        )

    def read(self, buffers: tuple[Buffer, ...]) -> Array:
        """The output, out of what `place` made."""
        output = self.arrays[-1]
        written: Array = buffers[len(self.arrays) - 1].content.view(output.dtype).reshape(output.shape)
        return written


@dataclass(frozen=True)
class Planted:
    """One change of one line of a text."""

    name: str
    kernel: str
    processor: Any
    pattern: str
    replacement: str
    how: str = ""
    """It is found; empty for any way."""
    occurrence: int = 0


def soften(row: int) -> Problem:
    """Three rows' softmax."""
    x = np.random.default_rng(1).normal(0, 3, (3, row)).astype(np.float32)
    raised = np.exp(x.astype(float) - x.max(axis=1, keepdims=True))
    exact = raised / raised.sum(axis=1, keepdims=True)
    arrays = (x, np.zeros_like(x))
    return Problem(arrays, (row,), (3, 1, 1), lambda got: bool(np.allclose(got, exact, rtol=3e-6, atol=0)))


def multiply(rows: int, depth: int, columns: int) -> Problem:
    """float16, the sum rounded once: within half a unit of the last place."""
    random = np.random.default_rng(0)
    a = random.normal(0, 1, (rows, depth)).astype(np.float16)
    b = random.normal(0, 1, (depth, columns)).astype(np.float16)
    return Problem((a, b, np.zeros((rows, columns), np.float16)), (columns,), (2, 1, 1), rounded_once(a, b))


def rounded_once(a: Array, b: Array) -> Callable[[Array], bool]:
    """Whether what was got is the product of float16, rounded once to float16."""
    exact = a.astype(float) @ b.astype(float)
    unit = np.spacing(np.abs(exact).astype(np.float16)).astype(float)
    slack = 1e-6 * (np.abs(a.astype(float)) @ np.abs(b.astype(float)))
    return lambda got: bool((np.abs(got - exact) <= 0.505 * unit + slack).all())


def multiply_scaled(side: int) -> Problem:
    """side x 256 times 256 x side in E4M3 with scales of 32 elements, the sum in float32."""
    random = np.random.default_rng(2)
    values = [random.normal(0, 1, (side, 256)).astype(ml_dtypes.float8_e4m3fn) for _ in range(2)]
    scales = [random.integers(120, 134, (side, 8)).astype(np.uint8) for _ in range(2)]
    scaled = [
        value.astype(float) * np.repeat(np.exp2(scale.astype(float) - 127), 32, axis=1)
        for value, scale in zip(values, scales, strict=True)
    ]
    exact, size = scaled[0] @ scaled[1].T, np.abs(scaled[0]) @ np.abs(scaled[1]).T
    arrays = (values[0], scales[0], values[1], scales[1], np.zeros((side, side), np.float32))
    return Problem(arrays, (), (1, 1, 1), lambda got: bool((np.abs(got - exact) <= 1e-6 * size).all()))


def judge(problem: Problem, execute: Callable[[Schedule], Array]) -> str:
    """How what is executed is found wrong, by a fault, by its results or by its bits; empty where it is not."""
    outputs: list[Array] = []
    for schedule in SCHEDULES:
        try:
            outputs.append(execute(schedule))
        except Fault as fault:
            return str(fault.kind.value)
        if not problem.is_right(outputs[-1].astype(float)):
            return WRONG
        if outputs[-1].tobytes() != outputs[0].tobytes():
            return "bits of the schedule"
    return ""


def plant(text: str, fault: Planted, comment: str) -> str:
    """The text with one occurrence of the pattern replaced; comments, which begin so, are not looked at."""
    lines = [line.split(comment)[0].rstrip() for line in text.splitlines()]
    places = [number for number, line in enumerate(lines) if re.search(fault.pattern, line)]
    assert len(places) > fault.occurrence, f"{fault.pattern} occurs {len(places)} times"
    place = places[fault.occurrence]
    changed = re.sub(fault.pattern, fault.replacement, lines[place], count=1)
    assert changed != lines[place]
    return "\n".join([*text.splitlines()[:place], changed, *text.splitlines()[place + 1 :]]) + "\n"
