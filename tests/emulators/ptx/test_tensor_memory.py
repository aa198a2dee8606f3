"""Tensor memory as PTX ISA 9, "Tensor Memory", "tcgen05.alloc", "tcgen05.ld, tcgen05.st", "tcgen05.wait", has it."""

from collections.abc import Iterator

import numpy as np
import pytest

from porting.emulators import Fault, FaultKind
from tests.emulators.ptx.programs import (
    SCHEDULES,
    in_every_schedule,
    load_cells,
    registers,
    run_program,
    store_cells,
    with_tensor_memory,
)

COLUMNS = 64
CELLS = np.random.default_rng(7).integers(0, 2**32, (128, COLUMNS), dtype=np.uint32)
SECOND = 24
"""Column at which the upper threads of 16x32bx2 begin."""
Walk = Iterator[tuple[int, int, int, int]]


def walk(shape: str, repeats: int) -> Walk:
    """The figures of "tcgen05.ld", walked row by row: (thread, register, row, column)."""
    for repeat in range(repeats):
        if shape == "32x32b":
            yield from ((row, repeat, row, repeat) for row in range(32))
        elif shape == "16x32bx2":
            for row in range(16):
                yield row, repeat, row, repeat
                yield 16 + row, repeat, row, SECOND + repeat
        elif shape == "16x64b":  # rows 0 to 7 in threads 0, 2, 4, ..., rows 8 to 15 in those between
            for row in range(8):
                for column in range(2):
                    yield 4 * row + 2 * column, repeat, row, 2 * repeat + column
                    yield 4 * row + 2 * column + 1, repeat, 8 + row, 2 * repeat + column
        elif shape == "16x128b":  # four threads a row; a register for rows 0 to 7, one for those below
            threads = iter(range(32))
            for row in range(8):
                for column in range(4):
                    thread = next(threads)
                    for lower in range(2):
                        yield thread, 2 * repeat + lower, 8 * lower + row, 4 * repeat + column
        else:  # as an accumulator of mma.sync: a pair of columns a thread
            for lower in range(2):
                for row in range(8):
                    for pair in range(4):
                        for odd in range(2):
                            yield (
                                4 * row + pair,
                                4 * repeat + 2 * lower + odd,
                                8 * lower + row,
                                8 * repeat + 2 * pair + odd,
                            )


SHAPES = [
    ("32x32b", 1, 8, 0), ("16x64b", 1, 4, 0), ("16x64b", 1, 1, 16), ("16x128b", 2, 4, 0), ("16x128b", 2, 2, 16),
    ("16x256b", 4, 2, 0), ("16x256b", 4, 1, 16), ("16x32bx2", 1, 8, 0), ("16x32bx2", 1, 4, 16),
]  # fmt: skip
"""Shape, registers of a repeat, repeats, first lane of the quarter's."""


@pytest.mark.parametrize(("shape", "each", "repeats", "lane"), SHAPES)
def test_where_registers_lie(shape: str, each: int, repeats: int, lane: int) -> None:
    count, column = each * repeats, 5
    second = f", {SECOND}" if shape == "16x32bx2" else ""
    body = f"""{load_cells(0, COLUMNS)}
{{ .reg .b32 %v<{count}>, %place; .reg .b64 %mine;
and.b32 %place, %t, 96; add.u32 %place, %place, {lane}; shl.b32 %place, %place, 16;
add.u32 %place, %place, %tm;
tcgen05.ld.sync.aligned.{shape}.x{repeats}.b32 {registers(count)}, [%place + {column}]{second};
tcgen05.wait::ld.sync.aligned;
mad.wide.u32 %mine, %t, {4 * count}, %base;
"""
    body += "\n".join(f"st.global.b32 [%mine+{CELLS.nbytes + 4 * n}], %v{n};" for n in range(count))
    # Each shape stores as it loads: one column further on, it makes a second copy.
    body += f"""
tcgen05.st.sync.aligned.{shape}.x{repeats}.b32 [%place + {column + 1}]{second}, {registers(count)};
tcgen05.wait::st.sync.aligned; }}
{store_cells(0, COLUMNS)}"""
    memory = np.concatenate([CELLS.ravel(), np.zeros(128 * count, np.uint32)])
    result = in_every_schedule(with_tensor_memory(body, COLUMNS), memory).view(np.uint32)
    got = result[CELLS.size :].reshape(4, 32, count)
    want, after = np.zeros_like(got), CELLS.copy()
    for warp in range(4):
        for thread, register, row, place in walk(shape, repeats):
            want[warp, thread, register] = CELLS[32 * warp + lane + row, column + place]
            after[32 * warp + lane + row, column + 1 + place] = CELLS[32 * warp + lane + row, column + place]
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(result[: CELLS.size].reshape(128, -1), after)


