"""Moves, choices and comparisons. PTX ISA 9.0, sections 9.7.7 and 9.7.9.3."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.emulators.ptx.snippets import execute

NAN = float("nan")
ORDERED: dict[str, Callable[[float, float], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


@pytest.mark.parametrize("name", ORDERED)
def test_compares_floats(name: str) -> None:
    """Ordered comparisons are false if an operand is NaN, those with u are true."""
    values = [0.0, -0.0, 1.0, -1.0, math.inf, NAN]
    rows = [(a, b) for a in values for b in values]
    inputs = {"a": np.array([a for a, _ in rows], np.float32), "b": np.array([b for _, b in rows], np.float32)}
    got = execute(f"setp.{name}.f32 %p, %a, %b; setp.{name}u.f32 %q, %a, %b;", inputs, {"p": np.bool_, "q": np.bool_})
    unordered = [math.isnan(a) or math.isnan(b) for a, b in rows]
    wanted = [ORDERED[name](a, b) for a, b in rows]
    assert got["p"].tolist() == [w and not u for w, u in zip(wanted, unordered, strict=True)]
    assert got["q"].tolist() == [w or u for w, u in zip(wanted, unordered, strict=True)]


@pytest.mark.parametrize(
    ("kind", "dtype"), [("s32", np.int32), ("u32", np.uint32), ("s64", np.int64), ("u16", np.uint16)]
)
@pytest.mark.parametrize("name", ORDERED)
def test_compares_integers(name: str, kind: str, dtype: Any) -> None:
    limits = np.iinfo(dtype)
    values = [0, 1, int(limits.max), int(limits.min)]
    rows = [(a, b) for a in values for b in values]
    inputs = {"a": np.array([a for a, _ in rows], dtype), "b": np.array([b for _, b in rows], dtype)}
    got = execute(f"setp.{name}.{kind} %p, %a, %b;", inputs, {"p": np.bool_})
    assert got["p"].tolist() == [ORDERED[name](a, b) for a, b in rows]


@pytest.mark.parametrize(("name", "same"), [("lo", "lt"), ("ls", "le"), ("hi", "gt"), ("hs", "ge")])
def test_compares_unsigned(name: str, same: str) -> None:
    values = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
    rows = [(a, b) for a in values for b in values]
    inputs = {"a": np.array([a for a, _ in rows], np.uint32), "b": np.array([b for _, b in rows], np.uint32)}
    got = execute(f"setp.{name}.u32 %p, %a, %b;", inputs, {"p": np.bool_})
    assert got["p"].tolist() == [ORDERED[same](a, b) for a, b in rows]


def test_joins_a_predicate_and_gives_the_contrary() -> None:
    """p = (a < b) and c; q = not (a < b) and c."""
    arrays = {"a": np.array([1, 1, 2, 2], np.int32), "b": np.full(4, 2, np.int32), "c": np.array([0, 1, 0, 1], bool)}
    got = execute("setp.lt.and.s32 %p|%q, %a, %b, %c;", arrays, {"p": np.bool_, "q": np.bool_})
    assert got["p"].tolist() == [False, True, False, False]
    assert got["q"].tolist() == [False, False, False, True]
    got = execute("setp.lt.or.s32 %p, %a, %b, !%c;", arrays, {"p": np.bool_})
    assert got["p"].tolist() == [True, True, True, False]


def test_number_and_nan() -> None:
    inputs = {"a": np.array([1.0, NAN, 1.0], np.float32), "b": np.array([1.0, 1.0, NAN], np.float32)}
    got = execute("setp.num.f32 %p, %a, %b; setp.nan.f32 %q, %a, %b;", inputs, {"p": np.bool_, "q": np.bool_})
    assert got["p"].tolist() == [True, False, False]
    assert got["q"].tolist() == [False, True, True]


def test_flushes_before_comparing() -> None:
    inputs = {"a": np.array([2.0**-140], np.float32), "b": np.zeros(1, np.float32)}
    got = execute("setp.gt.ftz.f32 %p, %a, %b; setp.gt.f32 %q, %a, %b;", inputs, {"p": np.bool_, "q": np.bool_})
    assert (got["p"].tolist(), got["q"].tolist()) == ([False], [True])


def test_selects() -> None:
    inputs = {
        "a": np.arange(4, dtype=np.uint32),
        "b": np.arange(4, 8, dtype=np.uint32),
        "p": np.array([1, 0, 1, 0], bool),
    }
    got = execute("selp.b32 %d, %a, %b, %p; selp.f32 %e, %a, 0f3F800000, %p;", inputs, {"d": np.uint32, "e": np.uint32})
    assert got["d"].tolist() == [0, 5, 2, 7]
    assert got["e"].tolist() == [0, 0x3F800000, 2, 0x3F800000]
    got = execute("slct.b32.s32 %d, %a, %b, %c;", {**inputs, "c": np.array([0, -1, 5, -5], np.int32)}, {"d": np.uint32})
    assert got["d"].tolist() == [0, 5, 2, 7]


def test_sets_all_bits() -> None:
    inputs = {"a": np.array([1, 2], np.int32), "b": np.array([2, 1], np.int32)}
    got = execute("set.lt.u32.s32 %d, %a, %b; set.lt.s32.s32 %e, %a, %b;", inputs, {"d": np.uint32, "e": np.int32})
    assert got["d"].tolist() == [0xFFFFFFFF, 0]
    assert got["e"].tolist() == [-1, 0]


def test_packs_and_unpacks_low_element_first() -> None:
    inputs: dict[str, Any] = {"a": np.array([0x1111222233334444], np.uint64), "b": np.array([0xAAAABBBB], np.uint32)}
    got = execute(
        "mov.b64 {%l, %h}, %a; mov.b32 {%x, %y}, %b; mov.b64 %d, {%b, %l}; mov.b32 %e, {%y, %x};"
        "mov.b64 {_, %g}, %a; mov.b64 {%p, %q, %r, %s}, %a;",
        inputs,
        dict.fromkeys("lhge", np.uint32) | dict.fromkeys("xypqrs", np.uint16) | {"d": np.uint64},
    )
    assert {name: hex(int(row[0])) for name, row in got.items()} == {
        "l": "0x33334444", "h": "0x11112222", "g": "0x11112222", "e": "0xbbbbaaaa", "x": "0xbbbb", "y": "0xaaaa",
        "p": "0x4444", "q": "0x3333", "r": "0x2222", "s": "0x1111", "d": "0x33334444aaaabbbb",
    }  # fmt: skip


def test_unpacks_into_its_own_source() -> None:
    got = execute(
        "{ .reg .b64 w; mov.b64 w, {%a, %b}; mov.b64 {%b, %a}, w; } mov.b32 %d, %a; mov.b32 %e, %b;",
        {"a": np.array([1], np.uint32), "b": np.array([2], np.uint32)},
        {"d": np.uint32, "e": np.uint32},
    )
    assert (got["d"].tolist(), got["e"].tolist()) == ([2], [1])


def test_literals() -> None:
    got = execute(
        "mov.b32 %a, -1; mov.b32 %b, 0f3F800000; mov.b64 %c, 0d3FF0000000000000; mov.u16 %d, 0xFFFF; mov.b32 %e, 0x10U;"
        "mov.pred %p, -1; mov.pred %q, 0; mov.b32 %f, 010;",
        {"z": np.zeros(1, np.uint32)},
        {**dict.fromkeys("abef", np.uint32), "c": np.float64, "d": np.uint16, "p": np.bool_, "q": np.bool_},
    )
    assert [got[name].tolist() for name in "abcdepqf"] == [
        [0xFFFFFFFF], [0x3F800000], [1.0], [0xFFFF], [16], [True], [False], [8],
    ]  # fmt: skip


def test_special_registers() -> None:
    got = execute(
        "mov.u32 %a, %tid.x; mov.u32 %b, %laneid; mov.u32 %c, %warpid; mov.u32 %d, %ntid.x; mov.u32 %e, %ctaid.y;"
        "mov.u32 %f, %nctaid.x; mov.u32 %g, %lanemask_lt; cvt.u64.u32 %h, %tid.x;",
        {"z": np.zeros(64, np.uint32)},
        {**dict.fromkeys("abcdefg", np.uint32), "h": np.uint64},
    )
    thread = list(range(64))
    assert got["a"].tolist() == thread == got["h"].tolist()
    assert got["b"].tolist() == [one % 32 for one in thread]
    assert got["c"].tolist() == [one // 32 for one in thread]
    assert set(got["d"].tolist()) == {64}
    assert set(got["e"].tolist()) == {0}
    assert set(got["f"].tolist()) == {1}
    assert got["g"].tolist() == [(1 << (one % 32)) - 1 for one in thread]
