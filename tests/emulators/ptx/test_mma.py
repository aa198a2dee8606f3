"""mma.sync: which element of A, B, C and D each thread's registers hold, by PTX ISA 9.0's formulas (9.7.14.5.7 on).

The ISA gives row and column of element i of a thread from groupID = lane / 4 and threadID_in_group = lane % 4; the
emulator's tables go the other way.
"""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from tests.emulators.ptx.snippets import execute

Place = Callable[[int, int], tuple[int, int]]
Array = npt.NDArray[Any]
KINDS: dict[str, Any] = {
    "f16": np.float16, "bf16": ml_dtypes.bfloat16, "tf32": np.float32, "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2, "s8": np.int8, "u8": np.uint8, "f32": np.float32, "s32": np.int32,
}  # fmt: skip


def place_a(kind: str, k: int) -> Place:
    """(lane, i) -> (row, column) of A."""
    if kind in ("f16", "bf16"):  # m16n8k8 and m16n8k16
        return lambda lane, i: (
            lane // 4 + (0 if i in (0, 1, 4, 5) else 8),
            lane % 4 * 2 + (i & 1) + (8 if i >= 4 else 0),
        )
    if kind == "tf32":
        return lambda lane, i: (lane // 4 + (8 if i in (1, 3) else 0), lane % 4 + (4 if i >= 2 else 0))
    return lambda lane, i: (
        lane // 4 + (0 if i < 4 or 8 <= i < 12 else 8),
        lane % 4 * 4 + (i & 3) + (16 if i >= 8 else 0),
    )


def place_b(kind: str, k: int) -> Place:
    """(lane, i) -> (row, column) of B."""
    if kind in ("f16", "bf16"):
        return lambda lane, i: (lane % 4 * 2 + (i & 1) + (8 if i >= 2 else 0), lane // 4)
    if kind == "tf32":
        return lambda lane, i: (lane % 4 + (4 if i >= 1 else 0), lane // 4)
    return lambda lane, i: (lane % 4 * 4 + (i & 3) + (16 if i >= 4 else 0), lane // 4)


def place_c(lane: int, i: int) -> tuple[int, int]:
    """(lane, i) -> (row, column) of C and D."""
    return lane // 4 + (8 if i >= 2 else 0), lane % 4 * 2 + (i & 1)


def spread(matrix: Array, place: Place, count: int) -> Array:
    """Registers of a warp: (registers, 32) uint32."""
    rows = np.array([[matrix[place(lane, i)] for i in range(count)] for lane in range(32)], matrix.dtype)
    return np.ascontiguousarray(rows.view(np.uint32).T)


def multiply(mnemonic: str, a: Array, b: Array, c: Array, kinds: tuple[str, str], k: int) -> Array:
    """D (16, 8) of two warps that compute the same with A and B of warp 1 twice those of warp 0."""
    kind, result = kinds
    registers = {
        "a": spread(a, place_a(kind, k), 16 * k // 32),
        "b": spread(b, place_b(kind, k), 8 * k // 32),
        "c": spread(c, place_c, 4),
    }
    inputs = {f"{name}{i}": row for name, rows in registers.items() for i, row in enumerate(rows)}
    lists = {name: ", ".join(f"%{name}{i}" for i in range(len(rows))) for name, rows in registers.items()}
    count = len(registers["c"])
    d = ", ".join(f"%d{i}" for i in range(count))
    got = execute(
        f"{mnemonic} {{{d}}}, {{{lists['a']}}}, {{{lists['b']}}}, {{{lists['c']}}};",
        inputs,
        {f"d{i}": np.uint32 for i in range(count)},
        threads=64,
    )
    rows = np.stack([got[f"d{i}"] for i in range(count)], axis=1)
    elements = np.ascontiguousarray(rows).view(KINDS[result]).reshape(len(rows), 4)
    out = np.zeros((16, 8), KINDS[result])
    for lane in range(32):
        for i in range(4):
            out[place_c(lane, i)] = elements[lane, i]
    return out


def factors(kind: str, k: int) -> tuple[Array, Array]:
    generator = np.random.default_rng(k)
    low = 0 if kind == "u8" else -4
    a, b = generator.integers(low, 5, (16, k)), generator.integers(low, 5, (k, 8))
    return a.astype(np.float32).astype(KINDS[kind]), b.astype(np.float32).astype(KINDS[kind])


@pytest.mark.parametrize(
    ("kind", "k", "result"),
    [
        ("f16", 8, "f32"), ("f16", 16, "f32"), ("f16", 8, "f16"), ("f16", 16, "f16"), ("bf16", 8, "f32"),
        ("bf16", 16, "f32"), ("tf32", 4, "f32"), ("tf32", 8, "f32"), ("e4m3", 32, "f32"), ("e4m3", 32, "f16"),
        ("e5m2", 16, "f32"), ("e5m2", 32, "f32"), ("s8", 16, "s32"), ("s8", 32, "s32"), ("u8", 32, "s32"),
    ],
)  # fmt: skip
def test_multiplies_small_whole_numbers_exactly(kind: str, k: int, result: str) -> None:
    a, b = factors(kind, k)
    c = np.arange(128).reshape(16, 8).astype(KINDS[result])
    got = multiply(f"mma.sync.aligned.m16n8k{k}.row.col.{result}.{kind}.{kind}.{result}", a, b, c, (kind, result), k)
    wanted = a.astype(np.float64) @ b.astype(np.float64) + c.astype(np.float64)
    assert got.astype(np.float64).tolist() == wanted.tolist()


def test_tf32_ignores_the_low_bits() -> None:
    a = np.full((16, 8), 0x3F801FFF, np.uint32).view(np.float32)  # 1 and 13 bits that do not count
    b, c = np.eye(8, dtype=np.float32), np.zeros((16, 8), np.float32)
    got = multiply("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", a, b, c, ("tf32", "f32"), 8)
    assert set(got.ravel().tolist()) == {1.0}


def test_integers_wrap_unless_they_saturate() -> None:
    a, b = np.full((16, 32), 127, np.int8), np.full((32, 8), 127, np.int8)
    c = np.full((16, 8), 2**31 - 1, np.int32)
    wrapped = multiply("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", a, b, c, ("s8", "s32"), 32)
    held = multiply("mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32", a, b, c, ("s8", "s32"), 32)
    assert set(wrapped.ravel().tolist()) == {(2**31 - 1 + 32 * 127 * 127) - 2**32}
    assert set(held.ravel().tolist()) == {2**31 - 1}


def test_the_sum_is_rounded_once() -> None:
    """2**24 + 1 + 1 in float32: 2**24 + 2 if summed before rounding, 2**24 if rounded after each."""
    a, b = np.zeros((16, 16), np.float16), np.zeros((16, 8), np.float16)
    a[:, :2], b[:2] = 1, 1
    c = np.full((16, 8), 2.0**24, np.float32)
    got = multiply("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", a, b, c, ("f16", "f32"), 16)
    assert set(got.ravel().tolist()) == {2.0**24 + 2}
