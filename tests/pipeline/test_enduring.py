"""A soak and concurrent sessions are measured when asked for, and go with the evidence that they were added to."""

from pathlib import Path
from typing import Any

import pytest

from porting import throughput
from porting.pipeline import again
from porting.pipeline import port as port_module
from porting.pipeline.progress import Silent
from porting.record import Concurrency, Soak
from tests.pipeline.fakes import Fakes, make_request

SOAK = Soak(
    frames=2000,
    slowdown=1.0,
    slowdown_low=0.9,
    slowdown_high=1.1,
    memory_slope_bytes_per_frame=0.0,
    memory_growth_bytes=0,
    host_overhead_share=0.1,
)


def test_bench_adds_what_was_asked_for(tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def measure_soak(program: Any, load: Any, trace: Any, frames: int, instruments: Any) -> Soak:
        asked.append(frames)
        return SOAK

    def measure_sessions(program: Any, load: Any, trace: Any, budget: Any, most: int, instruments: Any) -> Concurrency:
        asked.append(most)
        return Concurrency(asked=most, max_missed_share=0.01, loads=(), most_that_hold=0)

    monkeypatch.setattr(throughput, "measure_soak", measure_soak)
    monkeypatch.setattr(throughput, "measure_sessions", measure_sessions)
    port_module.port(make_request(tmp_path), Silent())
    timed = again.bench(tmp_path, (), 1, Silent(), soak_frames=2000, sessions=3).targets["cpu"].throughput
    assert asked == [2000, 3]
    assert timed is not None
    assert timed.soak == SOAK
    assert timed.concurrency is not None
    assert timed.concurrency.asked == 3
    plain = again.bench(tmp_path, (), 1, Silent()).targets["cpu"].throughput
    assert plain is not None
    assert (plain.soak, plain.concurrency) == (None, None)
