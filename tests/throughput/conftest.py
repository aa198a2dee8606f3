"""The bench that throughput tests measure on."""

import time

import pytest

from tests.throughput.fakes import Bench, make_bench


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Its clock is also the one that the rollout times calls with."""
    made = make_bench()
    monkeypatch.setattr(time, "perf_counter", made.clock.now)
    return made
