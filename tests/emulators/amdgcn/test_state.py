"""Outstanding operations: which a wait completes, in which order, for which waves."""

import numpy as np
import pytest

from porting.emulators.amdgcn.memory import GlobalMemory, LocalMemory, ScratchMemory
from porting.emulators.amdgcn.operands import EXEC, NULL, VCC
from porting.emulators.amdgcn.state import Selection, Waves
from porting.emulators.amdgcn.targets import find_target
from porting.emulators.amdgcn.text import parse_instruction
from porting.emulators.faults import Fault, FaultKind

LOAD = parse_instruction("global_load_dword v1, v0, s[0:1]", 5, 2, 0)


class Recorded:
    """A batch of waves, and what has been carried out, in order."""

    def __init__(self, target: str = "gfx950", count: int = 2, lazy: bool = True) -> None:
        groups = np.zeros(count, np.int64)
        profile = find_target(target)
        memory, local = GlobalMemory([]), LocalMemory(1, 0, count, check=True)
        scratch = ScratchMemory(count, profile.lanes, 0)
        self.waves = Waves(profile, 4, groups, np.arange(count), memory, local, scratch, lazy)
        self.done: list[tuple[str, list[int] | None]] = []

    def issue(self, name: str, counter: str = "vmcnt", keys: tuple[int, ...] = (), ordered: bool = True) -> None:
        def carry_out(selection: Selection) -> None:
            self.done.append((name, None if selection is None else np.flatnonzero(selection).tolist()))

        self.waves.defer(counter, carry_out, LOAD, keys, ordered)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.done]

    def activate(self, *places: int) -> None:
        active = np.zeros(self.waves.count, bool)
        active[list(places)] = True
        self.waves.set_active(active if len(places) < self.waves.count else None)


def test_the_oldest_operations_complete() -> None:
    recorded = Recorded()
    for name in "abc":
        recorded.issue(name)
    recorded.waves.wait("vmcnt", 1)

    assert recorded.names == ["a", "b"]
    recorded.waves.wait("vmcnt", 1)
    assert recorded.names == ["a", "b"]


def test_an_eager_operation_completes_at_once() -> None:
    recorded = Recorded(lazy=False)
    recorded.issue("a", keys=(1,))

    assert recorded.names == ["a"]
    assert not recorded.waves.pending


def test_counters_are_waited_for_by_themselves() -> None:
    recorded = Recorded()
    recorded.issue("load", "vmcnt")
    recorded.issue("lds", "lgkmcnt")
    recorded.waves.wait("lgkmcnt", 0)

    assert recorded.names == ["lds"]


def test_registers_are_pending_until_their_operation_completes() -> None:
    recorded = Recorded()
    recorded.issue("a", keys=(1, 2))
    recorded.issue("b", keys=(2,))

    recorded.waves.wait("vmcnt", 1)
    assert recorded.waves.pending_keys == {2}
    recorded.waves.wait("vmcnt", 0)
    assert recorded.waves.pending_keys == set()


def test_a_full_counter_completes_the_oldest() -> None:
    recorded = Recorded()
    for number in range(65):
        recorded.issue(str(number))

    assert recorded.names == ["0", "1"]


def test_scalar_loads_may_be_the_last_of_all() -> None:
    recorded = Recorded()
    recorded.issue("scalar", "lgkmcnt", ordered=False)
    recorded.issue("lds 1", "lgkmcnt")
    recorded.issue("lds 2", "lgkmcnt")

    recorded.waves.wait("lgkmcnt", 1)
    assert recorded.names == ["lds 1"]
    recorded.waves.wait("lgkmcnt", 0)
    assert recorded.names == ["lds 1", "scalar", "lds 2"]


def test_stores_and_loads_of_one_wave_reach_memory_in_order() -> None:
    recorded = Recorded("gfx1201")
    recorded.issue("store", "storecnt")
    recorded.issue("load", "loadcnt")
    recorded.issue("later store", "storecnt")
    recorded.waves.wait("loadcnt", 0)

    assert recorded.names == ["store", "load"]


