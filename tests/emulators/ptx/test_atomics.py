"""Atomics: of several threads at one address each sees what the one before left. PTX ISA 9.0, section 9.7.13.5."""

import numpy as np
import pytest

from tests.emulators.ptx.snippets import run_lines

HEAD = ".reg .b32 %v, %at, %x; .reg .b64 %to, %a; mad.wide.u32 %to, %t, 4, %base; "
KEEP = "st.global.b32 [%to+1024], %v;"


def test_each_thread_gets_its_own_ticket() -> None:
    content, _ = run_lines(HEAD + "atom.global.gpu.acq_rel.add.u32 %v, [%base], 3;" + KEEP)
    assert content[:4].view(np.uint32).tolist() == [96]
    assert sorted(content[1024:1152].view(np.uint32).tolist()) == [3 * ticket for ticket in range(32)]


def test_different_addresses_do_not_disturb() -> None:
    lines = HEAD + "and.b32 %x, %t, 7; mad.wide.u32 %a, %x, 4, %base; red.global.add.u32 [%a], %t;"
    content, _ = run_lines(lines)
    assert content[:32].view(np.uint32).tolist() == [sum(t for t in range(32) if t % 8 == place) for place in range(8)]


@pytest.mark.parametrize(
    ("operation", "start", "wanted"),
    [
        ("max.s32", -5, 31),
        ("min.s32", 5, 0),
        ("or.b32", 0, 31),
        ("xor.b32", 0, 0),
        ("inc.u32", 0, None),
        ("exch.b32", 7, 31),
    ],
)
def test_operations(operation: str, start: int, wanted: int | None) -> None:
    lines = HEAD + f"mov.b32 %x, {start}; st.global.b32 [%base], %x; atom.global.{operation} %v, [%base], %t;" + KEEP
    content, _ = run_lines(lines)
    if wanted is None:  # wraps to 0 at the operand, else counts
        wanted = start
        for thread in range(32):
            wanted = 0 if wanted >= thread else wanted + 1
    assert content[:4].view(np.int32).tolist() == [wanted]


def test_compare_and_swap() -> None:
    content, _ = run_lines(HEAD + "add.s32 %x, %t, 1; atom.global.cas.b32 %v, [%base], %t, %x;" + KEEP)
    assert content[:4].view(np.uint32).tolist() == [32]
    assert content[1024:1152].view(np.uint32).tolist() == list(range(32))


def test_floats_and_shared_memory() -> None:
    lines = HEAD + (
        "mov.b32 %at, global_smem; st.shared.b32 [%at], 0; bar.sync 0; cvt.rn.f32.u32 %x, %t;"
        "atom.shared.add.f32 %v, [%at], %x; bar.sync 0; ld.shared.b32 %v, [%at];"
    )
    content, _ = run_lines(lines + KEEP, shared=16)
    assert set(content[1024:1152].view(np.float32).tolist()) == {496.0}


def test_packed_halves() -> None:
    content, _ = run_lines(HEAD + "mov.b32 %x, 0x40003C00; red.global.gpu.relaxed.add.noftz.f16x2 [%base], %x;")
    assert content[:4].view(np.float16).tolist() == [32.0, 64.0]
