"""Predicates, unknown instructions, and registers that are read before they are written."""

import numpy as np
import pytest

from porting.emulators import Fault, FaultKind, Schedule
from porting.emulators.ptx import undecoded
from tests.emulators.ptx.snippets import kernel_text, run_lines

HEAD = ".reg .b32 %a, %b; .reg .pred %p, %q; .reg .b64 %to; mad.wide.u32 %to, %t, 4, %base; setp.lt.u32 %p, %t, 8;"
STORE = "st.global.b32 [%to], %a;"


@pytest.mark.parametrize(("sign", "wanted"), [("", range(8)), ("!", range(8, 32))])
def test_predicated_threads_only(sign: str, wanted: range) -> None:
    content, _ = run_lines(HEAD + f"mov.b32 %a, 5; @{sign}%p mov.b32 %a, 6;" + STORE)
    assert content[:128].view(np.uint32).tolist() == [6 if thread in wanted else 5 for thread in range(32)]


def test_a_predicate_that_its_own_instruction_changes() -> None:
    content, _ = run_lines(HEAD + "mov.b32 %a, 5; @%p setp.gt.u32 %p, %t, 3; @%p mov.b32 %a, 6;" + STORE)
    assert content[:128].view(np.uint32).tolist() == [6 if 3 < thread < 8 else 5 for thread in range(32)]


def test_a_register_that_some_threads_did_not_write() -> None:
    with pytest.raises(Fault, match="register %a in 24 threads, as 8") as raised:
        run_lines(HEAD + "@%p mov.b32 %a, 6;" + STORE)
    assert raised.value.kind is FaultKind.UNINITIALISED
    assert raised.value.instruction == "st.global.b32 [%to], %a"
    run_lines(HEAD + "@%p mov.b32 %a, 6; @%p " + STORE)
    run_lines(HEAD + "@%p mov.b32 %a, 6;" + STORE, schedule=Schedule(check=False))


def test_a_register_that_one_way_does_not_write() -> None:
    with pytest.raises(Fault, match="register %a in 24 threads"):
        run_lines(HEAD + "@!%p bra on; mov.b32 %a, 1; on: " + STORE)
    run_lines(HEAD + "@!%p bra other; mov.b32 %a, 1; bra on; other: mov.b32 %a, 2; on: " + STORE)


def test_a_register_written_later_in_a_loop() -> None:
    lines = HEAD + "mov.b32 %b, 0; again: setp.ge.u32 %q, %b, 1; @%q add.s32 %b, %a, 1; mov.b32 %a, 3;"
    run_lines(lines + "add.s32 %b, %b, 1; setp.lt.u32 %q, %b, 3; @%q bra again;" + STORE)
    with pytest.raises(Fault, match="register %a"):
        run_lines(lines.replace("@%q add", "add") + STORE)


def test_what_nothing_writes_differs_between_schedules() -> None:
    """Compilers name such a register where a value does not matter; a result that depends on it must show."""
    schedules = [Schedule(), Schedule(lazy=False), Schedule(reverse=True)]
    results = [run_lines(HEAD + STORE, schedule=schedule)[0].tobytes() for schedule in schedules]
    assert len(set(results)) == 3
    lines = HEAD + "{ .reg .b64 w; mov.b64 w, {%t, %a}; cvt.u32.u64 %b, w; } st.global.b32 [%to], %b;"
    unused = [run_lines(lines, schedule=schedule)[0].tobytes() for schedule in schedules]
    assert len(set(unused)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "frobnicate.b32 %a, %t;",
        "add.rn.s32 %a, %t, %t;",
        "ld.global.v3.b32 {%a, %a, %a}, [%base];",
        "mov.b32 %a, %clock;",
        "mov.b32 %a, nothing;",
        "add.s32 %a, %t;",
        "ld.global.v2.b32 {%a}, [%base];",
        "mov.b32 %a, %to;",
    ],
)
def test_what_is_unknown_stops_when_it_is_executed(line: str) -> None:
    text = line if line != "mov.b32 %a, %to;" else "mov.b64 %to, %a;"
    with pytest.raises(Fault) as raised:
        run_lines(HEAD + text)
    assert raised.value.kind is FaultKind.UNKNOWN
    assert raised.value.instruction == text.rstrip(";")
    content, _ = run_lines(HEAD + f"bra over; {text} over: mov.b32 %a, 9;" + STORE)
    assert content[0] == 9


def test_undecoded_names_each_once() -> None:
    lines = [".reg .b32 %a;", "mov.b32 %a, 1;", "frobnicate %a;", "frobnicate %a;", "add.s32 %a, %a, %clock;", "ret;"]
    assert undecoded(kernel_text(lines, 1, 32), "cuda:90") == ("frobnicate %a", "add.s32 %a, %a, %clock")
    assert undecoded(kernel_text(lines[:2], 1, 32), "cuda:90") == ()
