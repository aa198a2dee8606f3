"""Whole comparisons on a clock that moves when a call says so: what is slower fails, and nothing passes by absence."""

import itertools
import math
from pathlib import Path

import pytest

from porting import runners
from porting.comparison import Settings, compare_bundles, sides
from porting.compilers import CompileRequest
from porting.errors import BundleError, TraceError, UsageError
from porting.record import ArtifactRecord, Comparison, Outcome
from tests.comparison.conftest import MakeBundle
from tests.throughput.fakes import Bench, QuietWatch
from tests.verdict.records import make_record

UNEVEN = (10.0, 10.3, 9.8, 10.1, 9.9, 10.2, 10.0, 10.4, 9.7, 10.05, 10.15)
"""ms of calls: eleven, so that frames of a rollout of seven take other times in every rollout."""


def compare(bench: Bench, baseline: Path, candidate: Path, seconds: float = 20.0, **settings: float) -> Comparison:
    asked = Settings(seconds=seconds, priority=False, **settings)  # type: ignore[arg-type]
    return compare_bundles(baseline, candidate, None, asked, lambda text: None, 1, bench.instruments)


def test_a_bundle_is_no_slower_than_itself(bench: Bench, make_bundle: MakeBundle) -> None:
    found = compare(bench, make_bundle("a", *UNEVEN), make_bundle("b", *UNEVEN))
    assert found.outcome is Outcome.PASSED, found.reason
    assert found.ratio == pytest.approx(1.0, abs=0.005)
    assert found.turns >= 12
    assert found.frames == 7 * found.turns
    assert found.seconds_used < found.seconds_allowed
    assert found.interval is not None
    assert found.interval.low <= 1.0 <= found.interval.high
    assert found.noise_floor is not None
    assert found.noise_floor < found.limit
    assert found.candidate.files.keys() == {"targets/world.fake"}
    assert [component.component for component in found.components] == ["world"]


def test_five_per_cent_are_found(bench: Bench, make_bundle: MakeBundle) -> None:
    found = compare(bench, make_bundle("a", *UNEVEN), make_bundle("b", *(1.05 * ms for ms in UNEVEN)))
    assert found.outcome is Outcome.FAILED
    assert found.ratio == pytest.approx(1.05, abs=0.01)
    assert "slower by" in found.reason


def test_a_faster_candidate_passes(bench: Bench, make_bundle: MakeBundle) -> None:
    found = compare(bench, make_bundle("a", *UNEVEN), make_bundle("b", *(0.5 * ms for ms in UNEVEN)))
    assert found.outcome is Outcome.PASSED, found.reason


def test_a_slowdown_inside_the_limit_passes(bench: Bench, make_bundle: MakeBundle) -> None:
    slower = make_bundle("b", *(1.03 * ms for ms in UNEVEN))
    found = compare(bench, make_bundle("a", *UNEVEN), slower, limit=0.05)
    assert found.outcome is Outcome.PASSED, found.reason


def test_a_frame_that_is_a_fifth_slower_each_time_is_found(bench: Bench, make_bundle: MakeBundle) -> None:
    late = [10.0] * 8 + [12.0, 10.0, 10.0]
    found = compare(bench, make_bundle("a", 10.0), make_bundle("b", *late), seconds=60.0)
    assert found.outcome is Outcome.FAILED
    assert found.slow_frame is not None
    assert found.slow_frame.ratio == pytest.approx(1.2, abs=0.02)
    assert found.ratio == pytest.approx(1.0, abs=0.001)
    assert f"frame {found.slow_frame.frame} of the rollout is slower by" in found.reason


@pytest.mark.parametrize("broken", [0.0, -5.0, math.nan])
def test_a_clock_that_tells_no_time_measures_nothing(bench: Bench, make_bundle: MakeBundle, broken: float) -> None:
    found = compare(bench, make_bundle("a", broken), make_bundle("b", broken))
    assert found.outcome is Outcome.NOT_MEASURED
    assert "clock" in found.reason
    assert found.ratio is None


def test_a_clock_that_breaks_in_the_middle_measures_nothing(bench: Bench, make_bundle: MakeBundle) -> None:
    steps = itertools.chain([10.0] * 400, itertools.repeat(0.0))
    original = bench.clock.advance
    bench.clock.advance = lambda seconds: original(next(steps) / 1e3)  # type: ignore[method-assign]
    found = compare(bench, make_bundle("a", 10.0), make_bundle("b", 10.0))
    assert found.outcome is Outcome.NOT_MEASURED
    assert "clock stood still" in found.reason


def test_a_clock_that_another_contradicts_measures_nothing(bench: Bench, make_bundle: MakeBundle) -> None:
    bench.clock.advance = bench.clock.jump  # type: ignore[method-assign]
    found = compare(bench, make_bundle("a", 10.0), make_bundle("b", 10.0))
    assert found.outcome is Outcome.NOT_MEASURED
    assert "the clock jumped" in found.reason


