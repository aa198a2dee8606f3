"""Integer arithmetic against Python's exact integers. PTX ISA 9.0, section 9.7.1."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.emulators.ptx.snippets import execute

KINDS: dict[str, Any] = {
    "u16": np.uint16,
    "s16": np.int16,
    "u32": np.uint32,
    "s32": np.int32,
    "u64": np.uint64,
    "s64": np.int64,
}


def edges(kind: str) -> list[int]:
    limits = np.iinfo(KINDS[kind])
    middle = 0x5A5A5A5A5A5A5A5A & int(limits.max)
    values = {0, 1, 2, 3, 7, limits.max, limits.max - 1, limits.min, limits.min + 1, middle}
    return sorted(values | ({-1, -2, -7} if limits.min else set()))


def wrap(value: int, kind: str) -> int:
    bits = np.iinfo(KINDS[kind]).bits
    value &= (1 << bits) - 1
    return value - (1 << bits) if kind[0] == "s" and value >> (bits - 1) else value


def pairs(kind: str) -> tuple[list[int], list[int]]:
    every = [(a, b) for a in edges(kind) for b in edges(kind)]
    return [a for a, _ in every], [b for _, b in every]


def towards_zero(a: int, b: int) -> int:
    return abs(a) // abs(b) * (-1 if (a < 0) != (b < 0) else 1)


BINARY: dict[str, Callable[[int, int, int], int]] = {
    "add": lambda a, b, bits: a + b,
    "sub": lambda a, b, bits: a - b,
    "mul.lo": lambda a, b, bits: a * b,
    "mul.hi": lambda a, b, bits: (a * b) >> bits,
    "min": lambda a, b, bits: min(a, b),
    "max": lambda a, b, bits: max(a, b),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", BINARY)
def test_wraps_the_exact_result(operation: str, kind: str) -> None:
    first, second = pairs(kind)
    dtype = KINDS[kind]
    got = execute(
        f"{operation}.{kind} %d, %a, %b;", {"a": np.array(first, dtype), "b": np.array(second, dtype)}, {"d": dtype}
    )
    bits = np.iinfo(dtype).bits
    wanted = [wrap(BINARY[operation](a, b, bits), kind) for a, b in zip(first, second, strict=True)]
    assert got["d"].tolist() == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_divides_towards_zero(kind: str) -> None:
    values = [(a, b) for a, b in zip(*pairs(kind), strict=True) if b and (a, b) != (np.iinfo(KINDS[kind]).min, -1)]
    first, second = [a for a, _ in values], [b for _, b in values]
    dtype = KINDS[kind]
    got = execute(
        f"div.{kind} %q, %a, %b; rem.{kind} %r, %a, %b;",
        {"a": np.array(first, dtype), "b": np.array(second, dtype)},
        {"q": dtype, "r": dtype},
    )
    assert got["q"].tolist() == [towards_zero(a, b) for a, b in values]
    assert got["r"].tolist() == [a - b * towards_zero(a, b) for a, b in values]


@pytest.mark.parametrize(("kind", "wide"), [("u16", "u32"), ("s16", "s32"), ("u32", "u64"), ("s32", "s64")])
def test_multiplies_wide(kind: str, wide: str) -> None:
    first, second = pairs(kind)
    third = [wrap(a * 77 + b, wide) for a, b in zip(first, second, strict=True)]
    inputs = {"a": np.array(first, KINDS[kind]), "b": np.array(second, KINDS[kind]), "c": np.array(third, KINDS[wide])}
    got = execute(
        f"mul.wide.{kind} %d, %a, %b; mad.wide.{kind} %e, %a, %b, %c;", inputs, {"d": KINDS[wide], "e": KINDS[wide]}
    )
    assert got["d"].tolist() == [a * b for a, b in zip(first, second, strict=True)]
    assert got["e"].tolist() == [wrap(a * b + c, wide) for a, b, c in zip(first, second, third, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_multiplies_and_adds(kind: str) -> None:
    first, second = pairs(kind)
    third = list(reversed(first))
    dtype, bits = KINDS[kind], np.iinfo(KINDS[kind]).bits
    inputs = {name: np.array(row, dtype) for name, row in (("a", first), ("b", second), ("c", third))}
    got = execute(
        f"mad.lo.{kind} %d, %a, %b, %c; mad.hi.{kind} %e, %a, %b, %c; sad.{kind} %f, %a, %b, %c;",
        inputs,
        {"d": dtype, "e": dtype, "f": dtype},
    )
    rows = list(zip(first, second, third, strict=True))
    assert got["d"].tolist() == [wrap(a * b + c, kind) for a, b, c in rows]
    assert got["e"].tolist() == [wrap((a * b >> bits) + c, kind) for a, b, c in rows]
    assert got["f"].tolist() == [wrap(abs(a - b) + c, kind) for a, b, c in rows]


@pytest.mark.parametrize("kind", ["s16", "s32", "s64"])
def test_signs(kind: str) -> None:
    values = edges(kind)
    got = execute(
        f"neg.{kind} %n, %a; abs.{kind} %m, %a;",
        {"a": np.array(values, KINDS[kind])},
        {"n": KINDS[kind], "m": KINDS[kind]},
    )
    assert got["n"].tolist() == [wrap(-value, kind) for value in values]
    assert got["m"].tolist() == [wrap(abs(value), kind) for value in values]


@pytest.mark.parametrize("kind", ["u32", "s32"])
def test_multiplies_24_bits(kind: str) -> None:
    first, second = pairs(kind)

    def low(value: int) -> int:
        value &= 0xFFFFFF
        return value - (1 << 24) if kind == "s32" and value >> 23 else value

    got = execute(
        f"mul24.lo.{kind} %d, %a, %b; mul24.hi.{kind} %e, %a, %b;",
        {"a": np.array(first, KINDS[kind]), "b": np.array(second, KINDS[kind])},
        {"d": KINDS[kind], "e": KINDS[kind]},
    )
    products = [low(a) * low(b) for a, b in zip(first, second, strict=True)]
    assert got["d"].tolist() == [wrap(product, kind) for product in products]
    assert got["e"].tolist() == [wrap(product >> 16, kind) for product in products]


def test_saturates() -> None:
    first, second = pairs("s32")
    got = execute(
        "add.sat.s32 %d, %a, %b; sub.sat.s32 %e, %a, %b;",
        {"a": np.array(first, np.int32), "b": np.array(second, np.int32)},
        {"d": np.int32, "e": np.int32},
    )
    rows = list(zip(first, second, strict=True))
    assert got["d"].tolist() == [max(-(2**31), min(2**31 - 1, a + b)) for a, b in rows]
    assert got["e"].tolist() == [max(-(2**31), min(2**31 - 1, a - b)) for a, b in rows]


@pytest.mark.parametrize("kind", ["u16x2", "s16x2"])
def test_packed_halves_do_not_carry(kind: str) -> None:
    element = np.uint16 if kind[0] == "u" else np.int16
    first = np.array([0xFFFF8000, 0x00018000, 0x7FFF0001, 0xFFFFFFFF], np.uint32)
    second = np.array([0x00018000, 0xFFFF0001, 0x00017FFF, 0x00010001], np.uint32)
    got = execute(
        f"add.{kind} %d, %a, %b; max.{kind} %e, %a, %b;", {"a": first, "b": second}, {"d": np.uint32, "e": np.uint32}
    )

    def halves(value: Any) -> list[int]:
        return [int(half) for half in np.array([value], np.uint32).view(element)]

    for a, b, d, e in zip(first, second, got["d"], got["e"], strict=True):
        sums = [(x + y) & 0xFFFF for x, y in zip(halves(a), halves(b), strict=True)]
        assert int(d) == sums[0] | sums[1] << 16
        assert halves(e) == [max(x, y) for x, y in zip(halves(a), halves(b), strict=True)]
