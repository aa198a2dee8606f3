"""Whole kernels: schedules, barriers, branches, and every kind of fault, which names its line and source line."""

import numpy as np
import pytest

from porting.emulators.amdgcn import machine, run, undecoded
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Counts, Launch, Schedule
from tests.emulators.amdgcn.kernels import launch_of

EVERY = [Schedule(lazy, reverse) for lazy in (False, True) for reverse in (False, True)]
SCHEDULES = pytest.mark.parametrize("schedule", EVERY, ids=lambda each: f"lazy={each.lazy},reverse={each.reverse}")

# out[64 * workgroup + lane] = out[...] + 1, of one wave of 64 lanes a workgroup
INCREMENT = """
s_load_dwordx2 s[4:5], s[0:1], 0x0
v_lshl_or_b32 v1, s2, 6, v0
v_lshlrev_b32_e32 v1, 2, v1
s_waitcnt lgkmcnt(0)
global_load_dword v2, v1, s[4:5]
.loc 1 12 0
s_waitcnt vmcnt(0)
v_add_u32_e32 v2, 1, v2
global_store_dword v1, v2, s[4:5]
s_endpgm
"""

# Two waves exchange their lanes through LDS: out[thread] = thread ^ 64.
EXCHANGE = """
s_load_dwordx2 s[4:5], s[0:1], 0x0
v_lshlrev_b32_e32 v1, 2, v0
ds_write_b32 v1, v0
s_waitcnt lgkmcnt(0)
s_barrier
v_xor_b32_e32 v2, 0x100, v1
ds_read_b32 v3, v2
s_waitcnt lgkmcnt(0)
global_store_dword v1, v3, s[4:5]
s_endpgm
"""

EXCHANGE_GFX12 = """
s_load_b64 s[4:5], s[0:1], 0x0
v_lshlrev_b32_e32 v1, 2, v0
ds_store_b32 v1, v0
s_wait_dscnt 0x0
s_barrier_signal -1
s_barrier_wait -1
v_xor_b32_e32 v2, 0x80, v1
ds_load_b32 v3, v2
s_wait_dscnt 0x0
s_wait_kmcnt 0x0
global_store_b32 v1, v3, s[4:5]
s_endpgm
"""


def execute(launch: Launch, schedule: Schedule = Schedule()) -> Counts:  # noqa: B008 - frozen
    return run(launch, schedule)


def without(body: str, line: str) -> str:
    assert line in body
    return body.replace(line, "s_nop 0", 1)


def catch(launch: Launch, schedule: Schedule = Schedule()) -> Fault:  # noqa: B008 - frozen
    with pytest.raises(Fault) as caught:
        run(launch, schedule)
    return caught.value


@SCHEDULES
def test_every_workgroup_runs_once(schedule: Schedule) -> None:
    out = np.arange(64 * 70, dtype=np.uint32)

    counts = execute(launch_of("gfx950", INCREMENT, [out], grid=(70, 1, 1)), schedule)

    assert out.tolist() == list(range(1, 64 * 70 + 1))
    assert counts.instructions["v_add_u32_e32"] == 70
    assert counts.steps == 70 * 9
    assert counts.bytes_read["global"] == counts.bytes_written["global"] == 4 * 64 * 70


@SCHEDULES
def test_waves_meet_at_a_barrier(schedule: Schedule) -> None:
    out = np.zeros(128, np.uint32)

    counts = execute(launch_of("gfx942", EXCHANGE, [out], warps=2, shared=512), schedule)

    assert out.tolist() == [thread ^ 64 for thread in range(128)]
    assert counts.bytes_read["shared"] == counts.bytes_written["shared"] == 512
    assert counts.bank_conflicts == 0


@SCHEDULES
def test_waves_meet_at_a_split_barrier(schedule: Schedule) -> None:
    out = np.zeros(64, np.uint32)

    execute(launch_of("gfx1250", EXCHANGE_GFX12, [out], warps=2, shared=256), schedule)

    assert out.tolist() == [thread ^ 32 for thread in range(64)]


