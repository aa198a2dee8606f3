"""What the host itself costs per frame: time, memory, rebinding."""

import gc
import time
import tracemalloc
from collections.abc import Mapping

import numpy as np

from porting.rollout import COPY, Rollout
from porting.runners.base import BoundCall, Buffer
from tests.rollout.toy import draw, make_program, make_runners


def test_spans_hold_every_call_and_copy_in_order() -> None:
    program = make_program(window=4, sink=1)
    rollout = Rollout(program, make_runners())
    session, frames = draw(program)
    rollout.open(session)
    for _ in range(3):
        rollout.spans = []
        rollout.step(next(frames))
        names = [name for name, _, _ in rollout.spans]
        assert [name for name in names if name != COPY] == [call.component for call in program.frame]
        # The inputs first, then whatever a call puts into a ring.
        assert names[0] == COPY
        assert names.count(COPY) == 2
        moments = [moment for _, start, finish in rollout.spans for moment in (start, finish)]
        assert moments == sorted(moments)


class IdleRunner:
    """Does nothing at once."""

    backend = "idle"

    def __init__(self) -> None:
        self.addresses: set[int] = set()

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        self.addresses |= {array.ctypes.data for array in (*inputs.values(), *outputs.values())}
        return lambda: None

    def close(self) -> None:
        pass


def test_a_frame_costs_the_host_little_and_keeps_nothing() -> None:
    """Generous: tens of microseconds are usual. Memory must not grow by as much as one state."""
    program = make_program(window=64, sink=1)
    runners = {name: IdleRunner() for name in ("mind", "eye")}
    rollout = Rollout(program, runners)
    session, frames = draw(program)
    rollout.open(session)
    inputs = next(frames)
    rollout.step(inputs)
    times = []
    for _ in range(500):
        start = time.perf_counter()
        rollout.step(inputs)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 300e-6
    gc.collect()
    tracemalloc.start()
    rollout.step(inputs)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for _ in range(500):
        rollout.step(inputs)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    smallest = min(s.tensor.nbytes for s in program.states if s.update == "ring")
    assert after - before < 512
    assert peak - before < max(smallest, 2048)


def test_buffers_stay_where_they_are_and_calls_are_bound_once() -> None:
    program, runners = make_program(window=4, sink=1), make_runners()
    rollout = Rollout(program, runners)
    session, frames = draw(program)
    # mind: 2 context frames that commit from either side, 2 phases of 2 calls of which one commits; eye: 2 sides.
    assert len(runners["mind"].bound) == 2 + 4
    assert len(runners["eye"].bound) == 2
    rollout.open(session)
    for _ in range(5):
        rollout.step(next(frames))
    assert len(runners["mind"].bound) == 2 + 4
    picture = rollout.step(next(frames))
    assert picture is rollout.step(next(frames))
    assert {array.ctypes.data % 64 for _, outputs in runners["mind"].bound for array in outputs.values()} == {0}