def test_halves_are_packed_and_unpacked() -> None:
    """One register for the lower halves of two columns side by side."""
    body = f"""{load_cells(0, COLUMNS)}
{{ .reg .b32 %v<8>, %place;
and.b32 %place, %t, 96; shl.b32 %place, %place, 16; add.u32 %place, %place, %tm;
tcgen05.ld.sync.aligned.32x32b.x8.pack::16b.b32 {registers(8)}, [%place];
tcgen05.wait::ld.sync.aligned;
tcgen05.st.sync.aligned.32x32b.x8.b32 [%place + 16], {registers(8)};
tcgen05.st.sync.aligned.32x32b.x8.unpack::16b.b32 [%place + 32], {registers(8)};
tcgen05.wait::st.sync.aligned; }}
{store_cells(0, COLUMNS)}"""
    result = in_every_schedule(with_tensor_memory(body, COLUMNS), CELLS).view(np.uint32).reshape(128, -1)
    halves = np.ascontiguousarray(CELLS[:, :16]).view(np.uint16)[:, ::2]
    np.testing.assert_array_equal(np.ascontiguousarray(result[:, 16:24]).view(np.uint16), halves)
    np.testing.assert_array_equal(result[:, 32:48], halves)


LANES = ".reg .b32 %place; and.b32 %place, %t, 96; shl.b32 %place, %place, 16; add.u32 %place, %place, %tm;\n"
STORE = "tcgen05.st.sync.aligned.32x32b.x1.b32 [%place{0}], {{%t}};\n"
LOAD = "tcgen05.ld.sync.aligned.32x32b.x1.b32 {{%u0}}, [%place{0}];\n"
WAIT_STORE, WAIT_LOAD = "tcgen05.wait::st.sync.aligned;\n", "tcgen05.wait::ld.sync.aligned;\n"
ALLOCATE = "@%warp0 tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%s+16], {0};\n"


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (LANES + STORE.format("+64"), FaultKind.OUT_OF_BOUNDS),
        (LANES + "add.u32 %place, %place, 2097152;\n" + STORE.format(""), FaultKind.MISUSE),  # another warp's lanes
        (LANES + "add.u32 %place, %place, %t;\n" + STORE.format(""), FaultKind.MISUSE),
        (LANES + "@%first " + STORE.format(""), FaultKind.DIVERGENT),
        # Own loads and stores are ordered by a wait only.
        (LANES + STORE.format("") + LOAD.format(""), FaultKind.RACE),
        (LANES + STORE.format("") + WAIT_STORE + LOAD.format("") + STORE.format(""), FaultKind.RACE),
        (LANES + STORE.format("") + WAIT_LOAD + LOAD.format(""), FaultKind.RACE),
        # An allocation must not end before they do.
        (LANES + STORE.format(""), FaultKind.RACE),
        (LANES + STORE.format("") + WAIT_STORE + LOAD.format(""), FaultKind.RACE),
        (ALLOCATE.format(32), FaultKind.MISUSE),  # the right to was given up
    ],
)
def test_misuse(lines: str, kind: FaultKind) -> None:
    with pytest.raises(Fault) as raised:
        run_program(with_tensor_memory(lines, 64), CELLS)
    assert raised.value.kind is kind


def test_what_was_never_written_is_poison() -> None:
    """Code loads ahead of a branch, so that loading alone is no fault; what depends on it differs by schedule."""
    lines = LANES + LOAD.format("") + WAIT_LOAD + "mad.wide.u32 %at, %t, 4, %base; st.global.b32 [%at], %u0;"
    results = [run_program(with_tensor_memory(lines, 32), CELLS, schedule=schedule)[:512] for schedule in SCHEDULES]
    assert len({result.tobytes() for result in results}) == 3


def test_what_waits_is_right() -> None:
    lines = LANES + STORE.format("") + WAIT_STORE + LOAD.format("") + WAIT_LOAD + STORE.format("") + WAIT_STORE
    in_every_schedule(with_tensor_memory(lines, 32), CELLS)


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (ALLOCATE.format(32), FaultKind.MISUSE),  # not given back
        (ALLOCATE.format(48), FaultKind.MISUSE),
        (ALLOCATE.format(16), FaultKind.MISUSE),
        (ALLOCATE.format(1024), FaultKind.MISUSE),
        (ALLOCATE.format(512) + ALLOCATE.format(32), FaultKind.DEADLOCK),
        ("@%warp0 tcgen05.dealloc.cta_group::1.sync.aligned.b32 0, 32;", FaultKind.MISUSE),
        (
            ALLOCATE.format(64)
            + "@%warp0 ld.shared.b32 %u0, [%s+16];\n@%warp0 tcgen05.dealloc.cta_group::1.sync.aligned.b32 %u0, 32;",
            FaultKind.MISUSE,
        ),
        ("tcgen05.ld.sync.aligned.32x32b.x1.b32 {%u0}, [%u1];", FaultKind.OUT_OF_BOUNDS),
        (ALLOCATE.format(32) + "ld.shared.b32 %u0, [%s+16];", FaultKind.RACE),  # nothing orders the other warps
    ],
)
def test_allocations(lines: str, kind: FaultKind) -> None:
    if "%u1" in lines:
        lines = "and.b32 %u1, %t, 96; shl.b32 %u1, %u1, 16;\n" + lines
    with pytest.raises(Fault) as raised:
        run_program(lines, CELLS)
    assert raised.value.kind is kind
