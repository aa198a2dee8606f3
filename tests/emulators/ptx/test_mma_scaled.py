"""Block-scaled mma.sync: where elements and scales lie, by PTX ISA 9.0's formulas (9.7.14.5.13, 9.7.14.3).

Scales are random powers of two or E4M3 numbers, else the order of K would not show.
"""

import re
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from porting.emulators import Fault, FaultKind
from tests.emulators.ptx.snippets import execute

Array = npt.NDArray[Any]
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
MNEMONIC = "mma.sync.aligned.m16n8k{k}.row.col.kind::{kind}.block_scale.scale_vec::{vector}.f32.{a}.{b}.f32.{scale}"


def value(code: int, kind: str) -> float:
    if kind == "e2m1":
        return E2M1[code & 7] * (-1 if code & 8 else 1)
    types: dict[str, Any] = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}
    return float(np.array([code], np.uint8).view(types[kind])[0])


def scale_value(code: int, kind: str) -> float:
    return 2.0 ** (code - 127) if kind == "ue8m0" else value(code & 0x7F, "e4m3")


def packed(elements: list[int], bits: int) -> int:
    return sum(element << (bits * place) for place, element in enumerate(elements))


def fragments(a: Array, b: Array, bits: int) -> tuple[Array, Array]:
    """Registers (4, 32) of A (16, K) and (2, 32) of B (K, 8); a register holds 32 / bits consecutive elements of K."""
    per = 32 // bits
    left, right = np.zeros((4, 32), np.uint32), np.zeros((2, 32), np.uint32)
    for lane in range(32):
        group, inside = lane // 4, lane % 4
        for register in range(4):
            row = group + (8 if register in (1, 3) else 0)
            first = inside * per + (4 * per if register >= 2 else 0)
            left[register, lane] = packed(a[row, first : first + per].tolist(), bits)
        for register in range(2):
            first = inside * per + 4 * per * register
            right[register, lane] = packed(b[first : first + per, group].tolist(), bits)
    return left, right


def scales(codes: Array, threads: int, byte: int, thread: int) -> Array:
    """A register of 32 lanes: the codes (rows, blocks) at `byte` on; whatever does not count is other bits."""
    register = np.random.default_rng(5).integers(0, 256, (32, 4)).astype(np.uint8)
    for row, few in enumerate(codes):
        lane = 4 * (row % 8) + (2 * thread + row // 8 if threads == 2 else thread)
        register[lane, byte : byte + len(few)] = few
    return register.view(np.uint32).ravel()


@pytest.mark.parametrize(
    ("kind", "vector", "elements", "k", "scale", "byte", "pair", "thread"),
    [
        ("mxf8f6f4", "1X", "e4m3", 32, "ue8m0", 0, 0, 0),
        ("mxf8f6f4", "1X", "e5m2", 32, "ue8m0", 3, 1, 2),
        ("mxf4", "2X", "e2m1", 64, "ue8m0", 2, 1, 3),
        ("mxf4nvf4", "2X", "e2m1", 64, "ue8m0", 0, 0, 1),
        ("mxf4nvf4", "4X", "e2m1", 64, "ue4m3", 0, 1, 0),
    ],
)
def test_each_block_has_its_scale(
    kind: str, vector: str, elements: str, k: int, scale: str, byte: int, pair: int, thread: int
) -> None:
    generator = np.random.default_rng(k + byte)
    bits, blocks = (4, int(vector[0])) if elements == "e2m1" else (8, 1)
    finite = [code for code in range(1 << bits) if abs(value(code, elements)) <= 16]
    a, b = generator.choice(finite, (16, k)), generator.choice(finite, (k, 8))
    low, high = (122, 132) if scale == "ue8m0" else (0x30, 0x48)
    codes_a, codes_b = generator.integers(low, high, (16, blocks)), generator.integers(low, high, (8, blocks))
    left, right = fragments(a, b, bits)
    inputs = {
        **{f"a{i}": row for i, row in enumerate(left)},
        **{f"b{i}": row for i, row in enumerate(right)},
        **{f"c{i}": np.full(32, 3.0, np.float32) for i in range(4)},
        "sa": scales(codes_a, 2, byte, pair),
        "sb": scales(codes_b, 1, byte, thread),
    }
    mnemonic = MNEMONIC.format(k=k, kind=kind, vector=vector, a=elements, b=elements, scale=scale)
    got = execute(
        f"{mnemonic} {{%d0, %d1, %d2, %d3}}, {{%a0, %a1, %a2, %a3}}, {{%b0, %b1}}, {{%c0, %c1, %c2, %c3}},"
        f"%sa, {{{byte}, {pair}}}, %sb, {{{byte}, {thread}}};",
        inputs,
        {f"d{i}": np.float32 for i in range(4)},
    )
    size = k // blocks
    for lane in range(32):
        for i in range(4):
            row, column = lane // 4 + (8 if i >= 2 else 0), lane % 4 * 2 + i % 2
            total = 3.0 + sum(
                value(int(a[row, at]), elements)
                * scale_value(int(codes_a[row, at // size]), scale)
                * value(int(b[at, column]), elements)
                * scale_value(int(codes_b[column, at // size]), scale)
                for at in range(k)
            )
            assert got[f"d{i}"][lane] == np.float32(total)


@pytest.mark.parametrize(
    ("chosen", "kind"),
    [
        ("{1, 0}", FaultKind.MISUSE),
        ("{0, 2}", FaultKind.MISUSE),
        ("{0}", FaultKind.UNKNOWN),
        ("%sa", FaultKind.UNKNOWN),
    ],
)
def test_bytes_and_threads_that_do_not_exist(chosen: str, kind: FaultKind) -> None:
    mnemonic = MNEMONIC.format(k=64, kind="mxf4", vector="2X", a="e2m1", b="e2m1", scale="ue8m0")
    registers = "{%sa, %sa, %sa, %sa}"
    with pytest.raises(Fault) as raised:
        execute(
            f"{mnemonic} {{%d0, %d1, %d2, %d3}}, {registers}, {{%sa, %sa}}, {registers}, %sa, {chosen}, %sa, {{0, 0}};",
            {"sa": np.zeros(32, np.uint32)},
            {f"d{i}": np.float32 for i in range(4)},
        )
    assert raised.value.kind is kind
    assert re.search("scales", raised.value.detail)
