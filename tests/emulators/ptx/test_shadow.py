"""Races on shared memory: what orders two accesses, and what does not."""

from collections.abc import Callable

import numpy as np
import pytest

from porting.emulators import Fault, FaultKind, Schedule
from porting.emulators.ptx.clocks import Clocks
from porting.emulators.ptx.memory import SHARED_BASE
from porting.emulators.ptx.shadow import Shadow
from tests.emulators.ptx.snippets import run_lines

ALL = (0, 1, 2)


def made() -> Shadow:
    shadow = Shadow(Clocks(3), np.zeros(64, np.uint8), SHARED_BASE)
    shadow.reset()
    return shadow


def read(shadow: Shadow, warp: int, offset: int = 0, extent: int = 4) -> None:
    shadow.shared_read(np.array([SHARED_BASE + offset]), extent, np.array([warp]))


def write(shadow: Shadow, warp: int, offset: int = 0, extent: int = 4) -> None:
    shadow.shared_write(np.array([SHARED_BASE + offset]), extent, np.array([warp]))


@pytest.mark.parametrize(("first", "second"), [(write, read), (write, write), (read, write)])
def test_two_unordered_accesses_of_which_one_writes(
    first: Callable[[Shadow, int], None], second: Callable[[Shadow, int], None]
) -> None:
    shadow = made()
    first(shadow, 0)
    first(shadow, 0)
    second(shadow, 0)  # its own are in order
    with pytest.raises(Fault, match=r"warp 1 .* offset 0, which warp 0") as raised:
        second(shadow, 1)
    assert raised.value.kind is FaultKind.RACE
    shadow = made()
    first(shadow, 0)
    shadow.clocks.meet(ALL, ALL)
    second(shadow, 1)


def test_two_reads_are_no_race() -> None:
    shadow = made()
    for warp in ALL:
        read(shadow, warp)


@pytest.mark.parametrize(
    ("offset", "extent", "races"),
    [(0, 1, False), (1, 1, False), (2, 2, True), (0, 4, True), (4, 4, False), (0, 8, True)],
)
def test_bytes_count_not_words(offset: int, extent: int, races: bool) -> None:
    shadow = made()
    write(shadow, 0, 2, 2)
    if races:
        with pytest.raises(Fault, match="offset 2"):
            read(shadow, 1, offset, extent)
    else:
        read(shadow, 1, offset, extent)


def test_those_who_did_not_meet_are_not_ordered() -> None:
    shadow = made()
    write(shadow, 0)
    shadow.clocks.meet((0, 1), (0, 1))
    read(shadow, 1)
    with pytest.raises(Fault, match="warp 2 reads"):
        read(shadow, 2)


def test_order_is_passed_on() -> None:
    shadow = made()
    write(shadow, 0)
    shadow.clocks.meet((0, 1), (0, 1))
    shadow.clocks.meet((1, 2), (1, 2))
    read(shadow, 2)


def test_who_only_arrives_learns_nothing() -> None:
    shadow = made()
    write(shadow, 1)
    shadow.clocks.meet((0, 1), (1,))
    with pytest.raises(Fault, match="warp 0 reads"):
        read(shadow, 0)


def test_what_was_done_after_the_release_is_not_ordered() -> None:
    shadow = made()
    write(shadow, 0, 0)
    shadow.clocks.release("barrier", (0,))
    write(shadow, 0, 8)
    shadow.clocks.acquire("barrier", (1,))
    read(shadow, 1, 0)
    with pytest.raises(Fault, match="offset 8"):
        read(shadow, 1, 8)
    shadow.clocks.drop("barrier")
    shadow.clocks.acquire("barrier", (2,))
    with pytest.raises(Fault, match="warp 2 reads"):
        read(shadow, 2, 0)


