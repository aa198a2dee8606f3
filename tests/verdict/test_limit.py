"""A floor is told and never judged; a time that no code can reach is a defect of the measurement, named."""

from typing import Any

import pytest

from porting.record import Calibration, CalibrationSample, Check, ComponentWork, FrameLimit, FrameWork, Outcome
from porting.roofline import limit_frame, settle_calibration
from porting.verdict.limit import check_limit
from tests.verdict.records import TARGET, judge, make_record, with_target


def calibration(*disturbances: str) -> Calibration:
    """10 GFLOP/s, 10 GB/s."""
    product = CalibrationSample(what="matmul", size=1000, seconds=0.2)
    copy = CalibrationSample(what="copy", size=10**6, seconds=1e-4)
    return settle_calibration(2, [product, copy], disturbances)


def make_limit(ms: float | None, *disturbances: str, **changes: Any) -> FrameLimit:
    """A component whose products take 10 ms on that peak."""
    work = ComponentWork(
        component="decoder",
        calls_per_frame=1,
        matrix_flops=10**8,
        vector_flops=0,
        weight_bytes=1000,
        input_bytes=0,
        output_bytes=0,
        copy_bytes=0,
        unfused_bytes=1000,
        operators={"MatMul": 1},
    ).model_copy(update=changes)
    frame = FrameWork(components=(work,), ring_bytes=0, replaced_bytes=0, input_bytes=0, state_bytes=0)
    made = calibration(*disturbances)
    found = limit_frame(frame, made.peaks, {} if ms is None else {"decoder": ms}, ms)
    return found.model_copy(update={"calibration": made})


def check(limit: FrameLimit) -> Check:
    (found,) = check_limit(make_record().targets[TARGET].model_copy(update={"limit": limit}))
    return found


@pytest.mark.parametrize("ms", [1000.0, 10.0, 7.0])
def test_slow_is_no_fault_and_a_little_fast_is_the_peaks(ms: float) -> None:
    assert check(make_limit(ms)).outcome is Outcome.PASSED


@pytest.mark.parametrize("ms", [6.0, 1.0, float("nan")])
def test_an_impossible_time_fails_by_name(ms: float) -> None:
    found = check(make_limit(ms))
    assert found.outcome is Outcome.FAILED
    assert f"decoder took {ms:.4g} ms of a frame, and its work at least 6.667 ms" in found.reason


def test_a_convolution_may_be_made_of_fewer_products() -> None:
    assert check(make_limit(6.0, convolution_flops=10**8)).outcome is Outcome.PASSED
    assert check(make_limit(1.5, convolution_flops=10**8)).outcome is Outcome.FAILED


def test_peaks_of_a_disturbed_machine_accuse_nobody() -> None:
    found = check(make_limit(1.0, "other processes took 80%"))
    assert found.outcome is Outcome.NOT_MEASURED
    assert "other processes took 80%" in found.reason
    assert check(make_limit(20.0, "other processes took 80%")).outcome is Outcome.PASSED


def test_nothing_else_of_a_verdict_depends_on_the_limit() -> None:
    record = make_record()
    assert check_limit(record.targets[TARGET]) == ()
    assert check_limit(record.targets[TARGET].model_copy(update={"limit": make_limit(None)})) == ()
    plain, slow = judge(record), judge(with_target(record, limit=make_limit(1e6)))
    assert slow.outcome is plain.outcome is Outcome.PASSED
    assert [c for c in slow.checks if c.name != "times are possible"] == list(plain.checks)
    assert judge(with_target(record, limit=make_limit(1.0))).outcome is Outcome.FAILED
