from pathlib import Path

import pytest

from porting.errors import ProfileError, RunnerError
from porting.profile import read_profile
from porting.record.limit import Bandwidth, CalibrationSample, ComponentWork, FrameWork, Peaks
from porting.roofline import calibrate_host, limit_frame, peaks_of_device

PEAKS = Peaks(
    name="made up",
    matrix_flops_per_second=1e9,
    bandwidths=(
        Bandwidth(working_set_bytes=0, bytes_per_second=1e9),
        Bandwidth(working_set_bytes=10_000_000, bytes_per_second=1e8),
    ),
    shared_units=True,
    projected=False,
    source="this test",
)


def component(name: str, matrix: int, vector: int, weights: int, calls: int = 1) -> ComponentWork:
    return ComponentWork(
        component=name,
        calls_per_frame=calls,
        matrix_flops=matrix,
        vector_flops=vector,
        weight_bytes=weights,
        input_bytes=0,
        output_bytes=0,
        copy_bytes=0,
        unfused_bytes=weights,
        operators={"MatMul": 1},
    )


def frame(*components: ComponentWork, ring_bytes: int = 0) -> FrameWork:
    return FrameWork(components=components, ring_bytes=ring_bytes, replaced_bytes=0, input_bytes=0, state_bytes=0)


def test_the_slower_of_computing_and_fetching_binds_and_components_add_up() -> None:
    busy = component("busy", 3_000_000, 1_000_000, 1_000_000, calls=2)
    fed = component("fed", 1_000, 0, 20_000_000)
    found = limit_frame(frame(busy, fed, ring_bytes=500_000), PEAKS, {"busy": 16.0}, 300.0)
    first, second = found.components
    assert first.bound == "compute"
    assert [first.compute_ms, first.memory_ms] == pytest.approx([8.0, 2.0])
    assert second.bound == "memory"
    assert second.floor_ms == pytest.approx(200.0)  # too large for the cache
    assert found.copy_ms == pytest.approx(0.5)
    assert found.floor_ms == pytest.approx(208.5)
    assert found.floor_fps == pytest.approx(1000 / 208.5)
    assert first.achieved == pytest.approx(0.5)
    assert found.achieved == pytest.approx(208.5 / 300)


def test_what_was_not_measured_has_no_share() -> None:
    found = limit_frame(frame(component("part", 1, 1, 1)), PEAKS)
    assert found.achieved is None
    assert found.components[0].achieved is None


def test_units_of_their_own_do_other_arithmetic_meanwhile() -> None:
    apart = PEAKS.model_copy(update={"shared_units": False})
    work = frame(component("part", 1_000_000, 1_000_000, 0))
    assert limit_frame(work, apart).floor_ms == pytest.approx(limit_frame(work, PEAKS).floor_ms / 2)


def test_a_frame_is_bound_by_what_its_floor_is_mostly_made_of() -> None:
    busy, fed = component("busy", 3_000_000, 0, 0), component("fed", 0, 0, 2_000_000)
    assert limit_frame(frame(busy, fed), PEAKS).bound == "compute"
    assert limit_frame(frame(busy, fed, fed), PEAKS).bound == "memory"
    assert limit_frame(frame(busy, ring_bytes=9_000_000), PEAKS).bound == "copies"


def test_operators_that_were_not_counted_are_carried_along() -> None:
    odd = component("odd", 1, 1, 1).model_copy(update={"uncounted": {"Det": 2}})
    assert limit_frame(frame(odd, odd), PEAKS).incomplete == {"Det": 4}


def test_peaks_of_a_profile_are_a_projection_and_read_either_way(project_root: Path) -> None:
    profile = read_profile(project_root / "profiles/mi455x.toml")
    low, high = (peaks_of_device(profile, "fp8", reading) for reading in ("conservative", "optimistic"))
    figure = profile.device.peaks["fp8"]
    assert low.matrix_flops_per_second == figure.conservative * 1e12
    assert high.matrix_flops_per_second == figure.optimistic * 1e12 > low.matrix_flops_per_second
    assert low.projected
    assert set(figure.sources) <= set(low.source.split("; "))


def test_a_peak_that_no_source_gives_is_an_error(project_root: Path) -> None:
    with pytest.raises(ProfileError, match=r"h100: device\.peaks\.nvfp4"):
        peaks_of_device(read_profile(project_root / "profiles/h100.toml"), "nvfp4")
    with pytest.raises(ProfileError, match=r"cpu: device\.peaks\.fp32"):
        peaks_of_device(read_profile(project_root / "profiles/cpu.toml"), "fp32")


def samples(threads: int) -> tuple[list[CalibrationSample], tuple[str, ...]]:
    products = [("matmul", 100, seconds) for seconds in (3.0, 2.0, 50.0)] + [("matmul", 200, 4.0)]
    copies = [("copy", 4000, seconds) for seconds in (4.0, 2.0, 3.0)] + [("copy", 1000, 0.25)]
    return [CalibrationSample(what=w, size=n, seconds=s) for w, n, s in products + copies], ("it was busy",)


def test_a_calibration_takes_the_fastest_repetition_and_keeps_every_sample() -> None:
    found = calibrate_host(2, samples)
    assert found.peaks.matrix_flops_per_second == 2 * 200**3 / 4.0
    assert [(p.working_set_bytes, p.bytes_per_second) for p in found.peaks.bandwidths] == [(1000, 4000), (4000, 2000)]
    assert len(found.samples) == 8
    assert not found.peaks.projected
    assert found.disturbances == ("it was busy",)


def test_a_calibration_without_samples_of_both_is_an_error() -> None:
    with pytest.raises(RunnerError, match="no samples"):
        calibrate_host(1, lambda threads: ([s for s in samples(threads)[0] if s.what == "copy"], ()))


def test_what_is_impossible_is_below_every_doubt_about_the_floor() -> None:
    work = component("part", 3_000_000, 1_000_000, 1_000)
    (plain,) = limit_frame(frame(work), PEAKS).components
    windowed = work.model_copy(update={"convolution_flops": 3_000_000})
    (fewer,) = limit_frame(frame(windowed), PEAKS).components
    (fed,) = limit_frame(frame(component("fed", 0, 0, 1_000_000)), PEAKS).components
    assert plain.floor_ms == fewer.floor_ms == pytest.approx(4.0)
    assert plain.impossible_ms == pytest.approx(3.0 / 1.5)
    assert fewer.impossible_ms == pytest.approx(3.0 / 4 / 1.5)
    assert fed.impossible_ms == pytest.approx(fed.floor_ms / 4)


def test_this_host_can_be_calibrated() -> None:
    found = calibrate_host(1)
    assert found.peaks.matrix_flops_per_second > 1e8
    assert len({s.size for s in found.samples if s.what == "copy"}) == len(found.peaks.bandwidths) >= 5
    assert len({s.size for s in found.samples if s.what == "matmul"}) >= 2
    assert all(s.seconds > 0 for s in found.samples)
