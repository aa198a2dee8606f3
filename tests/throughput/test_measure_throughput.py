"""Figures of a whole measurement with a clock that the runners move: what is late, slow, leaking or missing is seen."""

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from porting.errors import RunnerError, TraceError, UsageError
from porting.record import ThroughputEvidence
from porting.rollout import Rollout
from porting.throughput import measure_throughput
from porting.throughput.measure import ROUND_FRAMES
from porting.trace.data import Trace
from tests.throughput.fakes import Bench, FakeRunner, QuietWatch

Driver = Callable[[], Mapping[str, FakeRunner]]


def measure(bench: Bench, out: Path, **drivers: Driver) -> ThroughputEvidence:
    return measure_throughput(
        bench.program, drivers, "port", bench.trace, bench.budget, out, instruments=bench.instruments
    )


def test_steady_frames_give_exact_figures(bench: Bench, tmp_path: Path) -> None:
    evidence = measure(bench, tmp_path, port=bench.driver(10.0), eager=bench.driver(40.0))
    assert evidence.frames_per_second == pytest.approx(100.0)
    assert evidence.frame_ms.frames == 240
    assert [evidence.frame_ms.p50, evidence.frame_ms.p99, evidence.frame_ms.max] == pytest.approx([10.0] * 3)
    assert evidence.closed_loop.missed == evidence.paced.missed == 0
    assert evidence.paced.frames == 72
    assert evidence.paced.jitter_ms == pytest.approx(0.0, abs=1e-9)
    assert evidence.warmup_frames == 6
    assert evidence.time_to_first_frame_ms == pytest.approx(10.0)
    assert evidence.unchanged_frames == 0
    assert evidence.memory_slope_bytes_per_frame == 0.0
    assert evidence.memory_high_water_bytes == 10**9
    assert evidence.host_overhead_share == pytest.approx(0.0, abs=1e-9)
    assert evidence.valid
    ratios = {d.name: (d.ratio_low, d.ratio_to_eager, d.ratio_high) for d in evidence.drivers}
    assert ratios["port"] == pytest.approx((4.0, 4.0, 4.0))
    assert ratios["eager"] == (1.0, 1.0, 1.0)


def test_one_late_frame_in_fifty_is_seen(bench: Bench, tmp_path: Path) -> None:
    times = [10.0] * 49 + [60.0]
    evidence = measure(bench, tmp_path, port=bench.driver(*times))
    assert evidence.frame_ms.p50 == pytest.approx(10.0)
    assert evidence.frame_ms.p99 > 41.7
    assert evidence.frame_ms.max == pytest.approx(60.0)
    assert evidence.closed_loop.missed in {4, 5}
    assert evidence.closed_loop.longest_stall_ms == pytest.approx(60.0 - 1000 / 24)
    assert evidence.paced.missed in {1, 2}
    assert evidence.paced.longest_stall_ms == pytest.approx(60.0 - 1000 / 24)
    assert evidence.paced.jitter_ms > 5.0


def test_a_late_frame_does_not_shift_the_paced_clock(bench: Bench, tmp_path: Path) -> None:
    # One frame of 190 ms keeps the next ones late until the backlog of 148 ms is made good at 31.7 ms a frame.
    def stall(call: int) -> None:
        bench.clock.advance(0.190 if call == 6 + 240 + 10 else 0.010)

    evidence = measure(bench, tmp_path, port=lambda: {"world": FakeRunner(stall)})
    assert evidence.paced.missed == 5
    assert evidence.paced.longest_stall_ms == pytest.approx(190.0 - 1000 / 24)


def test_slow_frames_all_miss(bench: Bench, tmp_path: Path) -> None:
    evidence = measure(bench, tmp_path, port=bench.driver(50.0))
    assert evidence.closed_loop.missed == 240
    assert evidence.paced.missed == 72
    assert evidence.paced.longest_stall_ms == pytest.approx(50.0 * 72 - 1000 / 24 * 72, rel=1e-6)


