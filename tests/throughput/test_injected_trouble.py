"""Trouble put into a measurement on purpose: each is seen, and named in the verdict or in what disturbed the run."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from porting.host import HostWatch, Load
from porting.profile import ThroughputBudget
from porting.program import Call, ComponentSpec, Program, Sink, Source
from porting.record import Check, Outcome, ThroughputEvidence
from porting.runners.base import BoundCall, Buffer
from porting.tensor_spec import TensorSpec
from porting.throughput import Instruments, measure_throughput
from porting.throughput.drive import LoadRunners
from porting.verdict.throughput import check_throughput
from tests.throughput.fakes import Bench, FakeRunner
from tests.verdict.records import TARGET, make_record

PERIOD_MS = 1000.0 / 24.0


def measure(bench: Bench, out: Path, port: LoadRunners, **others: float) -> ThroughputEvidence:
    drivers: dict[str, LoadRunners] = {"port": port, **{name: bench.driver(ms) for name, ms in others.items()}}
    return measure_throughput(
        bench.program, drivers, "port", bench.trace, bench.budget, out, instruments=bench.instruments
    )


def judge(evidence: ThroughputEvidence, budget: ThroughputBudget) -> dict[str, Check]:
    target = make_record().targets[TARGET]
    profile = target.profile.model_copy(update={"throughput": budget})
    checks = check_throughput(target.model_copy(update={"profile": profile, "throughput": evidence}))
    return {check.name: check for check in checks}


def test_an_untroubled_run_passes(bench: Bench, tmp_path: Path) -> None:
    checks = judge(measure(bench, tmp_path, bench.driver(10.0), eager=40.0), bench.budget)
    assert {name: check.outcome for name, check in checks.items() if check.outcome is not Outcome.PASSED} == {}


def test_one_frame_in_fifty_a_fifth_late_misses_its_deadlines(bench: Bench, tmp_path: Path) -> None:
    late = PERIOD_MS * 1.2
    evidence = measure(bench, tmp_path, bench.driver(*[30.0] * 49, late), eager=60.0)
    # The mean hides it, and so does the rate: 30 ms a frame is 33 fps.
    assert evidence.frame_ms.mean < PERIOD_MS
    assert evidence.frame_ms.p50 == pytest.approx(30.0)
    assert evidence.frame_ms.max == pytest.approx(late)
    checks = judge(evidence, bench.budget)
    assert checks["frames per second"].outcome is Outcome.PASSED
    assert checks["missed deadlines"].outcome is Outcome.FAILED
    assert evidence.paced.longest_stall_ms == pytest.approx(0.2 * PERIOD_MS)
    assert f"the longest by {0.2 * PERIOD_MS:.4g} ms" in checks["missed deadlines"].reason
    worst = next(frame for frame in evidence.waterfalls if frame.which == "worst")
    (culprit,) = [span for span in worst.spans if span.what == "world"]
    assert culprit.duration_ms == pytest.approx(late)
    no_stock, one, *_ = evidence.viewers
    assert no_stock.underruns == 1
    assert no_stock.stalled_ms == pytest.approx(late - 30.0)
    assert one.underruns == 0


def test_a_leak_of_a_megabyte_a_frame_is_named(bench: Bench, tmp_path: Path) -> None:
    def leak(call: int) -> None:
        bench.clock.advance(0.010)
        bench.resident[0] += 2**20

    evidence = measure(bench, tmp_path, lambda: {"world": FakeRunner(leak)}, eager=40.0)
    check = judge(evidence, bench.budget)["memory slope"]
    assert check.outcome is Outcome.FAILED
    assert check.value == pytest.approx(2**20, rel=0.01)
    assert "Memory grows by" in check.reason


def watched(bench: Bench, others: float, threads: int = 2) -> Instruments:
    """Instruments with the real watch of a host with two cores, of which other processes keep `others` busy."""

    def read() -> Load:
        # Whoever works takes from the rest: together no more than both cores.
        seconds = bench.clock.now()
        own = min(threads, 2.0 - others) * seconds
        return Load(seconds, own + others * seconds, 0.0, own, 0.0, None)

    def watch(needed: int) -> HostWatch:
        return HostWatch(needed, cores=2, read=read, now=bench.clock.now)

    return Instruments(bench.clock, lambda: bench.resident[0], watch, bench.clock.reference)


def test_a_process_on_both_cores_is_named_and_excuses_the_port(bench: Bench, tmp_path: Path) -> None:
    drivers = {"port": bench.driver(60.0), "eager": bench.driver(100.0)}
    run = (bench.program, drivers, "port", bench.trace, bench.budget, tmp_path, 2)
    evidence = measure_throughput(*run, watched(bench, others=1.0))
    assert not evidence.valid
    assert "other processes took 50% of the 2 cores needed" in evidence.disturbances[0]
    check = judge(evidence, bench.budget)["missed deadlines"]
    assert check.outcome is Outcome.NOT_MEASURED
    assert "other processes took" in check.reason
    assert measure_throughput(*run, watched(bench, others=0.0)).valid


@pytest.mark.parametrize("seconds", [30.0, -30.0])
@pytest.mark.parametrize("frame", [100, 280], ids=["closed loop", "paced"])
def test_a_clock_that_jumps_is_named(bench: Bench, tmp_path: Path, seconds: float, frame: int) -> None:
    def jump(call: int) -> None:
        bench.clock.advance(0.010)
        if call == frame:
            bench.clock.jump(seconds)

    evidence = measure(bench, tmp_path, lambda: {"world": FakeRunner(jump)}, eager=40.0)
    assert not evidence.valid
    assert any("the clock jumped" in sentence for sentence in evidence.disturbances)
    outcomes = {check.outcome for check in judge(evidence, bench.budget).values()}
    assert Outcome.NOT_MEASURED in outcomes
    assert Outcome.FAILED not in outcomes


class PartRunner:
    """A denoiser of 4 ms, or a decoder of 6 ms that does nothing, at once, whenever `skips` says so."""

    backend = "fake"

    def __init__(self, bench: Bench, skips: Callable[[int], bool] = lambda call: False) -> None:
        self.bench, self.skips, self.calls = bench, skips, 0

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        def denoise() -> None:
            self.bench.clock.advance(0.004)
            outputs["latent"][...] = inputs["memory"] + inputs["action"]
            outputs["next_memory"][...] = outputs["latent"]

        def decode() -> None:
            number, self.calls = self.calls, self.calls + 1
            if not self.skips(number):
                self.bench.clock.advance(0.006)
                moments = split_moments(outputs["frame"])
                clip = np.arange(len(moments), dtype=np.float32).reshape(-1, 1, 1, 1)
                moments[...] = (inputs["latent"][0, 0] + 0.013 * clip) % 1.0

        return denoise if "latent" in outputs else decode

    def close(self) -> None:
        pass


def split_moments(picture: Buffer) -> Buffer:
    """Views (T, 3, 4, 4) of the pictures, which follow one another or stand one below the other."""
    views: Buffer = picture[0] if picture.ndim == 5 else picture[0].reshape(3, -1, 4, 4).swapaxes(0, 1)
    return views


def split(bench: Bench, chunk: int | None = None, stacked: bool = False) -> Bench:
    """The same world in two components; with `chunk`, its picture is a clip of so many frames."""
    memory, action = bench.program.component("world").inputs
    latent, made = (TensorSpec(name=name, shape=(1, 1), dtype="float32") for name in ("latent", "next_memory"))
    shape = (1, 3, 4 * (chunk or 1), 4) if chunk is None or stacked else (1, chunk, 3, 4, 4)
    frame = TensorSpec(name="frame", shape=shape, dtype="float32")
    old = bench.program
    bench.program = Program(
        components=(
            ComponentSpec(name="denoiser", inputs=(memory, action), outputs=(latent, made)),
            ComponentSpec(name="decoder", inputs=(latent,), outputs=(frame,)),
        ),
        inputs=old.inputs,
        rings=old.rings,
        states=old.states,
        prime=(),
        pictures_per_frame=(chunk or 1) if stacked else 1,
        frame=(
            Call(
                component="denoiser",
                inputs={"memory": Source(kind="state", name="memory"), "action": Source(kind="input", name="action")},
                outputs={
                    "latent": Sink(kind="value", name="latent"),
                    "next_memory": Sink(kind="state", name="memory"),
                },
            ),
            Call(
                component="decoder",
                inputs={"latent": Source(kind="value", name="latent")},
                outputs={"frame": Sink(kind="value", name="frame")},
            ),
        ),
    )
    return bench


def parts(bench: Bench, skips: Callable[[int], bool] = lambda call: False) -> LoadRunners:
    return lambda: {"denoiser": PartRunner(bench), "decoder": PartRunner(bench, skips)}


def test_skipping_every_second_decoder_gains_nothing(bench: Bench, tmp_path: Path) -> None:
    split(bench)
    honest = measure(bench, tmp_path, parts(bench))
    lazy = measure(bench, tmp_path, parts(bench, lambda call: call % 2 == 0))
    assert honest.frames_per_second == pytest.approx(100.0)
    # Half the frames, in 14 instead of 20 ms for two.
    assert lazy.frame_ms.mean < honest.frame_ms.mean
    assert lazy.frames_per_second == pytest.approx(1000.0 / 14.0)
    assert lazy.frames_per_second < honest.frames_per_second
    check = judge(lazy, bench.budget)["missed deadlines"]
    assert check.outcome is Outcome.FAILED
    assert "36 of 72 frames missed" in check.reason
    assert lazy.viewers[-1].underruns == 36


@pytest.mark.parametrize("stacked", [False, True])
def test_a_chunk_looks_fast_and_answers_late(bench: Bench, tmp_path: Path, stacked: bool) -> None:
    split(bench, chunk=12, stacked=stacked)
    evidence = measure(bench, tmp_path, parts(bench))
    assert evidence.frames_per_second == pytest.approx(1200.0)
    assert evidence.paced.missed == 0
    assert evidence.latency is not None
    assert evidence.latency.chunk_frames == 12
    assert evidence.latency.paced_ms.p50 == pytest.approx(10.0)
    assert evidence.latency.longest_wait_ms == pytest.approx(12 * PERIOD_MS)
    reason = judge(evidence, bench.budget)["frames per second"].reason
    assert "in chunks of 12, an action waits up to 500 ms" in reason


@pytest.mark.parametrize("stacked", [False, True])
def test_a_chunk_that_stands_still_is_one_frame(bench: Bench, tmp_path: Path, stacked: bool) -> None:
    split(bench, chunk=4, stacked=stacked)

    class Frozen(PartRunner):
        def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
            call = super().bind(inputs, outputs)

            def freeze() -> None:
                call()
                moments = split_moments(outputs["frame"])
                moments[...] = moments[:1].copy()

            return freeze if "frame" in outputs else call

    frozen = measure(bench, tmp_path, lambda: {"denoiser": PartRunner(bench), "decoder": Frozen(bench)})
    assert frozen.frames_per_second == pytest.approx(100.0)
    assert frozen.paced.missed == 72


def test_time_is_shared_out_to_components(bench: Bench, tmp_path: Path) -> None:
    evidence = measure(split(bench), tmp_path, parts(bench))
    spent = {part.what: part for part in evidence.spent}
    assert list(spent) == ["denoiser", "decoder", "copy", "host"]
    assert [spent[name].ms_per_frame for name in spent] == pytest.approx([4.0, 6.0, 0.0, 0.0], abs=1e-6)
    assert math.isclose(sum(part.share for part in spent.values()), 1.0)
    median, worst = evidence.waterfalls
    assert [(span.what, span.call) for span in median.spans] == [("copy", None), ("denoiser", 0), ("decoder", 0)]
    assert [span.start_ms for span in median.spans] == pytest.approx([0.0, 0.0, 4.0], abs=1e-6)
    assert worst.frame_ms == pytest.approx(10.0)
