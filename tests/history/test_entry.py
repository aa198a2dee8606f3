import math
from datetime import UTC, datetime
from typing import Any

import pytest

from porting.errors import RecordError
from porting.history.commit import Commit
from porting.history.entry import digest_record, make_points
from porting.record import DeviceUsed, FileRecord, Outcome, Pacing, PortRecord, StageRecord, Step
from porting.record.history import METRIC_OF, HistoryPoint
from porting.record.limit import Bandwidth, FrameLimit, FrameWork, Peaks
from tests.report.records import failing, not_measured, passing

COMMIT = Commit("ab" * 20, "main")


def only_point(record: PortRecord) -> HistoryPoint:
    (point,) = make_points(record, COMMIT)
    return point


def change(record: PortRecord, part: str, **fields: object) -> PortRecord:
    """The record with other evidence of its one target."""
    target = record.targets["cpu"]
    evidence = getattr(target, part).model_copy(update=fields)
    return record.model_copy(update={"targets": {"cpu": target.model_copy(update={part: evidence})}})


def test_a_record_becomes_one_point_a_target() -> None:
    record = passing()
    other = record.targets["cpu"]
    points = make_points(record.model_copy(update={"targets": {"cpu": other, "also": other}}), COMMIT)
    assert [point.target for point in points] == ["also", "cpu"]
    point = only_point(record)
    assert other.parity is not None
    assert other.parity.free_running is not None
    assert (point.commit, point.branch, point.model) == ("ab" * 20, "main", "gwm-mini-worlds")
    assert (point.outcome, point.reached) == (Outcome.PASSED, Step.THROUGHPUT)
    assert point.when == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert point.values == pytest.approx(
        {
            "fps": 102.0, "p50": 9.8, "p99": 9.8 * 1.4, "missed": 1 / 72, "eager_ratio": 38.2 / 9.8,
            "joules_per_frame": 0.41, "memory": 412, "budget_ratio": 1.2485,
            "psnr_end": other.parity.free_running.psnr_db[-1],
        },
        rel=0.01,
    )  # fmt: skip
    assert point.values.keys() | point.absent.keys() == METRIC_OF.keys()


def test_the_commits_own_time_is_the_points_time() -> None:
    when = datetime(2020, 1, 1, tzinfo=UTC)
    assert make_points(passing(), Commit("ab" * 20, when=when))[0].when == when


def test_nothing_measured_is_absent_with_its_reason_and_never_0() -> None:
    point = only_point(not_measured())
    assert point.values == {}
    assert point.outcome is Outcome.NOT_MEASURED
    assert point.absent["fps"] == "no frame was timed"
    assert point.absent["budget_ratio"] == "no parity was measured"
    assert point.absent["psnr_end"] == "no free rollout was run"


def test_a_figure_that_is_no_number_is_absent_with_its_reason() -> None:
    timed = change(passing(), "throughput", frames_per_second=math.nan)
    assert only_point(timed).absent["fps"] == "what was measured is nan, which is no figure"
    assert only_point(failing()).absent["budget_ratio"] == "1 of 8 outputs of chosen artifacts have no ratio"
    parity = passing().targets["cpu"].parity
    assert parity is not None
    forced = parity.teacher_forced[0].model_copy(update={"ratio": (1.0, math.nan, 9.0)})
    broken = change(passing(), "parity", teacher_forced=(forced,))
    assert only_point(broken).absent["budget_ratio"] == "what was measured is nan, which is no figure"


def test_a_port_whose_bits_agree_has_the_cap_for_a_psnr() -> None:
    record = passing()
    parity = record.targets["cpu"].parity
    assert parity is not None
    assert parity.free_running is not None
    free = parity.free_running.model_copy(update={"psnr_db": (40.0, math.inf)})
    cap = record.targets["cpu"].profile.parity.psnr_cap_db
    assert only_point(change(record, "parity", free_running=free)).values["psnr_end"] == cap
    lost = free.model_copy(update={"psnr_db": (40.0, -math.inf)})
    assert "-inf" in only_point(change(record, "parity", free_running=lost)).absent["psnr_end"]