def test_warm_up_is_kept_but_not_counted(bench: Bench, tmp_path: Path) -> None:
    def slow_start(call: int) -> None:
        bench.clock.advance(5.0 if call < 6 else 0.010)

    evidence = measure(bench, tmp_path, port=lambda: {"world": FakeRunner(slow_start)}, eager=bench.driver(20.0))
    assert evidence.frame_ms.max == pytest.approx(10.0)
    assert evidence.time_to_first_frame_ms == pytest.approx(5000.0)
    assert {d.name: d.ratio_to_eager for d in evidence.drivers}["port"] == pytest.approx(2.0)
    with (tmp_path / evidence.frames_file).open() as file:
        rows = list(csv.DictReader(file))
    slow = [row for row in rows if float(row["ms"]) > 1000]
    assert slow
    assert {row["warmup"] for row in slow} == {"1"}
    timed = [row for row in rows if row["warmup"] == "0"]
    assert len([r for r in timed if r["driver"] == "port" and r["mode"] == "closed-loop" and r["round"] == "0"]) == 240
    assert len([r for r in timed if r["driver"] == "port" and r["mode"] == "paced"]) == 72
    assert len([r for r in timed if r["driver"] == "eager"]) == 6 * ROUND_FRAMES
    assert {float(row["world_ms"]) for row in timed if row["driver"] == "eager"} == {20.0}


def test_a_leak_is_seen_in_the_slope(bench: Bench, tmp_path: Path) -> None:
    def leak(call: int) -> None:
        bench.clock.advance(0.010)
        bench.resident[0] += 1_000_000

    evidence = measure(bench, tmp_path, port=lambda: {"world": FakeRunner(leak)})
    assert evidence.memory_slope_bytes_per_frame == pytest.approx(1e6, rel=0.01)
    # It is looked at for as long as a runtime may take to fill its scratch memory, and has not ended by then.
    assert evidence.memory_after_frames == 20 * 200
    assert evidence.memory_high_water_bytes > 10**9 + 4_200 * 10**6


def test_scratch_memory_that_fills_up_is_no_leak(bench: Bench, tmp_path: Path) -> None:
    def fill(call: int) -> None:
        bench.clock.advance(0.010)
        bench.resident[0] += 8192 if call < 900 else 0

    evidence = measure(bench, tmp_path, port=lambda: {"world": FakeRunner(fill)})
    assert evidence.memory_slope_bytes_per_frame == 0.0
    assert 0 < evidence.memory_after_frames <= 1200
    assert evidence.memory_high_water_bytes == 10**9 + 8192 * 900


def test_a_clock_that_jumps_back_invalidates(bench: Bench, tmp_path: Path) -> None:
    def jump(call: int) -> None:
        bench.clock.advance(-30.0 if call == 100 else 0.010)

    evidence = measure(bench, tmp_path, port=lambda: {"world": FakeRunner(jump)})
    assert not evidence.valid
    assert "ran backwards" in evidence.disturbances[0]
    assert math.isnan(evidence.frames_per_second)
    assert math.isnan(evidence.frame_ms.p99)
    assert math.isnan(evidence.closed_loop.longest_stall_ms)


def test_a_clock_that_stands_still_measures_nothing(bench: Bench, tmp_path: Path) -> None:
    evidence = measure(bench, tmp_path, port=bench.driver(0.0))
    assert not evidence.valid
    assert math.isnan(evidence.frames_per_second)


def test_a_driver_that_skips_frames_gains_nothing(bench: Bench, tmp_path: Path) -> None:
    def lazy() -> Mapping[str, FakeRunner]:
        return {
            "world": FakeRunner(lambda call: bench.clock.advance(0.010 if call % 2 else 0.0001), lambda c: c % 2 == 1)
        }

    evidence = measure(bench, tmp_path, port=lazy, eager=bench.driver(10.0))
    assert evidence.frames_per_second == pytest.approx(1000 / 10.1)
    assert evidence.unchanged_frames == (240 + 72) / 2
    assert evidence.paced.missed == 36
    assert {d.name: d.ratio_to_eager for d in evidence.drivers}["port"] <= 1.0


