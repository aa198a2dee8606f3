"""A viewer of given finish times: what is late is an underrun unless there was stock, and stock costs delay."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from porting.throughput.statistics import Times
from porting.throughput.viewer import watch, watch_all

PERIOD = 40.0


def times(*ms: float) -> Times:
    return np.array(ms, np.float64)


def ones(frames: int) -> npt.NDArray[np.int32]:
    return np.ones(frames, np.int32)


def steady(frames: int, took: float = 10.0) -> Times:
    return times(*(index * PERIOD + took for index in range(frames)))


def test_on_time_nothing_stalls_and_each_frame_in_stock_costs_a_period() -> None:
    viewers = watch_all(steady(20), ones(20), 1, PERIOD)
    assert [viewer.buffer_frames for viewer in viewers] == [0, 1, 2, 4]
    assert [viewer.start_delay_ms for viewer in viewers] == [10.0, 50.0, 90.0, 170.0]
    assert all((viewer.underruns, viewer.stalled_ms) == (0, 0.0) for viewer in viewers)


def test_one_frame_of_three_periods_needs_a_stock_of_two() -> None:
    finish = steady(20)
    finish[8] += 70.0
    finish[9] += 30.0
    stalled = [viewer.stalled_ms for viewer in watch_all(finish, ones(20), 1, PERIOD)]
    assert stalled == pytest.approx([70.0, 30.0, 0.0, 0.0])
    # Once it stood still the viewer is late by as much for ever: the next late frame is no underrun any more.
    assert watch(finish, ones(20), 1, PERIOD, 0).underruns == 1


def test_a_producer_that_is_too_slow_stalls_for_what_it_lacks() -> None:
    slow = times(*(50.0 * index for index in range(1, 21)))
    found = watch(slow, ones(20), 1, PERIOD, 0)
    assert found.underruns == 19
    assert found.stalled_ms == pytest.approx(19 * 10.0)
    assert watch(slow, ones(20), 1, PERIOD, 4).underruns < 19


def test_a_picture_that_is_not_new_stands_still_for_its_period() -> None:
    new = ones(10)
    new[4] = 0
    found = watch(steady(10), new, 1, PERIOD, 2)
    assert (found.underruns, found.stalled_ms) == (1, PERIOD)


def test_a_chunk_is_its_own_stock() -> None:
    finish = times(*(index * 12 * PERIOD + 400.0 for index in range(5)))
    found = watch(finish, np.full(5, 12, np.int32), 12, PERIOD, 0)
    assert (found.start_delay_ms, found.underruns) == (400.0, 0)
    assert watch(finish, np.full(5, 11, np.int32), 12, PERIOD, 0).underruns == 5


@pytest.mark.parametrize("finish", [times(), times(10.0, math.nan, 90.0), times(10.0, 50.0)])
def test_what_cannot_be_watched_is_no_number(finish: Times) -> None:
    found = watch(finish, ones(finish.size), 1, PERIOD, 2)
    assert math.isnan(found.start_delay_ms)
    assert math.isnan(found.stalled_ms)
    assert found.underruns == finish.size
