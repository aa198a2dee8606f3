"""A whole launch: the grid's programs, arguments, counts, and orders that give the same bits."""

import numpy as np
import pytest

from porting.emulators import Buffer, Fault, FaultKind, Launch, Schedule
from porting.emulators.ptx import run
from tests.emulators.ptx.snippets import kernel_text

TEXT = kernel_text(
    [
        ".reg .b32 %r<9>; .reg .b64 %to;",
        "ld.param.b64 %to, [kernel_param_0]; ld.param.b32 %r0, [kernel_param_1];",
        "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ctaid.y; mov.u32 %r3, %nctaid.x; mov.u32 %r4, %tid.x;",
        "mad.lo.s32 %r5, %r2, %r3, %r1; shl.b32 %r6, %r5, 5; add.s32 %r6, %r6, %r4; mad.wide.u32 %to, %r6, 4, %to;",
        "mad.lo.s32 %r7, %r5, 1000, %r0; st.shared.b32 [global_smem], %r7; ld.shared.b32 %r8, [global_smem];",
        "add.s32 %r8, %r8, %r4; st.global.b32 [%to], %r8;",
    ],
    1,
    32,
).replace("kernel_param_0\n)", "kernel_param_0,\n\t.param .u32 kernel_param_1\n)")


def launch(arguments: tuple[bytes, ...] | None = None) -> Launch:
    content = np.zeros(6 * 32 * 4, np.uint8)
    default = ((0x4000).to_bytes(8, "little"), (7).to_bytes(4, "little"))
    return Launch(TEXT, "cuda:90", (3, 2, 1), arguments or default, (Buffer("out", 0x4000, content),), 1, 16)


@pytest.mark.parametrize("schedule", [Schedule(), Schedule(lazy=False), Schedule(reverse=True), Schedule(check=False)])
def test_every_program_of_the_grid(schedule: Schedule) -> None:
    one = launch()
    counts = run(one, schedule)
    wanted = [1000 * program + 7 + thread for program in range(6) for thread in range(32)]
    assert one.buffers[0].content.view(np.uint32).tolist() == wanted
    assert counts.instructions["st.global.b32"] == 6
    assert counts.instructions["mov.u32"] == 24
    assert counts.steps == 6 * 16
    assert counts.bytes_written["global"] == 6 * 128


def test_a_program_finds_shared_memory_unwritten() -> None:
    """Also after one that wrote it."""
    lines = [".reg .b32 %r<2>; .reg .pred %p; mov.u32 %r0, %ctaid.x; setp.eq.s32 %p, %r0, 0;",
             "@%p st.shared.b32 [global_smem], 1; ld.shared.b32 %r1, [global_smem];"]  # fmt: skip
    one = Launch(kernel_text(lines, 0, 32), "cuda:90", (2, 1, 1), (), (), 1, 16)
    with pytest.raises(Fault) as raised:
        run(one, Schedule())
    assert raised.value.kind is FaultKind.UNINITIALISED


def test_arguments_must_fit() -> None:
    with pytest.raises(Fault, match="has 2 parameters, the launch 1"):
        run(launch(((0x4000).to_bytes(8, "little"),)), Schedule())
    with pytest.raises(Fault, match="kernel_param_1 has 4 bytes, not 8"):
        run(launch(((0x4000).to_bytes(8, "little"), bytes(8))), Schedule())


def test_an_endless_loop_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("porting.emulators.ptx.scheduler.MOST_TURNS", 1000)
    one = Launch(kernel_text(["again: bra again;"], 0, 32), "cuda:90", (1, 1, 1), (), (), 1, 0)
    with pytest.raises(Fault, match="no end after") as raised:
        run(one, Schedule())
    assert raised.value.kind is FaultKind.DEADLOCK
