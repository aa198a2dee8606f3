"""Several sessions on one device: the largest number that holds is found, and those that do not fit are told."""

from collections.abc import Mapping

import pytest

from porting.errors import RunnerError, TraceError, UsageError
from porting.runners.base import BoundCall, Buffer
from porting.throughput import measure_sessions
from porting.trace.data import Trace
from tests.throughput.fakes import Bench, FakeRunner


@pytest.mark.parametrize(
    ("ms", "asked", "found"), [(10.0, 9, 4), (10.0, 3, 3), (5.9, 32, 7), (30.0, 8, 1), (60.0, 8, 0)]
)
def test_the_most_that_hold_is_what_fits_into_a_period(bench: Bench, ms: float, asked: int, found: int) -> None:
    made = measure_sessions(bench.program, bench.driver(ms), bench.trace, bench.budget, asked, bench.instruments)
    assert made.most_that_hold == found
    counts = [load.sessions for load in made.loads]
    assert counts == sorted(set(counts))
    assert max(counts) <= asked
    by_count = {load.sessions: load for load in made.loads}
    if found < asked:
        assert not by_count[found + 1].holds
    if found:
        assert by_count[found].missed == (0,) * found
        latency = by_count[found].latency_ms
        assert latency is not None
        assert latency.max == pytest.approx(ms * found)


def test_every_session_counts_its_own_misses(bench: Bench) -> None:
    made = measure_sessions(bench.program, bench.driver(22.0), bench.trace, bench.budget, 2, bench.instruments)
    two = made.loads[-1]
    assert two.sessions == len(two.missed) == 2
    # 44 ms of work in every 41.7 ms: the backlog grows, whoever is served first.
    assert min(two.missed) > bench.budget.paced_frames / 2


def test_sessions_share_runners_and_not_states(bench: Bench) -> None:
    loaded: list[FakeRunner] = []

    def load() -> Mapping[str, FakeRunner]:
        loaded.append(bench.runner(10.0))
        return {"world": loaded[-1]}

    made = measure_sessions(bench.program, load, bench.trace, bench.budget, 4, bench.instruments)
    # Sessions that wrote over each other's picture or memory would repeat or lose frames.
    assert made.loads[-1].missed == (0, 0, 0, 0)
    assert len(loaded) == 1
    assert loaded[0].closed


class SmallRunner(FakeRunner):
    """Has room for the buffers of two sessions."""

    bound: set[int]

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        self.bound = {*getattr(self, "bound", set()), inputs["action"].ctypes.data}
        if len(self.bound) > 2:
            raise RunnerError("world: out of memory")
        return super().bind(inputs, outputs)


def test_sessions_that_do_not_fit_are_told(bench: Bench) -> None:
    def load() -> Mapping[str, FakeRunner]:
        return {"world": SmallRunner(lambda call: bench.clock.advance(0.001))}

    made = measure_sessions(bench.program, load, bench.trace, bench.budget, 8, bench.instruments)
    assert not made.loads[-1].holds
    assert made.loads[-1].error == "RunnerError: world: out of memory"
    assert made.most_that_hold == max((load.sessions for load in made.loads if load.holds), default=0)


def test_none_and_nothing_are_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="0 are none"):
        measure_sessions(bench.program, bench.driver(1.0), bench.trace, bench.budget, 0, bench.instruments)
    with pytest.raises(TraceError, match="no session"):
        measure_sessions(bench.program, bench.driver(1.0), Trace((), ()), bench.budget, 2, bench.instruments)


def test_a_busy_machine_is_told_beside_the_sessions(bench: Bench) -> None:
    bench.watch.sentences = ("other processes took 86% of the 2 cores needed",)
    made = measure_sessions(bench.program, bench.driver(60.0), bench.trace, bench.budget, 2, bench.instruments)
    assert made.most_that_hold == 0
    assert made.disturbances == bench.watch.sentences
