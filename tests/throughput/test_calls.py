"""Artifacts are timed in turn, and the choice is the same on a restless machine."""

import math

import numpy as np
import pytest

from porting.errors import TraceError
from porting.throughput import measure_calls, rank_backends
from porting.throughput.calls import MIN_ROUNDS, rotate
from porting.trace.data import Trace
from tests.throughput.fakes import Bench, FakeRunner


def test_each_backend_gets_one_time_a_round(bench: Bench) -> None:
    runners = {"slow": bench.runner(12.0), "fast": bench.runner(5.0)}
    times = measure_calls(bench.program, "world", runners, bench.trace, 20, bench.clock)
    assert times["slow"] == pytest.approx([12.0] * 20)
    assert times["fast"] == pytest.approx([5.0] * 20)


def test_too_few_rounds_are_more(bench: Bench) -> None:
    times = measure_calls(bench.program, "world", {"one": bench.runner(5.0)}, bench.trace, 0, bench.clock)
    assert len(times["one"]) == MIN_ROUNDS


def test_first_calls_do_not_count(bench: Bench) -> None:
    def slow_start(call: int) -> None:
        bench.clock.advance(9.0 if call < 3 else 0.001)

    times = measure_calls(bench.program, "world", {"one": FakeRunner(slow_start)}, bench.trace, 8, bench.clock)
    assert max(times["one"]) == pytest.approx(1.0)


def test_inputs_are_those_of_the_trace(bench: Bench) -> None:
    seen = []

    class Looking(FakeRunner):
        def bind(self, inputs, outputs):  # type: ignore[no-untyped-def]
            self.before = lambda call: seen.append({name: float(array[0, 0]) for name, array in inputs.items()})
            return super().bind(inputs, outputs)

    measure_calls(bench.program, "world", {"one": Looking(lambda call: None)}, bench.trace, 8, bench.clock)
    inputs = bench.trace.calls[0].inputs
    assert seen[-1] == {name: pytest.approx(float(np.asarray(array)[0, 0])) for name, array in inputs.items()}


def test_a_trace_without_the_component_is_refused(bench: Bench) -> None:
    with pytest.raises(TraceError, match="no rollout call of component 'world'"):
        measure_calls(bench.program, "world", {"one": bench.runner(5.0)}, Trace((), ()), 8, bench.clock)


def test_ranking_is_by_rounds_not_by_sums() -> None:
    # A is faster in every round; the machine was slow whenever it was measured last.
    times = {"a": [1.0, 10.0, 1.0, 50.0, 1.0], "b": [1.2, 12.0, 1.2, 1.3, 1.2]}
    assert [backend for backend, _ in rank_backends(times)] == ["a", "b"]
    assert rank_backends(times)[0][1] == 1.0


def test_ranking_leaves_out_what_is_no_time() -> None:
    times = {"nan": [1.0, math.nan], "zero": [0.0, 0.0], "short": [1.0], "none": [], "good": [3.0, 3.0]}
    assert rank_backends(times) == [("good", 1.0)]
    assert rank_backends({}) == []
    assert rank_backends({"none": []}) == []


def test_every_backend_begins_a_round() -> None:
    assert [rotate(["a", "b", "c"], round_)[0] for round_ in range(4)] == ["a", "b", "c", "a"]
    assert rotate([], 3) == []
