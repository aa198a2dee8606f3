import numpy as np
import pytest

from porting.emulators.amdgcn.memory import LocalMemory
from porting.emulators.faults import Fault, FaultKind

SIZES = (1, 2, 4, 8, 16)


class Group:
    """One workgroup of some waves, that touch its memory one lane at a time, or all at once."""

    def __init__(self, waves: int = 12) -> None:
        self.waves = waves
        self.local = LocalMemory(1, 256, waves, check=True)
        self.zeros = np.zeros(1, np.int64)

    def write(self, wave: int, address: int, size: int, value: int = 0) -> None:
        data = np.full((max(size // 4, 1), 1, 1), value, np.uint32)
        mask = np.ones((1, 1), bool)
        self.local.write(np.array([[address]]), mask, data, size, self.zeros, np.array([wave]))

    def read(self, wave: int, address: int, size: int) -> None:
        self.local.read(np.array([[address]]), np.ones((1, 1), bool), size, self.zeros, np.array([wave]))

    def all_write(self, addresses: list[int], values: list[int], size: int = 4) -> None:
        """Wave w writes values[w] at addresses[w], in one step."""
        count = len(addresses)
        data = np.array(values, np.uint32).reshape(1, count, 1)
        groups, places = np.zeros(count, np.int64), np.arange(count)
        self.local.write(np.array(addresses)[:, None], np.ones((count, 1), bool), data, size, groups, places)

    def all_read(self, addresses: list[int], size: int = 4) -> None:
        count = len(addresses)
        groups, places = np.zeros(count, np.int64), np.arange(count)
        self.local.read(np.array(addresses)[:, None], np.ones((count, 1), bool), size, groups, places)


@pytest.mark.parametrize("size", SIZES)
def test_reading_what_nothing_wrote(size: int) -> None:
    group = Group()
    group.write(0, 0, size)
    with pytest.raises(Fault) as caught:
        group.read(0, 0, 2 * size)

    assert caught.value.kind is FaultKind.UNINITIALISED
    assert f"{size:#x}" in caught.value.detail


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("second", [1, 7, 8, 11])
def test_reading_what_another_wave_wrote(size: int, second: int) -> None:
    group = Group()
    group.write(0, 32, size)
    with pytest.raises(Fault, match=f"wave {second} reads LDS byte 0x20 that wave 0 wrote") as caught:
        group.read(second, 32, size)

    assert caught.value.kind is FaultKind.RACE


def test_the_byte_that_two_waves_touch_is_named() -> None:
    group = Group()
    group.write(0, 0, 16)
    group.local.barrier(0)
    group.write(3, 6, 1, 1)
    with pytest.raises(Fault, match="wave 9 reads LDS byte 0x6 that wave 3 wrote"):
        group.read(9, 0, 16)


def test_writing_what_another_wave_read() -> None:
    group = Group()
    group.write(0, 0, 4)
    group.local.barrier(0)
    group.read(2, 0, 4)
    group.read(9, 0, 4)
    with pytest.raises(Fault, match="wave 2 writes LDS byte 0x0 that wave 9 read"):
        group.write(2, 0, 4, 1)


def test_writing_another_value_where_another_wave_wrote() -> None:
    group = Group()
    group.write(0, 0, 4, 5)
    group.write(1, 0, 4, 5)
    with pytest.raises(Fault, match="wave 2 writes LDS byte 0x0 that wave 1 wrote"):
        group.write(2, 0, 4, 6)


def test_waves_may_write_one_value_and_read_their_own() -> None:
    group = Group()
    group.all_write([0] * 12, [7] * 12)

    for wave in range(12):
        group.read(wave, 0, 4)


def test_a_barrier_orders() -> None:
    group = Group()
    group.write(0, 0, 4, 5)
    group.local.barrier(0)
    group.read(1, 0, 4)
    group.local.barrier(0)
    group.write(2, 0, 4, 6)


def test_neighbouring_bytes_are_no_race() -> None:
    group = Group()
    for wave in range(4):
        group.write(wave, wave, 1, wave)
    for wave in range(4):
        group.read(wave, wave, 1)


def test_two_waves_that_write_other_values_in_one_step() -> None:
    with pytest.raises(Fault, match="writes LDS byte 0x10 that wave") as caught:
        Group().all_write([0, 16, 16, 32], [1, 2, 3, 4])

    assert caught.value.kind is FaultKind.RACE


def test_all_readers_of_one_step_are_remembered() -> None:
    group = Group()
    group.write(0, 0, 4)
    group.local.barrier(0)
    group.all_read([0, 0, 0])
    with pytest.raises(Fault, match="that wave 2 read"):
        group.write(0, 0, 4, 1)


def test_without_checks_nothing_is_looked_for() -> None:
    group = Group()
    group.local.shadow = None
    group.write(0, 0, 4)
    group.read(1, 8, 4)
