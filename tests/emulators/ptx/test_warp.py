"""What threads of a warp do together, thread by thread. PTX ISA 9.0, sections 9.7.9.6 and 9.7.13.5 to 9.7.13.11."""

from collections.abc import Callable

import numpy as np
import pytest

from porting.emulators import Fault, FaultKind
from tests.emulators.ptx.snippets import execute

VALUES = np.random.default_rng(0).integers(0, 2**32, 64, dtype=np.uint32)


def shuffled(values: list[int], mode: str, by: int, control: int) -> tuple[list[int], list[bool]]:
    """The ISA's pseudo-code, lane by lane."""
    out, inside = [], []
    segment, clamp, by = control >> 8 & 31, control & 31, by & 31
    for thread in range(len(values)):
        lane, warp = thread % 32, thread // 32 * 32
        top = (lane & segment) | (clamp & ~segment & 31)
        if mode == "up":
            source, holds = lane - by, lane - by >= top
        elif mode == "down":
            source, holds = lane + by, lane + by <= top
        elif mode == "bfly":
            source, holds = lane ^ by, lane ^ by <= top
        else:
            source = (lane & segment) | (by & ~segment & 31)
            holds = source <= top
        out.append(values[warp + (source if holds else lane)])
        inside.append(holds)
    return out, inside


@pytest.mark.parametrize("control", [0x1F, 0x181F, 0x1C03, 0x100F])
@pytest.mark.parametrize("by", [0, 1, 5, 16, 31])
@pytest.mark.parametrize("mode", ["up", "down", "bfly", "idx"])
def test_shuffles(mode: str, by: int, control: int) -> None:
    control = control & ~31 if mode == "up" else control
    inputs = {"a": VALUES, "n": np.full(64, by, np.uint32)}
    got = execute(
        f"shfl.sync.{mode}.b32 %d|%p, %a, {by}, {control}, -1; shfl.sync.{mode}.b32 %e, %a, %n, {control}, 0xffffffff;",
        inputs,
        {"d": np.uint32, "p": np.bool_, "e": np.uint32},
    )
    wanted, inside = shuffled(VALUES.tolist(), mode, by, control)
    assert got["d"].tolist() == wanted == got["e"].tolist()
    assert got["p"].tolist() == inside


def test_shuffle_into_its_own_source() -> None:
    got = execute("shfl.sync.bfly.b32 %a, %a, 1, 31, -1; mov.b32 %d, %a;", {"a": VALUES}, {"d": np.uint32})
    assert got["d"].tolist() == VALUES[np.arange(64) ^ 1].tolist()


HALF = "{{ .reg .pred low; .reg .b32 t; mov.u32 t, %laneid; setp.lt.u32 low, t, 16; @low {} }}"


def test_part_of_a_warp_shuffles_among_itself() -> None:
    got = execute(
        "mov.b32 %d, 7; " + HALF.format("shfl.sync.bfly.b32 %d, %a, 1, 31, 0xffff;"), {"a": VALUES}, {"d": np.uint32}
    )
    lane = np.arange(64)
    assert got["d"].tolist() == np.where(lane % 32 < 16, VALUES[lane ^ 1], 7).tolist()


@pytest.mark.parametrize(
    "line",
    [
        "shfl.sync.bfly.b32 %d, %a, 1, 31, -1;",  # names threads that are not here
        "shfl.sync.bfly.b32 %d, %a, 16, 31, 0xffff;",  # reads threads that are not here
        "redux.sync.max.u32 %d, %a, -1;",
        "match.any.sync.b32 %d, %a, -1;",
        "bar.sync 0;",
    ],
)
def test_absent_threads_are_a_fault(line: str) -> None:
    with pytest.raises(Fault) as raised:
        execute("mov.b32 %d, 7; " + HALF.format(line), {"a": VALUES}, {"d": np.uint32})
    assert raised.value.kind is FaultKind.DIVERGENT
    assert line.split()[0] in raised.value.instruction


def test_votes() -> None:
    holds = np.array([True] * 32 + [thread % 3 == 0 for thread in range(32)] + [False] * 32)
    got = execute(
        "vote.sync.all.pred %all, %p, -1; vote.sync.any.pred %any, %p, -1; vote.sync.uni.pred %uni, %p, -1;"
        "vote.sync.ballot.b32 %b, %p, -1; vote.sync.ballot.b32 %n, !%p, -1; activemask.b32 %m;",
        {"p": holds},
        {**dict.fromkeys(("all", "any", "uni"), np.bool_), **dict.fromkeys("bnm", np.uint32)},
    )
    third = sum(1 << lane for lane in range(0, 32, 3))
    assert got["all"][::32].tolist() == [True, False, False]
    assert got["any"][::32].tolist() == [True, True, False]
    assert got["uni"][::32].tolist() == [True, False, True]
    assert got["b"][::32].tolist() == [0xFFFFFFFF, third, 0]
    assert got["n"][::32].tolist() == [0, third ^ 0xFFFFFFFF, 0xFFFFFFFF]
    assert set(got["m"].tolist()) == {0xFFFFFFFF}


def test_matches() -> None:
    values = np.array([lane % 5 for lane in range(32)] + [9] * 32, np.uint32)
    got = execute(
        "match.any.sync.b32 %d, %a, -1; match.all.sync.b32 %e|%p, %a, -1;",
        {"a": values},
        {"d": np.uint32, "e": np.uint32, "p": np.bool_},
    )
    for thread, value in enumerate(values.tolist()):
        warp = values[thread // 32 * 32 :][:32].tolist()
        assert got["d"][thread] == sum(1 << lane for lane, other in enumerate(warp) if other == value)
    assert got["e"][::32].tolist() == [0, 0xFFFFFFFF]
    assert got["p"][::32].tolist() == [False, True]


@pytest.mark.parametrize(
    ("operation", "reduce"),
    [
        ("add.u32", lambda row: sum(row) & 0xFFFFFFFF),
        ("max.u32", max),
        ("min.u32", min),
        ("max.s32", lambda row: max(row, key=lambda x: x - (x >> 31 << 32))),
        ("and.b32", lambda row: int(np.bitwise_and.reduce(np.array(row, np.uint32)))),
        ("xor.b32", lambda row: int(np.bitwise_xor.reduce(np.array(row, np.uint32)))),
    ],
)
def test_reduces(operation: str, reduce: Callable[[list[int]], int]) -> None:
    got = execute(f"redux.sync.{operation} %d, %a, -1;", {"a": VALUES}, {"d": np.uint32})["d"].tolist()
    assert got == [reduce(VALUES[:32].tolist())] * 32 + [reduce(VALUES[32:].tolist())] * 32


def test_reduces_floats_past_nan() -> None:
    values = np.arange(32, dtype=np.float32) - 40
    values[3] = np.nan
    got = execute(
        "redux.sync.max.f32 %d, %a, -1; redux.sync.max.NaN.f32 %e, %a, -1; redux.sync.max.abs.f32 %f, %a, -1;",
        {"a": values},
        {"d": np.float32, "e": np.uint32, "f": np.float32},
    )
    assert set(got["d"].tolist()) == {-9.0}
    assert set(got["e"].tolist()) == {0x7FFFFFFF}
    assert set(got["f"].tolist()) == {40.0}


def test_elects_one_thread() -> None:
    got = execute("elect.sync %d|%p, -1;", {"a": VALUES}, {"d": np.uint32, "p": np.bool_})
    assert got["p"].reshape(2, 32).sum(1).tolist() == [1, 1]
    assert set(got["d"].tolist()) == {int(got["p"][:32].argmax())}
