"""Loads and stores: every width and vector, and every access that a device would punish."""

import numpy as np
import pytest

from porting.emulators import Buffer, Fault, FaultKind, Schedule
from porting.emulators.ptx.memory import GlobalMemory, SharedMemory
from tests.emulators.ptx.snippets import run_lines

HEAD = ".reg .b32 %at, %r<8>; .reg .b64 %to, %d<4>; .reg .b16 %h<4>;"


@pytest.mark.parametrize(
    ("load", "store", "stride"),
    [
        ("ld.global.b8 %h0, [%to];", "st.global.b8 [%to+2048], %h0;", 1),
        ("ld.global.u16 %h0, [%to];", "st.global.u16 [%to+2048], %h0;", 2),
        ("ld.global.f32 %r0, [%to];", "st.global.f32 [%to+2048], %r0;", 4),
        ("ld.global.b64 %d0, [%to];", "st.global.b64 [%to+2048], %d0;", 8),
        ("ld.global.v2.b16 {%h0, %h1}, [%to];", "st.global.v2.b16 [%to+2048], {%h0, %h1};", 4),
        ("ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%to];", "st.global.v4.b32 [%to+2048], {%r0, %r1, %r2, %r3};", 16),
        ("ld.global.nc.v2.b64 {%d0, %d1}, [%to];", "st.global.v2.b64 [%to+2048], {%d0, %d1};", 16),
        ("ld.global.L1::evict_first.b32 %r0, [%to+0];", "st.global.cg.b32 [ %to + 2048 ], %r0;", 4),
    ],
)
def test_every_width_goes_through(load: str, store: str, stride: int) -> None:
    fill = "mad.wide.u32 %to, %t, 16, %base; { .reg .b32 v; mad.lo.s32 v, %t, 1640531527, 12345;" + "".join(
        f"st.global.b32 [%to+{4 * i}], v; not.b32 v, v; add.s32 v, v, 77;" for i in range(4)
    )
    content, _ = run_lines(HEAD + fill + f"}} mad.wide.u32 %to, %t, {stride}, %base; {load} {store}")
    assert content[2048 : 2048 + 32 * stride].tolist() == content[: 32 * stride].tolist()


def test_narrow_loads_extend_into_the_register() -> None:
    content, _ = run_lines(
        HEAD
        + "mad.wide.u32 %to, %t, 4, %base; mov.b32 %r0, 0x80; st.global.b8 [%base], %r0;"
        + "mov.b32 %r1, -1; mov.b32 %r2, -1; ld.global.s8 %r1, [%base]; ld.global.u8 %r2, [%base];"
        + "st.global.b32 [%base+4], %r1; st.global.b32 [%base+8], %r2;"
    )
    assert content[:12].view(np.uint32).tolist() == [0x80, 0xFFFFFF80, 0x80]


@pytest.mark.parametrize(
    ("line", "kind", "told"),
    [
        ("ld.global.b32 %r0, [%base+4096];", FaultKind.OUT_OF_BOUNDS, "4 bytes at offset 4096 of memory (4096 bytes)"),
        ("ld.global.b32 %r0, [%base+-4];", FaultKind.OUT_OF_BOUNDS, "below every buffer"),
        ("ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%base+4088];", FaultKind.OUT_OF_BOUNDS, "16 bytes at offset 4088"),
        ("st.global.b32 [%base+4098], %t;", FaultKind.OUT_OF_BOUNDS, "offset 4098"),
        ("ld.global.b32 %r0, [%base+2];", FaultKind.MISALIGNED, "no multiple of 4"),
        ("ld.global.v2.b32 {%r0, %r1}, [%base+4];", FaultKind.MISALIGNED, "no multiple of 8"),
        ("ld.shared.b32 %r0, [global_smem];", FaultKind.UNINITIALISED, "never written"),
        ("ld.shared.b32 %r0, [global_smem+1024];", FaultKind.OUT_OF_BOUNDS, "of shared memory (1024 bytes)"),
        ("mov.b32 %at, 0; st.shared.b32 [%at], %t;", FaultKind.OUT_OF_BOUNDS, "offset -1024"),
        ("st.shared.b32 [global_smem+1], %t;", FaultKind.MISALIGNED, "no multiple of 4"),
        ("st.shared.b8 [global_smem], %t; ld.shared.b16 %h0, [global_smem];", FaultKind.UNINITIALISED, "never written"),
    ],
)
def test_bad_accesses(line: str, kind: FaultKind, told: str) -> None:
    with pytest.raises(Fault) as raised:
        run_lines(HEAD + line, shared=1024)
    assert raised.value.kind is kind
    assert told in raised.value.detail
    assert raised.value.instruction == line.rstrip(";").rpartition("; ")[2]