@pytest.mark.parametrize(
    ("line", "kind", "named"),
    [
        ("s_waitcnt lgkmcnt(0)\ns_barrier", FaultKind.RACE, "ds_read_b32 v3, v2"),
        ("s_barrier", FaultKind.RACE, "ds_read_b32 v3, v2"),
        ("s_waitcnt lgkmcnt(0)\nglobal", FaultKind.PENDING, "global_store_dword v1, v3, s[4:5]"),
    ],
)
def test_what_is_deleted_is_missed(line: str, kind: FaultKind, named: str) -> None:
    kept = line.splitlines()[1] if "\n" in line else ""
    body = EXCHANGE.replace(line, "s_nop 0\n" + kept, 1)

    fault = catch(launch_of("gfx942", body, [np.zeros(128, np.uint32)], warps=2, shared=512))

    assert (fault.kind, fault.instruction) == (kind, named)


def test_a_register_that_a_load_will_still_write_names_producer_and_consumer() -> None:
    launch = launch_of("gfx950", without(INCREMENT, "s_waitcnt vmcnt(0)"), [np.zeros(64, np.uint32)])

    fault = catch(launch)

    assert fault.kind is FaultKind.PENDING
    assert fault.instruction == "v_add_u32_e32 v2, 1, v2"
    assert fault.source_line == 12
    assert "v2 is still to be written by line" in fault.detail
    assert "global_load_dword v2, v1, s[4:5]" in fault.detail
    assert "vmcnt" in fault.detail


def test_without_laziness_a_missing_wait_is_not_seen() -> None:
    out = np.zeros(64, np.uint32)

    execute(launch_of("gfx950", without(INCREMENT, "s_waitcnt vmcnt(0)"), [out]), Schedule(lazy=False))

    assert (out == 1).all()


def test_past_the_end_of_a_buffer() -> None:
    fault = catch(launch_of("gfx950", INCREMENT, [np.zeros(63, np.uint32)]))

    assert fault.kind is FaultKind.OUT_OF_BOUNDS
    assert fault.instruction == "global_load_dword v2, v1, s[4:5]"
    assert "'array 0' of 252 bytes" in fault.detail


def test_after_a_fault_the_buffers_are_as_they_were() -> None:
    out = np.zeros(64 * 3 + 1, np.uint32)
    catch(launch_of("gfx950", INCREMENT, [out], grid=(4, 1, 1)))

    assert not out.any()


def test_a_register_that_nothing_wrote() -> None:
    fault = catch(launch_of("gfx950", "v_add_u32_e32 v1, v7, v0\ns_endpgm", [np.zeros(1, np.uint32)]))

    assert (fault.kind, fault.instruction) == (FaultKind.UNINITIALISED, "v_add_u32_e32 v1, v7, v0")
    assert "v7 that no instruction wrote" in fault.detail


def test_an_undefined_value_may_be_moved_but_not_used() -> None:
    moved = "v_mov_b32_e32 v1, v7\n"
    execute(launch_of("gfx950", f"{moved}s_endpgm", [np.zeros(1, np.uint32)]))

    fault = catch(launch_of("gfx950", f"{moved}v_add_u32_e32 v2, v1, v1\ns_endpgm", [np.zeros(1, np.uint32)]))
    assert "v1 that no instruction wrote" in fault.detail


def test_unchecked_runs_look_for_neither_races_nor_undefined_registers() -> None:
    schedule = Schedule(lazy=False, check=False)
    execute(launch_of("gfx950", "v_add_u32_e32 v1, v7, v0\ns_endpgm", [np.zeros(1, np.uint32)]), schedule)
    launch = launch_of("gfx942", without(EXCHANGE, "s_barrier"), [np.zeros(128, np.uint32)], warps=2, shared=512)
    execute(launch, schedule)


def test_an_unknown_instruction_faults_when_it_is_executed() -> None:
    jumped = "s_branch .LBB0_1\ns_getpc_b64 s[4:5]\n.LBB0_1:\ns_endpgm"
    launch = launch_of("gfx950", jumped, [np.zeros(1, np.uint32)])
    execute(launch)

    assert undecoded(launch.text, "hip:gfx950") == ("s_getpc_b64 s[4:5]: mnemonic s_getpc_b64",)
    fault = catch(launch_of("gfx950", "s_getpc_b64 s[4:5]\ns_endpgm", [np.zeros(1, np.uint32)]))
    assert (fault.kind, fault.instruction) == (FaultKind.UNKNOWN, "s_getpc_b64 s[4:5]")


def test_an_unknown_modifier_is_unknown() -> None:
    text = "v_mad_u32_u24 v1, v0, v0, v0 clamp"
    launch = launch_of("gfx950", f"{text}\ns_endpgm", [np.zeros(1, np.uint32)])

    assert undecoded(launch.text, "hip:gfx950") == (f"{text}: modifier clamp of v_mad_u32_u24",)
    assert catch(launch).kind is FaultKind.UNKNOWN