def test_pictures_that_are_not_written_measure_nothing(
    bench: Bench, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def idle(*_: object) -> object:
        return bench.runner(1.0, writes=lambda call: False)

    baseline, candidate = make_bundle("a", 10.0), make_bundle("b", 10.0)
    monkeypatch.setattr(runners, "open_runner", idle)
    found = compare(bench, baseline, candidate)
    assert found.outcome is Outcome.NOT_MEASURED
    assert "were not written" in found.reason


def test_too_little_time_says_how_much_is_enough(bench: Bench, make_bundle: MakeBundle) -> None:
    found = compare(bench, make_bundle("a", 10.0), make_bundle("b", 50.0), seconds=0.5)
    assert found.outcome is Outcome.NOT_MEASURED
    assert "turns fitted into 0.5 s" in found.reason
    assert "allow" in found.reason


def test_noise_is_no_failure(bench: Bench, make_bundle: MakeBundle) -> None:
    wild = (10.0, 200.0, 3.0, 40.0, 7.0, 90.0, 1.0, 15.0, 22.0, 2.0, 77.0)
    bench.watch = QuietWatch(("other processes took all cores",))
    found = compare(bench, make_bundle("a", *wild), make_bundle("b", *wild), seconds=10.0)
    assert found.outcome is not Outcome.FAILED
    assert found.disturbances == ("other processes took all cores",)


def test_other_inputs_are_refused_by_name(bench: Bench, make_bundle: MakeBundle) -> None:
    with pytest.raises(UsageError, match="of the frame inputs, 'action' holds other numbers"):
        compare(bench, make_bundle("a", 10.0), make_bundle("b", 10.0, scale=2.0))
    with pytest.raises(UsageError, match=r"'action' is \(7, 1, 1\) float32 and \(6, 1, 1\) float32"):
        compare(bench, make_bundle("c", 10.0), make_bundle("d", 10.0, frames=6))


def test_another_program_and_another_checkpoint_are_refused_by_name(bench: Bench, make_bundle: MakeBundle) -> None:
    other = bench.program.model_copy(update={"constants": {"speed": (2.0,)}})
    with pytest.raises(UsageError, match="the frame programs differ in constants"):
        compare(bench, make_bundle("a", 10.0), make_bundle("b", 10.0, program=other))
    checkpoint = make_record().checkpoint.model_copy(update={"digest": "f" * 64})
    with pytest.raises(UsageError, match="the checkpoints are"):
        compare(bench, make_bundle("c", 10.0), make_bundle("d", 10.0, checkpoint=checkpoint))


def test_a_bundle_without_a_trace_is_refused(bench: Bench, make_bundle: MakeBundle) -> None:
    with pytest.raises(UsageError, match="has no trace"):
        compare(bench, make_bundle("a", 10.0), make_bundle("b", 10.0, trace=None))


def test_a_trace_without_frames_is_refused(bench: Bench, make_bundle: MakeBundle) -> None:
    with pytest.raises(TraceError, match="has no frames"):
        compare(bench, make_bundle("a", 10.0, frames=0), make_bundle("b", 10.0, frames=0))


def test_a_target_that_one_lacks_is_refused(bench: Bench, make_bundle: MakeBundle) -> None:
    asked = Settings(priority=False)
    with pytest.raises(UsageError, match="'moon': is not in both bundles; they have cpu both"):
        compare_bundles(make_bundle("a", 10.0), make_bundle("b", 10.0), "moon", asked, lambda text: None, 1)


def test_nothing_chosen_is_not_measured(bench: Bench, make_bundle: MakeBundle) -> None:
    found = compare(bench, make_bundle("a", 10.0), make_bundle("b", 10.0, chosen=False))
    assert found.outcome is Outcome.NOT_MEASURED
    assert "no chosen artifact of world" in found.reason


def test_a_changed_file_is_refused_before_and_after(bench: Bench, make_bundle: MakeBundle) -> None:
    baseline, candidate = make_bundle("a", 10.0), make_bundle("b", 10.0)
    watched = bench.watch.sample

    def change() -> None:
        (candidate / "targets/world.fake").write_text("10.00")
        watched()

    bench.watch.sample = change  # type: ignore[method-assign]
    with pytest.raises(BundleError, match="world"):
        compare(bench, baseline, candidate)
    with pytest.raises(BundleError, match="world"):
        compare(bench, baseline, candidate)


@pytest.mark.parametrize(
    "settings", [{"limit": 0.0}, {"limit": 1.0}, {"seconds": 0.0}, {"seconds": math.nan}, {"rebuilds": 2}]
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Settings(**settings)  # type: ignore[arg-type]


def test_builds_are_driven_in_turn_and_count_as_one_value_each(
    bench: Bench, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def compile_component(request: CompileRequest) -> ArtifactRecord:
        built.append(request.out_dir.name)
        request.out_dir.mkdir(parents=True)
        side, build = request.out_dir.name.split("-")
        # Builds of either side differ by 3 %, as luck has it; the candidate is no slower.
        (request.out_dir / "world.fake").write_text(str(10.0 + 0.3 * ((int(side) + int(build)) % 3)))
        return ArtifactRecord(component="world", backend="fake", precision="fp32", path="world.fake")

    monkeypatch.setattr(sides, "compile_component", compile_component)
    exported = make_record().components[0].model_copy(update={"name": "world", "path": "targets/world.fake"})
    bundle = make_bundle("a", 10.0, components=(exported,))
    found = compare(bench, bundle, bundle, seconds=10.0, rebuilds=3)
    assert sorted(built) == ["0-0", "0-1", "0-2", "1-0", "1-1", "1-2"]
    assert found.rebuilds == 3
    assert found.looks == 1
    assert found.outcome is Outcome.NOT_MEASURED
    assert found.noise_floor is not None
    assert found.noise_floor > 0.01
    assert "differs from itself" in found.reason


def test_what_cannot_be_built_anew_is_refused(
    bench: Bench, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_component(request: CompileRequest) -> ArtifactRecord:
        return ArtifactRecord(component="world", backend="fake", precision="fp32", path=None, error="no compiler")

    monkeypatch.setattr(sides, "compile_component", compile_component)
    exported = make_record().components[0].model_copy(update={"name": "world", "path": "targets/world.fake"})
    bundle = make_bundle("a", 10.0, components=(exported,))
    with pytest.raises(UsageError, match="cannot be built anew: no compiler; compare without --rebuilds"):
        compare(bench, bundle, bundle, rebuilds=3)
