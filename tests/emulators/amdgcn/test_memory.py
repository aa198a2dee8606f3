import numpy as np
import pytest

from porting.emulators.amdgcn.memory import MASKED, GlobalMemory, LocalMemory, ScratchMemory
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer

ONE = np.zeros(1, np.int64)


def addresses(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def buffer(address: int, size: int, name: str = "x") -> Buffer:
    return Buffer(name, address, np.arange(size, dtype=np.int64).astype(np.uint8))


@pytest.mark.parametrize("size", [1, 2, 4, 8, 12, 16])
def test_reads_are_little_endian_words_of_each_lane(size: int) -> None:
    memory = GlobalMemory([buffer(0x1000, 64)])

    words = memory.read(addresses(0x1000, 0x1010), None, size)

    content = np.arange(64, dtype=np.uint8).tobytes()
    for lane, start in enumerate((0, 16)):
        expected = content[start : start + size].ljust(max(size, 4), b"\0")
        assert words[:, lane].tobytes() == expected


def test_writes_reach_the_buffer_when_they_are_given_back() -> None:
    target = buffer(0x1000, 16)
    memory = GlobalMemory([target])
    memory.write(addresses(0x1004), None, np.array([[0xAABBCCDD]], np.uint32), 4)

    assert target.content[4] == 4
    memory.give_back()
    assert target.content[4:8].tolist() == [0xDD, 0xCC, 0xBB, 0xAA]


def test_masked_lanes_touch_nothing() -> None:
    memory = GlobalMemory([buffer(0x1000, 16)])
    mask = np.array([True, False])

    words = memory.read(addresses(0x1000, 0xDEAD0000), mask, 4)
    memory.write(addresses(0x1000, 0xDEAD0000), mask, np.array([[7, 8]], np.uint32), 4)

    assert words[0].tolist() == [0x03020100, 0]


def test_one_access_may_reach_several_buffers() -> None:
    memory = GlobalMemory([buffer(0x9000, 16), buffer(0x1000, 16)])

    assert memory.read(addresses(0x9004, 0x1000), None, 4)[0].tolist() == [0x07060504, 0x03020100]


@pytest.mark.parametrize("address", [0xFFC, 0x1000 + 14, 0x1000 + 16, 0x5000])
def test_beside_a_buffer_is_out_of_bounds(address: int) -> None:
    memory = GlobalMemory([buffer(0x1000, 16, "weights")])

    with pytest.raises(Fault, match="'weights' of 16 bytes") as caught:
        memory.read(addresses(address & ~3), None, 4 if address % 4 == 0 else 8)

    assert caught.value.kind is FaultKind.OUT_OF_BOUNDS


def test_a_launch_without_buffers_has_no_memory() -> None:
    with pytest.raises(Fault, match="no buffers"):
        GlobalMemory([]).read(addresses(0), None, 4)


def test_misaligned_access() -> None:
    memory = GlobalMemory([buffer(0x1000, 16)])

    with pytest.raises(Fault, match="0x1002") as caught:
        memory.read(addresses(0x1002), None, 4)

    assert caught.value.kind is FaultKind.MISALIGNED


def test_buffers_may_begin_anywhere_but_not_overlap() -> None:
    memory = GlobalMemory([buffer(0x1003, 5)])

    assert memory.read(addresses(0x1004), None, 4)[0].tolist() == [0x04030201]
    with pytest.raises(Fault, match="overlaps"):
        GlobalMemory([buffer(0x1000, 16), buffer(0x1008, 16)])


def read_local(local: LocalMemory, *places: int) -> list[int]:
    at = addresses(*places)[None]
    return [int(word) for word in local.read(at, np.ones(at.shape, bool), 4, ONE, ONE)[0, 0]]


def write_local(local: LocalMemory, value: int, *places: int, group: int = 0) -> None:
    at = addresses(*places)[None]
    data = np.full((1, 1, len(places)), value, np.uint32)
    local.write(at, np.ones(at.shape, bool), data, 4, ONE + group, ONE)


def test_local_memory_is_of_one_workgroup() -> None:
    local = LocalMemory(2, 64, 1, check=True)
    write_local(local, 5, 0, 60)
    write_local(local, 6, 0, 60, group=1)

    assert read_local(local, 60, 0) == [5, 5]


@pytest.mark.parametrize("place", [64, 0x10000, MASKED - 4])
def test_past_the_end_of_local_memory(place: int) -> None:
    with pytest.raises(Fault, match="LDS address") as caught:
        write_local(LocalMemory(1, 64, 1, check=True), 5, place)

    assert caught.value.kind is FaultKind.OUT_OF_BOUNDS


def test_compilers_mask_lanes_by_an_address_far_out() -> None:
    local = LocalMemory(1, 64, 1, check=True)
    write_local(local, 5, 0x7FFFFFFF, 0)

    assert read_local(local, 0x7FFFFFFF, 0) == [0, 5]


def test_scratch_is_of_each_lane() -> None:
    scratch = ScratchMemory(1, 2, 8)
    lanes = np.ones((1, 2), bool)
    first = scratch.locate(addresses(0, 0)[None], lanes, 8)

    assert len(set(first.tolist())) == 2
    with pytest.raises(Fault, match="scratch byte 4 of 8"):
        scratch.locate(addresses(0, 4)[None], lanes, 8)


@pytest.mark.parametrize(
    ("stride", "size", "banks", "extra"),
    [
        (4, 4, 32, 0),  # each lane another bank
        (8, 4, 32, 1),  # every second bank: two turns
        (128, 4, 32, 31),  # one bank
        (0, 4, 32, 0),  # one word for all: broadcast
        (16, 16, 32, 0),  # eight lanes fill the banks once
        (256, 4, 64, 31),
    ],
)
def test_bank_conflicts_are_turns_beyond_the_least(stride: int, size: int, banks: int, extra: int) -> None:
    local = LocalMemory(1, 1 << 16, 1, check=True)
    at = (np.arange(32) * stride)[None]

    assert local.conflicts(at, np.ones(at.shape, bool), size, banks) == extra


def test_inactive_lanes_conflict_with_nothing() -> None:
    local = LocalMemory(1, 1 << 16, 1, check=True)
    at = (np.arange(32) * 128)[None]

    assert local.conflicts(at, np.arange(32)[None] == 3, 4, 32) == 0