def test_only_the_waves_that_wait_complete() -> None:
    recorded = Recorded()
    recorded.issue("a", keys=(1,))
    recorded.activate(1)
    recorded.waves.wait("vmcnt", 0)

    assert recorded.done == [("a", [1])]
    assert recorded.waves.pending_keys == {1}
    recorded.activate(0, 1)
    recorded.waves.wait("vmcnt", 0)
    assert recorded.done == [("a", [1]), ("a", [0])]
    assert recorded.waves.pending_keys == set()


def test_a_wave_counts_its_own_operations_only() -> None:
    recorded = Recorded()
    recorded.issue("both")
    recorded.activate(0)
    recorded.issue("first")
    recorded.activate(0, 1)
    recorded.waves.wait("vmcnt", 1)

    # Wave 0 has two outstanding, wave 1 one.
    assert recorded.done == [("both", [0])]


def test_a_fault_of_an_operation_names_the_instruction_that_issued_it() -> None:
    recorded = Recorded()

    def fail(selection: Selection) -> None:
        raise Fault(FaultKind.OUT_OF_BOUNDS, "there")

    recorded.waves.defer("vmcnt", fail, LOAD)
    with pytest.raises(Fault) as caught:
        recorded.waves.drain()

    assert (caught.value.instruction, caught.value.line, caught.value.source_line) == (LOAD.text, 5, 2)


@pytest.mark.parametrize("target", ["gfx950", "gfx1201"])
def test_masks_are_bits_of_scalar_registers(target: str) -> None:
    waves = Recorded(target).waves
    lanes = np.arange(2 * waves.lanes).reshape(2, -1) % 3 == 0
    waves.put_bits(VCC, lanes)

    value = int(waves.s64[VCC][1]) & ((1 << waves.lanes) - 1)
    assert value == sum(1 << lane for lane in range(waves.lanes) if lanes[1, lane])
    assert (waves.bits(VCC) == lanes).all()


def test_exec_chooses_the_lanes_that_are_written() -> None:
    waves = Recorded("gfx950", 1).waves
    waves.put(1, np.zeros((1, 64), np.uint32))
    waves.put64(EXEC, 0b101)
    waves.put(1, np.full((1, 64), 7, np.uint32))

    assert np.flatnonzero(waves.u32[1][0]).tolist() == [0, 2]
    assert not waves.full


def test_waves_that_do_not_execute_keep_everything() -> None:
    recorded = Recorded()
    waves = recorded.waves
    waves.put(1, np.zeros((2, 64), np.uint32))
    waves.put32(4, np.array([1, 2], np.uint32))
    recorded.activate(0)
    waves.put(1, np.full((2, 64), 7, np.uint32))
    waves.put_block(2, np.full((1, 2, 64), 9, np.uint32))
    waves.put32(4, 5)
    waves.put_scc(np.array([True, True]))

    assert waves.u32[1][:, 0].tolist() == [7, 0]
    assert waves.u32[2][0, 0] == 9
    assert waves.u32[2][1, 0] != 9
    assert waves.s32[4].tolist() == [5, 2]
    assert waves.scc.tolist() == [True, False]


def test_null_stays_zero() -> None:
    waves = Recorded().waves
    waves.put32(NULL, 5)
    waves.put64(NULL, 5)

    assert waves.s64[NULL].tolist() == [0, 0]


def test_registers_may_be_seen_as_any_type() -> None:
    waves = Recorded("gfx950", 1).waves
    waves.put(0, np.full((1, 64), 0x3F80BEEF, np.uint32))

    assert waves.low16[0][0, 5] == 0xBEEF
    assert waves.high16[0][0, 5] == 0x3F80
    assert waves.i32[0][0, 5] == 0x3F80BEEF
    assert waves.f32[0][0, 5] == np.uint32(0x3F80BEEF).view(np.float32)
