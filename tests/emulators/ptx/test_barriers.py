"""Barriers and branches. PTX ISA 9.0, sections 9.7.12 and 9.7.13.1."""

import numpy as np
import pytest

from porting.emulators import Fault, FaultKind, Schedule
from tests.emulators.ptx.snippets import run_lines

# Thread t writes t to its place in shared memory and reads that of the thread 33 further on.
HEAD = """
.reg .b32 %at, %far, %v, %w; .reg .b64 %to; .reg .pred %p, %q;
mad.lo.s32 %at, %t, 4, global_smem; add.s32 %far, %t, 33; rem.u32 %far, %far, %n; mad.lo.s32 %far, %far, 4, global_smem;
mad.wide.u32 %to, %t, 4, %base; setp.lt.u32 %p, %t, 32;
"""
STORE = "st.shared.b32 [%at], %t;"
LOAD = "ld.shared.b32 %v, [%far]; st.global.b32 [%to], %v;"


def lines(*parts: str) -> str:
    return ".reg .b32 %n; mov.u32 %n, %ntid.x;" + HEAD + "".join(parts)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "line", ["bar.sync 0;", "barrier.sync 3;", "barrier.cta.sync.aligned 1, 128;", "bar.sync 0, %n;"]
)
def test_a_barrier_orders(line: str, reverse: bool) -> None:
    content, _ = run_lines(lines(STORE, line, LOAD), threads=128, shared=512, schedule=Schedule(reverse=reverse))
    assert content[:512].view(np.uint32).tolist() == [(thread + 33) % 128 for thread in range(128)]


def test_without_one_a_warp_reads_what_is_not_there() -> None:
    with pytest.raises(Fault) as raised:
        run_lines(lines(STORE, LOAD), threads=128, shared=512, schedule=Schedule(reverse=True))
    assert raised.value.kind in (FaultKind.UNINITIALISED, FaultKind.RACE)


@pytest.mark.parametrize("reverse", [False, True])
def test_arrive_lets_the_producer_go_on(reverse: bool) -> None:
    """Warp 0 stores and only arrives; warp 1 waits for it, then reads warp 0's values."""
    content, counts = run_lines(
        lines(
            "@!%p bra consumer;", STORE, "bar.arrive 1, 64; bra done; consumer: bar.sync 1, 64;",
            "add.s32 %far, %at, -128; ld.shared.b32 %v, [%far]; st.global.b32 [%to], %v; done:",
        ),
        threads=64, shared=512, schedule=Schedule(reverse=reverse),
    )  # fmt: skip
    assert content[128:256].view(np.uint32).tolist() == list(range(32))
    assert counts.instructions["bar.arrive"] == 1


def test_a_warp_that_never_comes_is_a_deadlock() -> None:
    with pytest.raises(Fault, match=r"no thread can run: 32 threads at line \d+; 32 threads have ended") as raised:
        run_lines(lines("@%p bra done; bar.sync 0; done:"), threads=64, shared=512)
    assert raised.value.kind is FaultKind.DEADLOCK
    assert raised.value.instruction == "bar.sync 0"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("bar.sync 16;", FaultKind.MISUSE),
        ("bar.sync 0, 48;", FaultKind.MISUSE),
        ("bar.sync 0, 256;", FaultKind.MISUSE),
        ("@%p bar.sync 0, 32; @!%p bar.sync 0, 64;", FaultKind.DEADLOCK),
        ("@%p bar.arrive 0, 64; bar.sync 0, 64;", FaultKind.MISUSE),
        ("@%p bar.arrive 2, 128;", FaultKind.MISUSE),
    ],
)
def test_misuse(line: str, kind: FaultKind) -> None:
    with pytest.raises(Fault) as raised:
        run_lines(lines(line), threads=128 if "128" in line else 64, shared=512)
    assert raised.value.kind is kind


def test_those_who_meet_expect_the_same_number() -> None:
    with pytest.raises(Fault, match="barrier 0 of 64 threads, here of 96") as raised:
        run_lines(lines("@%p bar.sync 0, 64; bar.sync 0, 96;"), threads=96, shared=512)
    assert raised.value.kind is FaultKind.MISUSE


