"""What a wave begins with. Source: LLVM, User Guide for AMDGPU Backend, initial kernel execution state."""

import numpy as np
import pytest

from porting.emulators.amdgcn import run
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Launch, Schedule
from tests.emulators.amdgcn.kernels import launch_of

GRID = (3, 2, 2)

# out[workgroup] = x | y << 8 | z << 16, by lane 0 of each workgroup
IDS_GFX9 = """
s_load_dwordx2 s[8:9], s[{arguments}], 0x0
s_lshl_b32 s10, s{y}, 8
s_or_b32 s10, s10, s{x}
s_lshl_b32 s11, s{z}, 16
s_or_b32 s10, s10, s11
s_mul_i32 s12, s{z}, 6
s_mul_i32 s13, s{y}, 3
s_add_i32 s12, s12, s13
s_add_i32 s12, s12, s{x}
v_mov_b32_e32 v1, s10
v_lshlrev_b32_e64 v2, 2, s12
v_cmp_eq_u32_e32 vcc, 0, v0
s_and_saveexec_b64 s[14:15], vcc
s_waitcnt lgkmcnt(0)
global_store_dword v2, v1, s[8:9]
s_endpgm
"""

IDS_GFX12 = """
s_load_b64 s[8:9], s[0:1], 0x0
s_and_b32 s4, ttmp7, 0xffff
s_lshr_b32 s5, ttmp7, 16
s_lshl_b32 s10, s4, 8
s_or_b32 s10, s10, ttmp9
s_lshl_b32 s11, s5, 16
s_or_b32 s10, s10, s11
s_mul_i32 s12, s5, 6
s_mul_i32 s13, s4, 3
s_add_co_i32 s12, s12, s13
s_add_co_i32 s12, s12, ttmp9
v_mov_b32_e32 v1, s10
v_lshlrev_b32_e64 v2, 2, s12
v_cmp_eq_u32_e32 vcc_lo, 0, v0
s_and_saveexec_b32 s14, vcc_lo
s_wait_kmcnt 0x0
global_store_b32 v2, v1, s[8:9]
s_endpgm
"""
EXPECTED = [x | y << 8 | z << 16 for z in range(2) for y in range(2) for x in range(3)]
THREE = {"system_sgpr_workgroup_id_z": 1}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("warps", [1, 2])
def test_ids_follow_the_user_registers_on_gfx9(reverse: bool, warps: int) -> None:
    body = IDS_GFX9.format(arguments="0:1", x=2, y=3, z=4)
    out = np.zeros(12, np.uint32)

    run(launch_of("gfx950", body, [out], warps, GRID, descriptor=THREE), Schedule(reverse=reverse))

    assert out.tolist() == EXPECTED


def test_user_registers_come_in_the_order_of_the_abi() -> None:
    body = IDS_GFX9.format(arguments="4:5", x=16, y=17, z=18)
    enabled = {"user_sgpr_dispatch_ptr": 1, "user_sgpr_queue_ptr": 1, "user_sgpr_count": 16, **THREE}
    out = np.zeros(12, np.uint32)

    run(launch_of("gfx950", body, [out], 1, GRID, descriptor=enabled), Schedule())

    assert out.tolist() == EXPECTED


@pytest.mark.parametrize("target", ["gfx1250", "gfx1201"])
def test_ids_are_in_trap_registers_on_gfx12(target: str) -> None:
    out = np.zeros(12, np.uint32)

    run(launch_of(target, IDS_GFX12, [out], 1, GRID), Schedule())

    assert out.tolist() == EXPECTED


def test_the_wave_of_a_workgroup_is_in_a_trap_register_on_gfx12() -> None:
    body = """
    s_load_b64 s[8:9], s[0:1], 0x0
    s_bfe_u32 s4, ttmp8, 0x50019
    v_mov_b32_e32 v1, s4
    v_lshlrev_b32_e32 v2, 2, v0
    s_wait_kmcnt 0x0
    global_store_b32 v2, v1, s[8:9]
    s_endpgm
    """
    out = np.zeros(96, np.uint32)

    run(launch_of("gfx1201", body, [out], warps=3), Schedule())

    assert out.tolist() == [thread // 32 for thread in range(96)]


# out[lane] = second argument, from its place in the segment
SECOND = """
s_load_dwordx2 s[8:9], s[0:1], 0x0
s_load_dword s10, s[0:1], {offset}
v_lshlrev_b32_e32 v2, 2, v0
s_waitcnt lgkmcnt(0)
v_mov_b32_e32 v1, s10
global_store_dword v2, v1, s[8:9]
s_endpgm
"""


def changed(launch: Launch, **values: object) -> Launch:
    return Launch(**{**launch.__dict__, **values})


def test_hidden_arguments_tell_how_the_kernel_was_launched() -> None:
    hidden = [("hidden_block_count_x", 4), ("hidden_block_count_y", 4), ("hidden_group_size_x", 2)]
    for offset, value in (("0x8", 5), ("0xc", 7), ("0x10", 128 | 0xFFFF << 16)):
        out = np.zeros(128, np.uint32)
        body = SECOND.format(offset=offset)
        launch = launch_of("gfx950", body, [out], 2, (5, 7, 1), hidden=[*hidden, ("hidden_heap_v1", 8)])
        run(changed(launch, grid=(5, 7, 1)), Schedule())
        # Past the last two-byte argument lies padding.
        assert set((out & (0xFFFF if offset == "0x10" else 0xFFFFFFFF)).tolist()) == {value & 0xFFFF}


def test_other_hidden_arguments_are_no_addresses() -> None:
    body = "s_load_dwordx2 s[8:9], s[0:1], 0x8\ns_waitcnt lgkmcnt(0)\ns_load_dword s10, s[8:9], 0x0\ns_endpgm"
    launch = launch_of("gfx950", body, [np.zeros(4, np.uint32)], hidden=[("hidden_heap_v1", 8)])

    with pytest.raises(Fault) as caught:
        run(launch, Schedule())
    assert caught.value.kind is FaultKind.OUT_OF_BOUNDS


def test_arguments_must_be_as_the_text_says() -> None:
    launch = launch_of("gfx950", "s_endpgm", [np.zeros(4, np.uint32)])

    with pytest.raises(Fault, match="2 arguments for 1 parameters"):
        run(changed(launch, arguments=(*launch.arguments, bytes(4))), Schedule())
    with pytest.raises(Fault, match="argument 0 has 4 bytes, its parameter 8"):
        run(changed(launch, arguments=(bytes(4),)), Schedule())
