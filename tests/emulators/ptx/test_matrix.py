"""ldmatrix and stmatrix as PTX ISA 9.0 (9.7.14.5.15, 9.7.14.5.16) states them: which element each thread gets."""

import numpy as np
import pytest

from porting.emulators import Fault, FaultKind
from tests.emulators.ptx.snippets import run_lines

# Row r of matrix m lies at 16 * (5 * r + m): rows need not be contiguous.
FILL = """
.reg .b32 %at, %lane, %row, %where, %r<4>; .reg .b16 %h; .reg .b64 %to;
mov.u32 %lane, %laneid;
{ .reg .pred more; .reg .b32 i, v;
  mov.b32 i, %t;
fill:
  mad.lo.s32 v, i, 2, 0; add.s32 v, v, global_smem; cvt.u16.u32 %h, i; st.shared.b16 [v], %h;
  add.s32 i, i, 32; setp.lt.s32 more, i, 512; @more bra fill; }
and.b32 %row, %lane, 7; shr.u32 %where, %lane, 3;
mad.lo.s32 %at, %row, 5, %where; shl.b32 %at, %at, 4; add.s32 %at, %at, global_smem;
bar.sync 0;
mad.wide.u32 %to, %t, 16, %base;
"""


def element(matrix: int, row: int, column: int) -> int:
    """The value that FILL puts at that row and column."""
    return 8 * (5 * row + matrix) + column


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_loads_matrices(count: int, transposed: bool) -> None:
    names = ", ".join(f"%r{place}" for place in range(count))
    trans = ".trans" if transposed else ""
    stores = "".join(f"st.global.b32 [%to+{4 * place}], %r{place};" for place in range(count))
    content, _ = run_lines(
        FILL + f"ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {{{names}}}, [%at];" + stores, shared=1024
    )
    got = content[:512].view(np.uint16).reshape(32, 4, 2)
    for lane in range(32):
        for matrix in range(count):
            for half in range(2):
                row, column = lane // 4, 2 * (lane % 4) + half
                row, column = (column, row) if transposed else (row, column)
                assert got[lane, matrix, half] == element(matrix, row, column)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_stores_what_a_load_would_give(count: int, transposed: bool) -> None:
    names = ", ".join(f"%r{place}" for place in range(count))
    trans = ".trans" if transposed else ""
    move = "".join(f"ld.shared.b32 %r{place}, [%t4+{1024 + 128 + 128 * place}];" for place in range(count))
    content, _ = run_lines(
        FILL
        + f".reg .b32 %t4, %x; mad.lo.s32 %t4, %t, 4, 0; {move} bar.sync 0;"
        + f"stmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 [%at], {{{names}}}; bar.sync 0;"
        + "{ .reg .pred more; .reg .b32 i, v; .reg .b64 a; mov.b32 i, %t; copy: shl.b32 v, i, 2; "
        + "add.s32 v, v, global_smem; ld.shared.b32 %x, [v]; mad.wide.u32 a, i, 4, %base; st.global.b32 [a], %x;"
        + "add.s32 i, i, 32; setp.lt.s32 more, i, 256; @more bra copy; }",
        shared=1024,
    )
    memory = content[:1024].view(np.uint16)
    for matrix in range(count):
        for lane in range(32):
            for half in range(2):
                row, column = lane // 4, 2 * (lane % 4) + half
                row, column = (column, row) if transposed else (row, column)
                # The register came from byte 4 * lane of the matrix's own 128 bytes from 128 on.
                assert memory[8 * (5 * row + matrix) + column] == 64 + 64 * matrix + 2 * lane + half


def test_a_row_must_be_aligned() -> None:
    with pytest.raises(Fault) as raised:
        run_lines(FILL + "add.s32 %at, %at, 4; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%at];", shared=1024)
    assert raised.value.kind is FaultKind.MISALIGNED


def test_a_row_must_lie_in_shared_memory() -> None:
    with pytest.raises(Fault) as raised:
        run_lines(FILL + "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0, %r1, %r2, %r3}, [%at+768];", shared=1024)
    assert raised.value.kind is FaultKind.OUT_OF_BOUNDS


def test_a_row_must_have_been_written() -> None:
    with pytest.raises(Fault) as raised:
        run_lines(FILL + "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%at+1024];", shared=4096)
    assert raised.value.kind is FaultKind.UNINITIALISED


def test_the_whole_warp_must_be_there() -> None:
    with pytest.raises(Fault) as raised:
        run_lines(
            FILL + ".reg .pred %p; setp.lt.u32 %p, %t, 16; @%p ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%at];",
            shared=1024,
        )
    assert raised.value.kind is FaultKind.DIVERGENT
