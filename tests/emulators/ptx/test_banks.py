"""Bank conflicts of known patterns, by the turns that 32 banks of four bytes need."""

import numpy as np
import pytest

from porting.emulators.launch import Counts
from porting.emulators.ptx.banks import Banks

LANE = np.arange(32)


@pytest.mark.parametrize(
    ("address", "extent", "extra"),
    [
        (4 * LANE, 4, 0),
        (0 * LANE, 4, 0),  # one word for all is one turn
        (8 * LANE, 4, 1),
        (128 * LANE, 4, 31),
        (132 * LANE, 4, 0),
        (2 * LANE, 2, 0),
        (8 * LANE, 8, 0),
        (16 * LANE, 16, 0),
        (32 * LANE, 16, 4),  # each of the four turns is two
        (128 * LANE, 16, 28),
    ],
)
def test_extra_turns(address: np.ndarray[tuple[int], np.dtype[np.int64]], extent: int, extra: int) -> None:
    counts = Counts()
    banks = Banks(counts)
    for move in (1024, 4096):
        banks.access(address + move, np.zeros(32, np.int64), extent)
    assert counts.bank_conflicts == 2 * extra


def test_warps_do_not_meet_in_a_turn() -> None:
    counts = Counts()
    Banks(counts).access(np.concatenate((4 * LANE, 8 * LANE)), np.repeat([0, 1], 32), 4)
    assert counts.bank_conflicts == 1