def test_engines_are_agents_of_their_own() -> None:
    shadow = made()
    engine = shadow.clocks.engine()
    write(shadow, 0)
    with pytest.raises(Fault, match="engine 0 reads"):
        read(shadow, engine)
    shadow.clocks.release("issue", (0,))
    shadow.clocks.acquire("issue", (engine,))
    read(shadow, engine)
    shadow.clocks.meet(ALL, ALL)
    with pytest.raises(Fault, match=r"warp 0 writes .* which engine 0 read"):
        write(shadow, 0)
    shadow.clocks.release("done", (engine,))
    shadow.clocks.acquire("done", (0,))
    write(shadow, 0)


def test_warps_may_write_what_is_there() -> None:
    shadow = made()
    one, address = np.array([1]), np.array([SHARED_BASE])
    write(shadow, 0)
    shadow.content[0] = 7
    doubts = shadow.shared_write(address, 4, one, tolerant=True)
    shadow.settle(doubts)
    doubts = shadow.shared_write(address, 4, one * 2, tolerant=True)
    shadow.content[0] = 8
    with pytest.raises(Fault, match="warp 2 writes"):
        shadow.settle(doubts)


def test_of_several_who_wrote_none_is_forgotten() -> None:
    shadow = made()
    both = np.array([SHARED_BASE, SHARED_BASE])
    shadow.settle(shadow.shared_write(both, 4, np.array([0, 1]), tolerant=True))
    with pytest.raises(Fault, match=r"warp 1 writes .* which warp 0 wrote"):  # though its own mark was the last
        write(shadow, 1)


def test_a_warp_may_read_what_it_wrote_itself() -> None:
    """Though another wrote it too: the same, or that was the race."""
    shadow = made()
    write(shadow, 0)
    shadow.settle(shadow.shared_write(np.array([SHARED_BASE]), 4, np.array([1]), tolerant=True))
    read(shadow, 1)
    write(shadow, 0, 4)
    with pytest.raises(Fault, match="offset 4"):
        read(shadow, 1, 0, 8)


def test_many_deeds_are_forgotten_but_not_what_matters() -> None:
    shadow = made()
    write(shadow, 2, 32)
    for step in range(300):
        write(shadow, step % 2, 0)
        shadow.clocks.meet((0, 1), (0, 1))
    with pytest.raises(Fault, match="offset 32"):
        read(shadow, 0, 32)
    with pytest.raises(Fault, match="warp 2 reads"):
        read(shadow, 2, 0)


HEAD = """
.reg .b32 %at, %v; .reg .b64 %to; .reg .pred %p;
mad.lo.s32 %at, %t, 4, global_smem; setp.lt.u32 %p, %t, 32;
"""


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("st.shared.b32 [%at], %t; xor.b32 %at, %at, 128; ld.shared.b32 %v, [%at];", "ld.shared.b32"),
        ("st.shared.b32 [%at], %t; bar.sync 0; xor.b32 %at, %at, 128; ld.shared.b32 %v, [%at];"
         "st.shared.b32 [%at], %v; xor.b32 %at, %at, 128; st.shared.b32 [%at], %t;", "shared.b32"),
        ("@%p st.shared.b32 [global_smem], 1; @!%p st.shared.b32 [global_smem], 2;", "st.shared.b32"),
        ("st.shared.b32 [%at], 0; bar.sync 0; shr.u32 %v, %t, 5; st.shared.b32 [global_smem], %v;", "st.shared.b32"),
    ],
)  # fmt: skip
def test_kernels_that_lack_a_barrier(lines: str, told: str, reverse: bool) -> None:
    with pytest.raises(Fault) as raised:
        run_lines(HEAD + lines, threads=64, shared=256, schedule=Schedule(reverse=reverse))
    assert raised.value.kind in (FaultKind.RACE, FaultKind.UNINITIALISED)
    assert told in raised.value.instruction


def test_threads_of_one_warp_may_differ_and_warps_may_agree() -> None:
    run_lines(HEAD + "st.shared.b32 [global_smem], %t;", shared=16)
    run_lines(HEAD + "and.b32 %v, %t, 31; st.shared.b32 [global_smem], %v;", threads=64, shared=16)