def test_a_driver_that_repeats_the_frame_before_gains_nothing(bench: Bench, tmp_path: Path) -> None:
    still = replace(bench.trace.sessions[0], frame_inputs={"action": np.zeros((3, 1, 1), np.float32)})
    bench.trace = Trace((still,), bench.trace.calls)
    evidence = measure(bench, tmp_path, port=bench.driver(10.0))
    assert evidence.frames_per_second == 0.0
    assert evidence.paced.missed == 72
    assert evidence.unchanged_frames == 240 + 72


def test_ratios_do_not_see_a_machine_that_slows_down(bench: Bench, tmp_path: Path) -> None:
    def drifting(ms: float) -> Driver:
        return lambda: {"world": FakeRunner(lambda call: bench.clock.advance(ms / 1e3 * (1 + bench.clock.now() / 100)))}

    evidence = measure(bench, tmp_path, port=drifting(10.0), eager=drifting(30.0))
    port = next(d for d in evidence.drivers if d.name == "port")
    assert port.ratio_to_eager == pytest.approx(3.0, rel=0.1)
    assert port.ratio_low <= port.ratio_to_eager <= port.ratio_high
    assert port.rounds == 6


def test_time_outside_the_calls_is_the_hosts(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Rollout._take

    def slow_take(self: Rollout, scope: str, given: Mapping[str, np.ndarray]) -> None:
        bench.clock.advance(0.001)
        taken(self, scope, given)

    monkeypatch.setattr(Rollout, "_take", slow_take)
    evidence = measure(bench, tmp_path, port=bench.driver(9.0))
    assert evidence.host_overhead_share == pytest.approx(0.1)


def test_a_driver_that_cannot_run_is_named_and_ends_nothing(bench: Bench, tmp_path: Path) -> None:
    def broken() -> Mapping[str, FakeRunner]:
        raise RuntimeError("no C++ compiler")

    evidence = measure(bench, tmp_path, port=bench.driver(10.0), compiled=broken, eager=bench.driver(20.0))
    assert evidence.not_run == {"compiled": "RuntimeError: no C++ compiler"}
    assert [d.name for d in evidence.drivers] == ["port", "eager"]


def test_a_port_that_cannot_run_is_an_error(bench: Bench, tmp_path: Path) -> None:
    def broken() -> Mapping[str, FakeRunner]:
        raise RunnerError("world: artifact is gone; compile it again")

    with pytest.raises(RunnerError, match="artifact is gone"):
        measure(bench, tmp_path, port=broken, eager=bench.driver(20.0))


def test_without_eager_there_is_no_ratio(bench: Bench, tmp_path: Path) -> None:
    (port,) = measure(bench, tmp_path, port=bench.driver(10.0)).drivers
    assert math.isnan(port.ratio_to_eager)
    assert port.frames_per_second == pytest.approx(100.0)


def test_a_disturbed_machine_is_no_valid_one(bench: Bench, tmp_path: Path) -> None:
    bench.watch = QuietWatch(("other processes took 60%",))
    evidence = measure(bench, tmp_path, port=bench.driver(10.0))
    assert not evidence.valid
    assert evidence.disturbances == ("other processes took 60%",)


def test_every_runner_is_closed(bench: Bench, tmp_path: Path) -> None:
    made: list[FakeRunner] = []

    def load() -> Mapping[str, FakeRunner]:
        made.append(bench.runner(10.0))
        return {"world": made[-1]}

    measure(bench, tmp_path, port=load, eager=load)
    assert len(made) == 3
    assert all(runner.closed for runner in made)


def test_inputs_that_cannot_be_driven_are_refused(bench: Bench, tmp_path: Path) -> None:
    port = bench.driver(10.0)
    with pytest.raises(UsageError, match="no driver 'port'"):
        measure(bench, tmp_path, other=port)
    session = bench.trace.sessions[0]
    for trace, words in (
        (Trace((), ()), "no session"),
        (Trace((replace(session, frame_inputs={"action": np.zeros((0, 1, 1), np.float32)}),), ()), "no frames"),
        (Trace((replace(session, frame_inputs={}),), ()), r"lacks the frame inputs \['action'\]"),
    ):
        bench.trace = trace
        with pytest.raises(TraceError, match=words):
            measure(bench, tmp_path, port=port)
