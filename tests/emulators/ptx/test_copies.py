"""cp.async: what a wait orders, and what is seen without one. PTX ISA 9.0, section 9.7.9.25.3."""

import numpy as np
import pytest

from porting.emulators import Fault, FaultKind, Schedule
from tests.emulators.ptx.snippets import run_lines

# Thread t copies 16 bytes of its own from offset 16 t of global to shared memory, in one group a stage.
HEAD = """
.reg .b64 %from, %to; .reg .b32 %at, %v, %size;
mad.wide.u32 %from, %t, 16, %base; mad.wide.u32 %to, %t, 4, %base;
mad.lo.s32 %at, %t, 16, global_smem;
{ .reg .b32 w; add.s32 w, %t, 100; st.global.v4.b32 [%from], {w, w, w, %t}; add.s32 w, %t, 500;
  st.global.v4.b32 [%from+512], {w, w, w, %t}; }
"""
COPY = "cp.async.cg.shared.global [%at], [%from], 16; cp.async.commit_group;"
SECOND = "cp.async.cg.shared.global [%at+512], [%from+512], 16; cp.async.commit_group;"
WAYS = [Schedule(lazy=True), Schedule(lazy=False), Schedule(lazy=True, reverse=True)]


@pytest.mark.parametrize("schedule", WAYS)
def test_a_wait_brings_it(schedule: Schedule) -> None:
    lines = HEAD + COPY + "cp.async.wait_group 0; ld.shared.b32 %v, [%at]; st.global.b32 [%to+2048], %v;"
    content, counts = run_lines(lines, shared=1024, schedule=schedule)
    assert content[2048:2176].view(np.uint32).tolist() == [100 + thread for thread in range(32)]
    assert counts.bytes_written["shared"] == 512


@pytest.mark.parametrize("schedule", WAYS)
@pytest.mark.parametrize("wait", ["", "cp.async.wait_group 1;"])
def test_use_without_a_wait_is_a_fault(schedule: Schedule, wait: str) -> None:
    with pytest.raises(Fault) as raised:
        run_lines(HEAD + COPY + wait + "ld.shared.b32 %v, [%at];", shared=1024, schedule=schedule)
    assert raised.value.kind is FaultKind.PENDING


@pytest.mark.parametrize("schedule", WAYS)
def test_waiting_for_all_but_the_newest(schedule: Schedule) -> None:
    lines = HEAD + COPY + SECOND + "cp.async.wait_group 1; ld.shared.b32 %v, [%at]; st.global.b32 [%to+2048], %v;"
    content, _ = run_lines(lines, shared=1024, schedule=schedule)
    assert content[2048:2176].view(np.uint32).tolist() == [100 + thread for thread in range(32)]
    with pytest.raises(Fault):
        run_lines(lines.replace("[%at];", "[%at+512];"), shared=1024, schedule=schedule)


def test_wait_all_brings_what_is_in_no_group() -> None:
    lines = HEAD + "cp.async.ca.shared.global [%at], [%from], 8; cp.async.wait_all; ld.shared.b32 %v, [%at+4];"
    content, _ = run_lines(lines + "st.global.b32 [%to+2048], %v;", shared=1024)
    assert content[2048:2176].view(np.uint32).tolist() == [100 + thread for thread in range(32)]


def test_the_rest_is_filled_with_zeros() -> None:
    lines = HEAD + "and.b32 %size, %t, 15; cp.async.cg.shared.global [%at], [%from], 16, %size; cp.async.wait_all;"
    stores = "".join(f"ld.shared.b32 %v, [%at+{4 * i}]; st.global.b32 [%from+{2048 + 4 * i}], %v;" for i in range(4))
    content, _ = run_lines(lines + stores, shared=1024)
    for thread in range(32):
        source = content[16 * thread :][:16].tolist()
        assert content[2048 + 16 * thread :][:16].tolist() == source[: thread & 15] + [0] * (16 - (thread & 15))


def test_a_write_over_a_copy_under_way_is_a_fault() -> None:
    with pytest.raises(Fault) as raised:
        run_lines(HEAD + COPY + "st.shared.b32 [%at+8], %t;", shared=1024)
    assert raised.value.kind is FaultKind.PENDING
    assert "st.shared.b32" in raised.value.instruction


def test_only_the_waiting_thread_s_copies_arrive() -> None:
    lines = HEAD + COPY + "{ .reg .pred p; setp.lt.u32 p, %t, 16; @p cp.async.wait_group 0; } ld.shared.b32 %v, [%at];"
    with pytest.raises(Fault) as raised:
        run_lines(lines, shared=1024)
    assert raised.value.kind is FaultKind.PENDING


def test_each_thread_commits_for_itself() -> None:
    copy = "cp.async.cg.shared.global [%at], [%from], 16; .reg .pred %p; setp.lt.u32 %p, %t, 16;"
    lines = HEAD + copy + "@%p cp.async.commit_group; cp.async.wait_group 0; @%p ld.shared.b32 %v, [%at];"
    run_lines(lines, shared=1024)
    with pytest.raises(Fault) as raised:
        run_lines(lines.replace("@%p ld.shared", "ld.shared"), shared=1024)
    assert raised.value.kind is FaultKind.PENDING


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("cp.async.cg.shared.global [%at], [%base+4096], 16;", FaultKind.OUT_OF_BOUNDS),
        ("cp.async.cg.shared.global [%at+1024], [%from], 16;", FaultKind.OUT_OF_BOUNDS),
        ("cp.async.cg.shared.global [%at], [%from+8], 16;", FaultKind.MISALIGNED),
        ("cp.async.cg.shared.global [%at+4], [%from], 16;", FaultKind.MISALIGNED),
        ("cp.async.cg.shared.global [%at], [%from], 8;", FaultKind.UNKNOWN),
    ],
)
def test_bad_copies(line: str, kind: FaultKind) -> None:
    with pytest.raises(Fault) as raised:
        run_lines(HEAD + line, shared=1024)
    assert raised.value.kind is kind
    assert raised.value.instruction == line.rstrip(";")


def test_a_masked_copy_reads_nothing() -> None:
    """A size of 0 fills with zeros and may name any address, as masked loads do."""
    lines = HEAD + "mov.b32 %size, 0; cp.async.cg.shared.global [%at], [%base+1048576], 16, %size; cp.async.wait_all;"
    content, _ = run_lines(lines + "ld.shared.b32 %v, [%at]; st.global.b32 [%to+2048], %v;", shared=1024)
    assert set(content[2048:2176].tolist()) == {0}