def test_reductions() -> None:
    content, _ = run_lines(
        lines(
            ".reg .pred %all, %any; setp.lt.u32 %q, %t, 40; bar.red.popc.u32 %v, 0, %q; bar.red.and.pred %all, 1, %q;"
            "bar.red.or.pred %any, 2, !%q; selp.b32 %w, 1000, 0, %all; add.s32 %v, %v, %w; selp.b32 %w, 2000, 0, %any;"
            "add.s32 %v, %v, %w; st.global.b32 [%to], %v;"
        ),
        threads=64,
        shared=512,
    )
    assert set(content[:256].view(np.uint32).tolist()) == {2040}


def test_branches_by_a_table() -> None:
    content, _ = run_lines(
        lines(
            "and.b32 %v, %t, 3; brx.idx %v, ways; ways: .branchtargets zero, one, two, one;"
            "zero: mov.b32 %w, 10; bra.uni join; one: mov.b32 %w, 11; bra join; two: mov.b32 %w, 12; join:"
            "st.global.b32 [%to], %w;"
        )
    )
    assert content[:128].view(np.uint32).tolist() == [(10, 11, 12, 11)[thread % 4] for thread in range(32)]


def test_an_index_beyond_the_table_is_a_fault() -> None:
    with pytest.raises(Fault) as raised:
        run_lines(lines("brx.idx %t, ways; ways: .branchtargets zero, zero; zero:"))
    assert raised.value.kind is FaultKind.MISUSE


def test_threads_meet_again_after_a_branch() -> None:
    """Else the shuffle of the whole warp would be a fault."""
    content, _ = run_lines(
        lines(
            "and.b32 %v, %t, 1; setp.eq.s32 %q, %v, 0; @%q bra even; add.s32 %w, %t, 100; bra join;"
            "even: add.s32 %w, %t, 200; join: shfl.sync.bfly.b32 %w, %w, 1, 31, -1; st.global.b32 [%to], %w;"
        )
    )
    assert content[:128].view(np.uint32).tolist() == [(t ^ 1) + (100 if t % 2 == 0 else 200) for t in range(32)]


def test_loops_of_different_lengths() -> None:
    content, counts = run_lines(
        lines("mov.b32 %v, 0; mov.b32 %w, %t; again: add.s32 %v, %v, %w; add.s32 %w, %w, -1; setp.gt.s32 %q, %w, 0;"
              "@%q bra again; st.global.b32 [%to], %v; bar.warp.sync -1;")
    )  # fmt: skip
    assert content[:128].view(np.uint32).tolist() == [thread * (thread + 1) // 2 for thread in range(32)]
    assert counts.instructions["bra"] == 31


def test_a_trap_is_a_fault() -> None:
    with pytest.raises(Fault, match="trap"):
        run_lines(lines("@%p trap;"))


LATE = """
.reg .b64 %to; .reg .b32 %v; .reg .pred %q;
mad.wide.u32 %to, %t, 4, %base;
setp.eq.s32 %q, %t, 0;
@%q bra late;
here: bar.warp.sync -1;
ld.shared.b32 %v, [global_smem]; st.global.b32 [%to], %v;
ret;
late: mov.b32 %v, 5; st.shared.b32 [global_smem], %v;
"""


@pytest.mark.parametrize("schedule", [Schedule(), Schedule(reverse=True)])
def test_a_warps_barrier_waits_for_a_thread_that_comes_late(schedule: Schedule) -> None:
    """PTX ISA 9.0, bar.warp.sync: waits until all threads of the mask have executed one with the same mask."""
    content, _ = run_lines(LATE + "bra.uni here;", shared=16, schedule=schedule)
    assert content[:128].view(np.uint32).tolist() == [5] * 32
    elsewhere = LATE + "bar.warp.sync -1; st.global.b32 [%to], %t;"  # another instruction of that kind will do
    content, _ = run_lines(elsewhere, shared=16, schedule=schedule)
    assert content[:128].view(np.uint32).tolist() == [0] + [5] * 31


def test_a_warps_barrier_that_a_thread_never_reaches() -> None:
    with pytest.raises(Fault) as raised:
        run_lines(LATE, shared=16)
    assert raised.value.kind is FaultKind.DEADLOCK
    assert "31 threads" in raised.value.detail
    assert raised.value.instruction == "bar.warp.sync -1"
