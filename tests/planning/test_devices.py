from pathlib import Path

import pytest

from porting.planning import make_plan, plan_device, read_model
from porting.planning.devices import FormatPlan, cache_bytes, frame_seconds, plan_format
from porting.planning.work import PlannedModel
from porting.profile import Profile, read_profile
from porting.record.limit import Bandwidth, Calibration, Peaks
from porting.roofline import peaks_of_device


@pytest.fixture(scope="module")
def model() -> PlannedModel:
    return read_model("config:gwm-hd-2b")


@pytest.fixture
def profile(project_root: Path, request: pytest.FixtureRequest) -> Profile:
    return read_profile(project_root / f"profiles/{getattr(request, 'param', 'h100')}.toml")


def by_format(model: PlannedModel, profile: Profile, fps: float = 24.0) -> dict[tuple[str, str], FormatPlan]:
    return {(found.format, found.reading): found for found in plan_device(model, profile, fps).formats}


def test_a_compute_bound_floor_is_operations_over_the_peak(model: PlannedModel, profile: Profile) -> None:
    found = by_format(model, profile)["bf16", "undisputed"]
    assert found.bound == "compute"
    least = model.flops_per_frame / (profile.device.peaks["bf16"].conservative * 1e12)
    assert least <= found.floor_ms / 1000 < 1.05 * least
    assert found.floor_fps == pytest.approx(1000 / found.floor_ms)
    assert found.fps_at_utilisation["0.4"] < found.fps_at_utilisation["0.8"] < found.floor_fps


@pytest.mark.parametrize("profile", ["mi455x"], indirect=True)
def test_disputed_figures_give_both_readings(model: PlannedModel, profile: Profile) -> None:
    found = by_format(model, profile)
    assert found["fp8", "optimistic"].floor_fps > 1.5 * found["fp8", "conservative"].floor_fps
    assert ("bf16", "undisputed") in found


def test_every_format_of_the_profile_is_planned_once(model: PlannedModel, profile: Profile) -> None:
    assert {name for name, _ in by_format(model, profile)} == set(profile.device.peaks)


def test_slow_memory_binds(model: PlannedModel, profile: Profile) -> None:
    peaks = peaks_of_device(profile, "bf16")
    slow = peaks.model_copy(update={"bandwidths": (Bandwidth(working_set_bytes=0, bytes_per_second=1e9),)})
    seconds, bound = frame_seconds(model, "bf16", slow)
    assert bound == "memory"
    assert seconds == pytest.approx(model.bytes_per_frame("bf16") / 1e9, rel=0.01)


def test_what_the_last_cache_holds_is_not_charged(profile: Profile) -> None:
    mini = read_model("config:gwm-mini")
    assert cache_bytes(profile) == 50 * 2**20
    slow = peaks_of_device(profile, "fp32").model_copy(
        update={"bandwidths": (Bandwidth(working_set_bytes=0, bytes_per_second=1.0),)}
    )
    seconds, bound = frame_seconds(mini, "fp32", slow, cache_bytes(profile))
    assert bound == "compute"
    assert seconds == pytest.approx(mini.flops_per_frame / slow.matrix_flops_per_second)


def plan_sessions(model: PlannedModel, peaks: Peaks, memory: float, fps: float) -> tuple[int, str]:
    found = plan_format(model, "bf16", peaks, int(memory), 0.0, fps, "optimistic")
    return found.sessions, found.sessions_bound


def test_sessions_end_with_memory_or_with_time(model: PlannedModel, profile: Profile) -> None:
    peaks = peaks_of_device(profile, "bf16")
    weights, session = model.weight_bytes("bf16"), model.session_bytes("bf16")
    assert plan_sessions(model, peaks, weights + 3.5 * session, 1e-6) == (3, "memory size")
    assert plan_sessions(model, peaks, weights + 0.5 * session, 1e-6) == (0, "memory size")
    assert plan_sessions(model, peaks, weights - 1, 1e-6) == (0, "weights")
    alone = frame_seconds(model, "bf16", peaks)[0]
    sessions, bound = plan_sessions(model, peaks, 1e15, 1 / (4.5 * alone))
    assert (sessions, bound) == (4, "time")
    assert plan_sessions(model, peaks, 1e15, 1.01 / alone) == (0, "time")


@pytest.mark.parametrize("profile", ["cpu"], indirect=True)
def test_a_target_without_figures_is_said_not_to_be_projected(model: PlannedModel, profile: Profile) -> None:
    found = plan_device(model, profile, 24.0)
    assert found.formats == ()
    assert "gives no peaks" in found.left_out


@pytest.mark.parametrize("profile", ["cpu"], indirect=True)
def test_this_host_is_measured_when_asked(model: PlannedModel, profile: Profile) -> None:
    peaks = Peaks(
        name="this host",
        matrix_flops_per_second=1e11,
        bandwidths=(Bandwidth(working_set_bytes=1, bytes_per_second=1e10),),
        shared_units=True,
        projected=False,
        source="this test",
    )
    plan = make_plan(
        model, [profile], [], 24.0, True, lambda threads: Calibration(threads=threads, peaks=peaks, samples=())
    )
    (device,) = plan.devices
    assert device.measured_peaks == peaks
    assert [(found.format, found.reading) for found in device.formats] == [("fp32", "measured on this host")]
    assert device.formats[0].floor_ms >= model.flops_per_frame / 1e11 * 1000
    assert plan.label == "projection"


def test_sessions_share_weights_and_each_move_their_own_state(model: PlannedModel, profile: Profile) -> None:
    slow = peaks_of_device(profile, "bf16").model_copy(
        update={"bandwidths": (Bandwidth(working_set_bytes=0, bytes_per_second=1e9),)}
    )
    one, three = (frame_seconds(model, "bf16", slow, sessions=sessions)[0] for sessions in (1, 3))
    weights = sum(part.calls_per_frame * part.parameters * 2 for part in model.components)
    assert three - one == pytest.approx(2 * (model.bytes_per_frame("bf16") - weights) / 1e9, rel=1e-3)
