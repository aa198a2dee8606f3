"""Atomic operations, lane by lane. Sources: CDNA3 and RDNA4 instruction sets, atomic operations."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from porting.emulators.amdgcn import run
from porting.emulators.amdgcn.code import decode_text
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer, Schedule
from tests.emulators.amdgcn.bench import execute, lanes_of
from tests.emulators.amdgcn.elementwise import signed
from tests.emulators.amdgcn.kernels import launch_of

BASE = 0x10000
M = 0xFFFFFFFF
WORDS = (5, 0xFFFFFFF0, 0x80000000, 7)
"""What memory holds: lane L acts on word L % 4."""


def data_of(target: str) -> Any:
    return (lanes_of(target) * np.uint32(0x1D0F3B57)) ^ np.uint32(0x80000001)


def expect(function: Callable[[int, int], int], data: Any) -> tuple[list[int], list[int]]:
    """(what each lane finds, what memory holds at last)."""
    memory, found = list(WORDS), []
    for lane, value in enumerate(data):
        found.append(memory[lane % 4])
        memory[lane % 4] = function(memory[lane % 4], int(value)) & M
    return found, memory


FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "smin": lambda a, b: min(signed(a), signed(b)),
    "smax": lambda a, b: max(signed(a), signed(b)),
    "umin": min,
    "umax": max,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "swap": lambda a, b: b,
}
NEW_NAMES = {
    **{"add": "add_u32", "sub": "sub_u32", "smin": "min_i32", "smax": "max_i32", "umin": "min_u32", "umax": "max_u32"},
    **{"and": "and_b32", "or": "or_b32", "xor": "xor_b32", "swap": "swap_b32"},
}


@pytest.mark.parametrize("target", ["gfx942", "gfx1201"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_global_memory(target: str, name: str) -> None:
    gfx9 = target == "gfx942"
    memory = Buffer("x", BASE, np.array(WORDS, np.uint32).view(np.uint8))
    data = data_of(target)
    spelled, gives_back = (name, "sc0") if gfx9 else (NEW_NAMES[name], "th:TH_ATOMIC_RETURN")
    text = f"global_atomic_{spelled} v2, v0, v1, s[0:1] {gives_back}"

    waves = execute(target, text, {0: lanes_of(target) % 4 * 4, 1: data}, {0: BASE, 1: 0}, buffers=[memory])

    found, left = expect(FUNCTIONS[name], data)
    assert waves.u32[2][0].tolist() == found
    assert memory.content.view(np.uint32).tolist() == left


@pytest.mark.parametrize("target", ["gfx950", "gfx1250"])
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "swap"])
def test_local_memory(target: str, name: str) -> None:
    data = data_of(target)
    spelled = NEW_NAMES[name]
    plain, _, kind = spelled.rpartition("_")
    vectors = {0: lanes_of(target) % 4 * 4, 1: data}

    waves = execute(target, f"ds_{plain}_rtn_{kind} v2, v0, v1", vectors, lds=np.array(WORDS, np.uint32).view(np.uint8))
    found, left = expect(FUNCTIONS[name], data)
    assert waves.u32[2][0].tolist() == found
    assert waves.local.bytes.u32[:4].tolist() == left

    waves = execute(target, f"ds_{spelled} v0, v1", vectors, lds=np.array(WORDS, np.uint32).view(np.uint8))
    assert waves.local.bytes.u32[:4].tolist() == left


def test_wide_sums_carry() -> None:
    memory = Buffer("x", BASE, np.array([M], np.uint64).view(np.uint8))
    vectors = {0: 0, 2: np.ones(64, np.uint32), 3: np.zeros(64, np.uint32)}

    execute("gfx950", "global_atomic_add_x2 v0, v[2:3], s[0:1]", vectors, {0: BASE, 1: 0}, buffers=[memory])

    assert memory.content.view(np.uint64)[0] == M + 64


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("gfx942", "global_atomic_cmpswap v4, v0, v[2:3], s[0:1] sc0"),
        ("gfx1250", "global_atomic_cmpswap_b32 v4, v0, v[2:3], s[0:1] th:TH_ATOMIC_RETURN"),
    ],
)
def test_one_lane_takes_a_lock(target: str, text: str) -> None:
    memory = Buffer("lock", BASE, np.zeros(4, np.uint8))
    vectors = {0: 0, 2: lanes_of(target) + np.uint32(1), 3: 0}

    waves = execute(target, text, vectors, {0: BASE, 1: 0}, buffers=[memory])

    assert memory.content.view(np.uint32)[0] == 1
    assert waves.u32[4][0].tolist() == [0] + [1] * (len(lanes_of(target)) - 1)


@pytest.mark.parametrize(
    ("target", "text"),
    [("gfx942", "ds_cmpst_rtn_b32 v4, v0, v3, v2"), ("gfx1201", "ds_cmpstore_rtn_b32 v4, v0, v2, v3")],
)
def test_compare_and_store_in_lds(target: str, text: str) -> None:
    waves = execute(
        target, text, {0: 0, 2: np.uint32(9), 3: np.uint32(5)}, lds=np.array(WORDS, np.uint32).view(np.uint8)
    )

    assert waves.local.bytes.u32[0] == 9
    assert waves.u32[4][0].tolist() == [5] + [9] * (len(lanes_of(target)) - 1)


def test_floats_are_added_in_the_order_of_lanes() -> None:
    memory = Buffer("x", BASE, np.array([1.0], np.float32).view(np.uint8))
    data = np.where(lanes_of("gfx950") % 2 == 0, np.float32(2.0**-24), np.float32(1.0)).astype(np.float32)

    execute("gfx950", "global_atomic_add_f32 v0, v1, s[0:1]", {0: 0, 1: data}, {0: BASE, 1: 0}, buffers=[memory])

    total = np.float32(1.0)
    for value in data:
        total = np.float32(total + value)
    assert memory.content.view(np.float32)[0] == total


@pytest.mark.parametrize(("name", "dtype"), [("pk_add_f16", np.float16), ("pk_add_bf16", ml_dtypes.bfloat16)])
def test_packed_halves(name: str, dtype: Any) -> None:
    memory = Buffer("x", BASE, np.array([1.5, -2.0], dtype).view(np.uint8))
    data = np.array([0.25, 8.0], dtype).view(np.uint32)[0]

    execute("gfx950", f"global_atomic_{name} v0, v1, s[0:1]", {0: 0, 1: data}, {0: BASE, 1: 0}, 1, buffers=[memory])

    assert memory.content.view(dtype).astype(np.float32).tolist() == [1.75, 6.0]


def test_through_a_descriptor_the_data_is_replaced() -> None:
    memory = Buffer("x", BASE, np.array(WORDS, np.uint32).view(np.uint8))
    scalars = {4: BASE, 5: 0, 6: 8, 7: 0x27000}
    vectors = {0: lanes_of("gfx950") * 4, 1: np.uint32(3)}

    waves = execute("gfx950", "buffer_atomic_add v1, v0, s[4:7], 0 offen sc0", vectors, scalars, buffers=[memory])

    # Two lanes are within the records.
    assert memory.content.view(np.uint32).tolist() == [8, 0xFFFFFFF3, *WORDS[2:]]
    assert waves.u32[1][0, :4].tolist() == [5, 0xFFFFFFF0, 0, 0]


HISTOGRAM = """
s_load_dwordx2 s[4:5], s[0:1], 0x0
v_mov_b32_e32 v1, 0
v_mov_b32_e32 v2, 1
v_lshlrev_b32_e32 v3, 2, v0
ds_write_b32 v3, v1
s_waitcnt lgkmcnt(0)
s_barrier
v_and_b32_e32 v4, 12, v0
ds_add_u32 v4, v2
s_waitcnt lgkmcnt(0)
{barrier}
ds_read_b32 v5, v3
s_waitcnt lgkmcnt(0)
global_store_dword v3, v5, s[4:5]
s_endpgm
"""


@pytest.mark.parametrize("schedule", [Schedule(lazy, reverse) for lazy in (False, True) for reverse in (False, True)])
def test_waves_may_act_on_one_place(schedule: Schedule) -> None:
    out = np.zeros(128, np.uint32)

    run(launch_of("gfx950", HISTOGRAM.format(barrier="s_barrier"), [out], warps=2, shared=512), schedule)

    assert out.tolist() == [32, 32, 32, 32] + [0] * 124


def test_reading_what_another_wave_acts_on_is_a_race() -> None:
    launch = launch_of("gfx950", HISTOGRAM.format(barrier="s_nop 0"), [np.zeros(128, np.uint32)], warps=2, shared=512)

    with pytest.raises(Fault, match="changed since the last barrier") as caught:
        run(launch, Schedule())
    assert caught.value.kind is FaultKind.RACE


SPIN = """
s_load_dwordx4 s[4:7], s[0:1], 0x0
v_mov_b32_e32 v1, 0
v_mov_b32_e32 v2, 1
v_mov_b32_e32 v3, 0
v_cmp_eq_u32_e32 vcc, 0, v0
s_and_b64 exec, exec, vcc
s_waitcnt lgkmcnt(0)
.LBB0_1:
global_atomic_cmpswap v4, v1, v[2:3], s[4:5] sc0
s_waitcnt vmcnt(0)
v_readfirstlane_b32 s8, v4
s_cmp_lg_u32 s8, 0
s_cbranch_scc1 .LBB0_1
global_load_dword v5, v1, s[6:7]
s_waitcnt vmcnt(0)
v_add_u32_e32 v5, 1, v5
global_store_dword v1, v5, s[6:7]
s_waitcnt vmcnt(0)
global_atomic_swap v1, v3, s[4:5]
s_endpgm
"""


@pytest.mark.parametrize("schedule", [Schedule(lazy, reverse) for lazy in (False, True) for reverse in (False, True)])
def test_workgroups_may_wait_for_each_other_in_a_loop(schedule: Schedule) -> None:
    lock, total = np.zeros(1, np.uint32), np.zeros(1, np.uint32)

    run(launch_of("gfx950", SPIN, [lock, total], grid=(5, 1, 1)), schedule)

    assert (lock[0], total[0]) == (0, 5)


def test_registers_of_atomics_are_known() -> None:
    text = launch_of("gfx950", SPIN, [np.zeros(1, np.uint32)] * 2).text
    code = decode_text(text, "hip:gfx950")
    by_name = {each.mnemonic: code.touched[each.index] for each in code.instructions}

    assert by_name["global_atomic_cmpswap"].writes == {4}
    assert by_name["global_atomic_cmpswap"].reads == {1, 2, 3, -5, -6}
    assert by_name["global_atomic_swap"].writes == set()
