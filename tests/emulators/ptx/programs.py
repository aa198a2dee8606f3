"""Whole small programs around asynchronous instructions: memory, a barrier, tensor memory, and who waits for what."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators import Schedule
from porting.emulators.ptx import run
from tests.emulators.ptx.snippets import kernel_text, launch_of

SCHEDULES = (Schedule(), Schedule(lazy=False), Schedule(reverse=True))
HEAD = """.reg .b64 %base, %at, %wide<8>; .reg .b32 %t, %s, %u<8>; .reg .pred %first, %done, %warp0, %no, %yes;
ld.param.b64 %base, [kernel_param_0]; mov.u32 %t, %tid.x; mov.u32 %s, global_smem;
setp.eq.u32 %first, %t, 0; setp.lt.u32 %warp0, %t, 32; setp.ne.u32 %no, %t, %t; setp.eq.u32 %yes, %t, %t;"""
"""%base: the memory; %s: shared memory; %t: the thread."""


def run_program(
    lines: str,
    memory: npt.NDArray[Any],
    *,
    threads: int = 128,
    shared: int = 1024,
    schedule: Schedule | None = None,
    architecture: str = "cuda:100",
) -> npt.NDArray[np.uint8]:
    """Run lines over memory at %base; what is in it afterwards."""
    content = np.ascontiguousarray(memory).view(np.uint8).ravel().copy()
    launch = launch_of(kernel_text([HEAD, lines], 1, threads), threads, content, shared)
    run(replace(launch, architecture=architecture), schedule or Schedule())
    return content


def in_every_schedule(lines: str, memory: npt.NDArray[Any], **others: Any) -> npt.NDArray[np.uint8]:
    """As `run_program`; the schedules must agree."""
    results = [run_program(lines, memory, schedule=schedule, **others) for schedule in SCHEDULES]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    return results[0]


def wait_for(place: int, parity: int, label: str) -> str:
    """Lines that wait for a phase of the mbarrier at that offset of shared memory."""
    return (
        f"{label}: mbarrier.try_wait.parity.shared::cta.b64 %done, [%s+{place}], {parity};\n@!%done bra.uni {label};\n"
    )


def copy_in(source: int, target: int, size: int, threads: int = 128) -> str:
    """Lines by which all threads copy bytes of memory to shared memory, 16 at a time."""
    lines = ["{ .reg .b64 %from; .reg .b32 %to, %x<4>;"]
    lines += ["mad.wide.u32 %from, %t, 16, %base; mad.lo.u32 %to, %t, 16, %s;"]
    for offset in range(0, size, 16 * threads):
        here = "" if size - offset >= 16 * threads else f"@%part{offset} "
        if here:
            lines += [f".reg .pred %part{offset}; setp.lt.u32 %part{offset}, %t, {(size - offset) // 16};"]
        lines += [
            f"{here}ld.global.v4.b32 {{%x0, %x1, %x2, %x3}}, [%from+{source + offset}];",
            f"{here}st.shared.v4.b32 [%to+{target + offset}], {{%x0, %x1, %x2, %x3}};",
        ]
    return "\n".join([*lines, "}"])


def copy_out(source: int, target: int, size: int, threads: int = 128) -> str:
    """Lines by which all threads copy bytes of shared memory to memory, 16 at a time."""
    lines = ["{ .reg .b64 %into; .reg .b32 %of, %x<4>;"]
    lines += ["mad.wide.u32 %into, %t, 16, %base; mad.lo.u32 %of, %t, 16, %s;"]
    for offset in range(0, size, 16 * threads):
        lines += [
            f"ld.shared.v4.b32 {{%x0, %x1, %x2, %x3}}, [%of+{source + offset}];",
            f"st.global.v4.b32 [%into+{target + offset}], {{%x0, %x1, %x2, %x3}};",
        ]
    return "\n".join([*lines, "}"])


def registers(count: int) -> str:
    """The names of so many registers %v."""
    return "{" + ", ".join(f"%v{number}" for number in range(count)) + "}"


def fours(first: int) -> str:
    """The names of four registers %v."""
    return "{" + ", ".join(f"%v{number}" for number in range(first, first + 4)) + "}"


def load_cells(source: int, columns: int, target: str = "%tm") -> str:
    """Lines that fill tensor memory's 128 lanes and first columns with (128, columns) words of memory, and wait."""
    names = [f"ld.global.v4.b32 {fours(column)}, [%mine+{source + 4 * column}];" for column in range(0, columns, 4)]
    return "\n".join(
        [
            f"{{ .reg .b64 %mine; .reg .b32 %v<{columns}>, %lane; mad.wide.u32 %mine, %t, {4 * columns}, %base;",
            f"and.b32 %lane, %t, 96; shl.b32 %lane, %lane, 16; add.u32 %lane, %lane, {target};",
            *names,
            f"tcgen05.st.sync.aligned.32x32b.x{columns}.b32 [%lane], {registers(columns)};",
            "tcgen05.wait::st.sync.aligned;",
            "}",
        ]
    )


def store_cells(target: int, columns: int, source: str = "%tm") -> str:
    """Lines that copy the 128 lanes and first columns of tensor memory to memory, as (128, columns) words."""
    return "\n".join(
        [
            f"{{ .reg .b64 %mine; .reg .b32 %v<{columns}>, %lane; mad.wide.u32 %mine, %t, {4 * columns}, %base;",
            f"and.b32 %lane, %t, 96; shl.b32 %lane, %lane, 16; add.u32 %lane, %lane, {source};",
            f"tcgen05.ld.sync.aligned.32x32b.x{columns}.b32 {registers(columns)}, [%lane];",
            "tcgen05.wait::ld.sync.aligned;",
            *(f"st.global.v4.b32 [%mine+{target + 4 * column}], {fours(column)};" for column in range(0, columns, 4)),
            "}",
        ]
    )


def with_tensor_memory(lines: str, columns: int = 128, slot: int = 0) -> str:
    """Lines between an allocation, in %tm, and its end."""
    return f""".reg .b32 %tm;
@%warp0 tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%s+{slot}], {columns};
@%warp0 tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;
bar.sync 0;
ld.shared.b32 %tm, [%s+{slot}];
{lines}
bar.sync 0;
@%warp0 tcgen05.dealloc.cta_group::1.sync.aligned.b32 %tm, {columns};"""
