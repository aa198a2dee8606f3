"""Fences between proxies: where one has to lie on the way from write to read. PTX ISA 9, "Causality order"."""

import numpy as np
import pytest

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.clocks import Clocks
from porting.emulators.ptx.proxies import Proxies

BYTES = np.array([0, 16])


def make() -> tuple[Clocks, Proxies, int]:
    """Two warps, and an engine."""
    clocks = Clocks(2)
    return clocks, Proxies(clocks, 64), clocks.engine("engine")


def write(proxies: Proxies, agent: int) -> None:
    proxies.write(BYTES, 16, np.full(2, agent))


def start(clocks: Clocks, warp: int, engine: int) -> None:
    clocks.learn([engine], clocks.tell([warp]))


def read(proxies: Proxies, engine: int) -> None:
    proxies.expect_fenced(BYTES, 16, np.full(2, engine))


def expect_race(proxies: Proxies, engine: int) -> None:
    with pytest.raises(Fault, match="offset 0, which warp 0 wrote") as caught:
        read(proxies, engine)
    assert caught.value.kind is FaultKind.RACE


def test_what_nobody_wrote_may_be_read() -> None:
    _, proxies, engine = make()
    read(proxies, engine)


def test_the_writer_fences() -> None:
    clocks, proxies, engine = make()
    write(proxies, 0)
    start(clocks, 0, engine)
    expect_race(proxies, engine)
    clocks.fence([0])
    expect_race(proxies, engine)  # it had started before
    start(clocks, 0, engine)
    read(proxies, engine)


def test_a_fence_before_the_write_does_not_count() -> None:
    clocks, proxies, engine = make()
    clocks.fence([0])
    write(proxies, 0)
    start(clocks, 0, engine)
    expect_race(proxies, engine)


def test_the_fence_may_stand_on_either_side_of_the_barrier() -> None:
    clocks, proxies, engine = make()
    write(proxies, 0)
    clocks.meet([0, 1], [0, 1])
    start(clocks, 1, engine)
    expect_race(proxies, engine)
    clocks.fence([1])
    start(clocks, 1, engine)
    read(proxies, engine)
    proxies.reset()
    clocks.reset()
    write(proxies, 0)
    clocks.fence([0])
    start(clocks, 1, engine)
    expect_race(proxies, engine)  # fenced, but warp 1 does not know
    clocks.meet([0, 1], [0, 1])
    start(clocks, 1, engine)
    read(proxies, engine)


def test_a_fence_of_someone_who_does_not_know_the_write() -> None:
    clocks, proxies, engine = make()
    write(proxies, 0)
    clocks.fence([1])
    clocks.meet([0, 1], [0, 1])
    start(clocks, 1, engine)
    expect_race(proxies, engine)


def test_what_engines_write_needs_no_fence() -> None:
    clocks, proxies, engine = make()
    other = clocks.engine("copies")
    write(proxies, other)
    with pytest.raises(Fault, match="which copies wrote"):
        read(proxies, engine)
    clocks.release("barrier", [other])
    clocks.acquire("barrier", [1])
    start(clocks, 1, engine)
    read(proxies, engine)