def test_a_masked_thread_may_name_any_address() -> None:
    lines = (
        HEAD + ".reg .pred %p; setp.lt.u32 %p, %t, 4; mad.wide.u32 %to, %t, 1024, %base; @%p st.global.b32 [%to], %t;"
    )
    content, _ = run_lines(lines)
    assert content[::1024].tolist() == [0, 1, 2, 3]


def test_unwritten_shared_memory_is_only_looked_at_when_asked() -> None:
    lines = HEAD + "ld.shared.b32 %r0, [global_smem]; st.global.b32 [%base], %r0;"
    content, _ = run_lines(lines, shared=64, schedule=Schedule(check=False))
    assert content[:4].tolist() == [0xFF] * 4


def test_local_memory_is_each_thread_s_own() -> None:
    lines = (
        HEAD
        + ".local .align 16 .b8 depot[32]; mov.b32 %at, depot; st.local.b32 [%at+4], %t; bar.warp.sync -1;"
        + "ld.local.b32 %r0, [%at+4]; mad.wide.u32 %to, %t, 4, %base; st.global.b32 [%to], %r0;"
    )
    content, _ = run_lines(lines)
    assert content[:128].view(np.uint32).tolist() == list(range(32))
    with pytest.raises(Fault) as raised:
        run_lines(lines.replace("[%at+4], %t", "[%at+32], %t"))
    assert raised.value.kind is FaultKind.OUT_OF_BOUNDS


def test_threads_may_address_several_buffers() -> None:
    first, second = np.arange(16, dtype=np.uint8), np.arange(100, 116, dtype=np.uint8)
    memory = GlobalMemory((Buffer("b", 0x2000, second), Buffer("a", 0x1000, first)))
    address = np.array([0x2004, 0x1000, 0x200C], np.int64)
    assert memory.read(address, 4).tolist() == [0x6B6A6968, 0x03020100, 0x73727170]
    memory.write(address, 4, np.array([1, 2, 3], np.uint32))
    assert (first[0], second[4], second[12]) == (2, 1, 3)
    with pytest.raises(Fault, match="offset 16 of a"):
        memory.read(np.array([0x2000, 0x1010], np.int64), 4)


def test_buffers_must_not_overlap() -> None:
    with pytest.raises(Fault, match="overlap"):
        GlobalMemory((Buffer("a", 0x1000, np.zeros(32, np.uint8)), Buffer("b", 0x1010, np.zeros(32, np.uint8))))


def test_a_buffer_may_begin_anywhere() -> None:
    """As a view of a tensor does: alignment is of the address, not of the place in the buffer."""
    content = np.arange(20, dtype=np.uint8)
    memory = GlobalMemory((Buffer("view", 0x1006, content), Buffer("after", 0x1020, np.zeros(16, np.uint8))))
    assert memory.read(np.array([0x1008], np.int64), 4).tolist() == [0x05040302]
    memory.write(np.array([0x1006, 0x1018], np.int64), 2, np.array([0xAAAA, 0xBBBB], np.uint16))
    memory.write_back()
    assert content[[0, 1, 18, 19]].tolist() == [0xAA, 0xAA, 0xBB, 0xBB]
    with pytest.raises(Fault, match="no multiple of 4"):
        memory.read(np.array([0x100A], np.int64), 4)
    for address in (0x1004, 0x1000, 0x101A):
        with pytest.raises(Fault) as raised:
            memory.read(np.array([address], np.int64), 2)
        assert raised.value.kind is FaultKind.OUT_OF_BOUNDS
    with pytest.raises(Fault, match="below every buffer"):
        memory.read(np.array([0x1008, 0x1004], np.int64), 2)


def test_engines_read_and_write_bytes() -> None:
    shared = SharedMemory(64)
    shared.reset()
    address = np.arange(1024, 1040).reshape(4, 4)
    with pytest.raises(Fault, match="never written"):
        shared.gather(address)
    shared.scatter(address, np.arange(16, dtype=np.uint8).reshape(4, 4))
    assert shared.gather(address.T).tolist() == np.arange(16).reshape(4, 4).T.tolist()
    with pytest.raises(Fault, match="offsets 60 to 75"):
        shared.gather(address + 60)


def test_bytes_are_counted() -> None:
    _, counts = run_lines(
        HEAD + "mad.lo.s32 %at, %t, 8, global_smem; st.shared.v2.b32 [%at], {%t, %t}; ld.shared.b32 %r0, [%at];"
        ".reg .pred %p; setp.lt.u32 %p, %t, 5; @%p ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%base];",
        shared=256,
    )
    assert dict(counts.bytes_read) == {"shared": 128, "global": 80}
    assert dict(counts.bytes_written) == {"shared": 256}