def test_no_frames_and_no_comparison_are_no_figures() -> None:
    none = Pacing(frames=0, missed=0, longest_stall_ms=0.0, jitter_ms=0.0)
    point = only_point(change(passing(), "throughput", paced=none, drivers=(), memory_high_water_bytes=0, energy=None))
    assert {name: point.absent[name] for name in ("missed", "eager_ratio", "memory", "joules_per_frame")} == {
        "missed": "no frame was paced",
        "eager_ratio": "not driven in turn with PyTorch eager",
        "memory": "memory was not read",
        "joules_per_frame": "no energy was read",
    }
    timed = passing().targets["cpu"].throughput
    assert timed is not None
    untimed = change(passing(), "throughput", frame_ms=timed.frame_ms.model_copy(update={"frames": 0}))
    assert only_point(untimed).absent["fps"] == "no frame was timed after warm-up"


@pytest.mark.parametrize(("measured_ms", "achieved"), [(10.0, 0.25), (None, None), (0.0, None)])
def test_the_share_of_the_limit_is_kept_where_measured(measured_ms: float | None, achieved: float | None) -> None:
    peaks = Peaks(
        name="x", matrix_flops_per_second=1e9, bandwidths=(Bandwidth(working_set_bytes=1, bytes_per_second=1e9),),
        shared_units=True, projected=False, source="x",
    )  # fmt: skip
    work = FrameWork(components=(), ring_bytes=0, replaced_bytes=0, input_bytes=0, state_bytes=0)
    limit = FrameLimit(work=work, peaks=peaks, components=(), copy_ms=2.5, measured_ms=measured_ms)
    record = passing()
    target = record.targets["cpu"].model_copy(update={"limit": limit})
    point = only_point(record.model_copy(update={"targets": {"cpu": target}}))
    assert point.values.get("achieved") == achieved
    assert ("achieved" in point.absent) is (achieved is None)
    assert only_point(record).absent["achieved"] == "the record holds no floor of a frame"


def test_a_disturbed_run_says_so_and_its_times_judge_nothing() -> None:
    point = only_point(failing())
    assert point.disturbances == ("load of other processes: 3.2",)
    assert "fps" in point.values
    assert not point.counts_for(METRIC_OF["fps"])
    assert point.counts_for(METRIC_OF["memory"])
    assert only_point(change(failing(), "throughput", disturbances=())).disturbances


def test_a_report_written_anew_makes_no_other_record() -> None:
    record = passing()
    page = FileRecord(path="report.html", sha256="cd" * 32, nbytes=7)
    stage = StageRecord(name="report", key="0" * 64, seconds=1.0, files=("report.html",))
    written = record.model_copy(update={"files": (page,), "stages": (stage,)})
    assert digest_record(written) == digest_record(record)
    assert digest_record(PortRecord.model_validate_json(record.model_dump_json(by_alias=True))) == digest_record(record)


def test_any_other_difference_makes_another_record() -> None:
    record = passing()
    others = [
        change(record, "throughput", frames_per_second=102.0000001),
        record.model_copy(update={"files": (FileRecord(path="trace/a", sha256="cd" * 32, nbytes=7),)}),
        record.model_copy(update={"created": "2026-11-22T12:00:01+00:00"}),
    ]
    assert len({digest_record(made) for made in (record, *others)}) == 4


def test_the_fingerprint_is_of_machine_and_versions_and_not_of_worldport() -> None:
    record = passing()
    timed = record.targets["cpu"].throughput
    assert timed is not None
    host = timed.host

    def found(**fields: object) -> str:
        return only_point(change(record, "throughput", **fields)).fingerprint

    def on(**fields: Any) -> str:
        return found(host=host.model_copy(update=fields))

    own = only_point(record).fingerprint
    told = {**host.packages, "worldport": "9.9.9"}
    newer = {**host.packages, "torch": "2.14.0"}
    assert {on(packages=told), on(memory_bytes=host.memory_bytes + 2**20)} == {own}
    assert len({own, on(cpu="Another"), on(packages=newer), on(threads=1), on(system="Linux 7.0")}) == 5
    device = DeviceUsed(name="NVIDIA B200", architecture="sm_100", driver="580.65", clock_mhz=1965.0)
    clock, driver = (device.model_copy(update=fields) for fields in ({"clock_mhz": 1950.0}, {"driver": "580.66"}))
    assert found(device=device) == found(device=clock) != own
    assert found(device=device) != found(device=driver)


def test_a_record_without_targets_or_time_is_refused() -> None:
    with pytest.raises(RecordError, match="has no target, so there is nothing to keep"):
        make_points(passing().model_copy(update={"targets": {}}), COMMIT)
    with pytest.raises(RecordError, match=r"created is 'yesterday', which is no ISO 8601 time"):
        make_points(passing().model_copy(update={"created": "yesterday"}), COMMIT)