def test_all_of_a_known_text_is_decoded() -> None:
    launch = launch_of("gfx942", EXCHANGE, [np.zeros(128, np.uint32)], warps=2, shared=512)

    assert undecoded(launch.text, "hip:gfx942") == ()


def test_a_text_of_another_processor_is_refused() -> None:
    launch = launch_of("gfx950", INCREMENT, [np.zeros(64, np.uint32)])

    with pytest.raises(Fault, match="gfx950, the launch for gfx942"):
        run(Launch(**{**launch.__dict__, "architecture": "hip:gfx942"}), Schedule())


# Waves 0 and 1 go other ways, and add 10 or 20; lanes of each wave loop lane % 4 + 1 times.
DIVERGING = """
s_load_dwordx2 s[4:5], s[0:1], 0x0
v_mov_b32_e32 v5, 0
v_lshrrev_b32_e32 v3, 6, v0
v_readfirstlane_b32 s6, v3
s_cmp_eq_u32 s6, 0
s_cbranch_scc1 .LBB0_2
v_add_u32_e32 v5, 20, v5
s_branch .LBB0_3
.LBB0_2:
v_add_u32_e32 v5, 10, v5
.LBB0_3:
v_and_b32_e32 v4, 3, v0
s_mov_b32 s7, 0
.LBB0_4:
v_add_u32_e32 v5, 1, v5
v_cmp_lt_u32_e32 vcc, s7, v4
s_add_i32 s7, s7, 1
s_and_b64 exec, exec, vcc
s_cbranch_execnz .LBB0_4
s_mov_b64 exec, -1
v_lshlrev_b32_e32 v1, 2, v0
s_waitcnt lgkmcnt(0)
global_store_dword v1, v5, s[4:5]
s_endpgm
"""


@SCHEDULES
def test_waves_that_branch_differently_meet_again(schedule: Schedule) -> None:
    out = np.zeros(192, np.uint32)

    execute(launch_of("gfx950", DIVERGING, [out], warps=3), schedule)

    assert out.tolist() == [(10 if thread < 64 else 20) + thread % 4 + 1 for thread in range(192)]


WAVE_OF_TWO = """
v_lshrrev_b32_e32 v3, 6, v0
v_readfirstlane_b32 s6, v3
s_cmp_eq_u32 s6, 0
s_cbranch_scc1 .LBB0_2
{other}
.LBB0_2:
s_barrier
s_endpgm
"""


def test_a_wave_that_has_ended_holds_up_no_barrier() -> None:
    execute(launch_of("gfx950", WAVE_OF_TWO.format(other="s_endpgm"), [np.zeros(1, np.uint32)], warps=2))


def test_waves_at_different_barriers() -> None:
    body = WAVE_OF_TWO.format(other="s_barrier\ns_endpgm")

    fault = catch(launch_of("gfx950", body, [np.zeros(1, np.uint32)], warps=2))

    assert fault.kind is FaultKind.DIVERGENT
    assert "s_barrier" in fault.detail


def test_waiting_without_having_signalled() -> None:
    fault = catch(launch_of("gfx1250", "s_barrier_wait -1\ns_endpgm", [np.zeros(1, np.uint32)]))

    assert fault.kind is FaultKind.MISUSE


def test_running_past_the_end() -> None:
    fault = catch(launch_of("gfx950", "s_nop 0", [np.zeros(1, np.uint32)]))

    assert fault.kind is FaultKind.MISUSE


def test_a_loop_without_an_end_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LONGEST", 1000)
    body = ".LBB0_1:\ns_nop 0\ns_branch .LBB0_1"

    assert catch(launch_of("gfx950", body, [np.zeros(1, np.uint32)])).kind is FaultKind.DEADLOCK


def test_upper_register_bits_must_be_what_the_mode_says() -> None:
    chosen = "s_set_vgpr_msb 0x40\nv_mov_b32_e32 v1, v0\ns_endpgm"
    launch = launch_of("gfx1250", chosen, [np.zeros(1, np.uint32)])

    fault = catch(launch)
    assert (fault.kind, fault.instruction) == (FaultKind.MISUSE, "v_mov_b32_e32 v1, v0")
    told = launch.text.replace("v_mov_b32_e32 v1, v0", "v_mov_b32_e32 v1 /*v257*/, v0")
    execute(Launch(**{**launch.__dict__, "text": told}))
