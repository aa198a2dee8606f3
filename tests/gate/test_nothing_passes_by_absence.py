"""A bundle that lacks evidence, is changed, or is of something else never passes the gate."""

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from porting.bundle import Bundle
from porting.errors import BundleError, RecordError
from porting.gate import GateVerdict, Limits, format_baseline, read_baseline
from porting.gate import judge as judge_record
from porting.pipeline.gating import gate_bundle
from porting.record import Distribution, Outcome, PortRecord, StageRecord, Step
from tests.gate.records import add_target, baseline_of, find, judge, make_target, ported, write_bundle
from tests.verdict.records import TARGET, with_free_running, with_parity, with_target, with_throughput
from tests.verdict.test_nothing_passes_by_absence import SPOILT, outcome_of

TIMES = Distribution(frames=240, mean=10.0, p50=9.9, p90=10.5, p99=12.0, max=15.0)


def test_the_port_itself_passes() -> None:
    verdict = judge(ported(), baseline_of())
    assert verdict.outcome is Outcome.PASSED, verdict.troubles
    assert all(check.reason.endswith(".") for check in verdict.checks)
    assert verdict.exit_code == 0


def without_rejudging(record: PortRecord) -> GateVerdict:
    """The gate's own checks on an edited record that still says it passed."""
    return judge(record, baseline_of())


@pytest.mark.parametrize(
    ("name", "changes", "outcome"),
    [
        ("no throughput", {"throughput": None}, Outcome.NOT_MEASURED),
        ("no parity", {"parity": None}, Outcome.NOT_MEASURED),
        ("no artifact", {"artifacts": ()}, Outcome.NOT_MEASURED),
        ("no verdict", {"verdict": None}, Outcome.NOT_MEASURED),
    ],
)
def test_lacking_evidence(name: str, changes: dict[str, Any], outcome: Outcome) -> None:
    verdict = without_rejudging(with_target(ported(), **changes))
    assert verdict.outcome is not Outcome.PASSED
    own = [check for check in verdict.checks if check.target == TARGET and check.outcome is not Outcome.PASSED]
    assert own, "the gate's own checks see it as well, not only the verdict that is judged anew"
    assert outcome in {check.outcome for check in own}


@pytest.mark.parametrize(
    "record",
    [
        with_throughput(ported(), frame_ms=TIMES.model_copy(update={"frames": 0})),
        with_throughput(ported(), paced=ported().targets[TARGET].throughput.paced.model_copy(update={"frames": 0})),  # type: ignore[union-attr]
        with_throughput(ported(), frames_per_second=math.nan),
        with_throughput(ported(), frame_ms=TIMES.model_copy(update={"p99": math.nan})),
        with_throughput(ported(), memory_high_water_bytes=0),
        with_throughput(ported(), memory_slope_bytes_per_frame=math.nan),
        with_throughput(ported(), drivers=()),
        with_free_running(ported(), psnr_db=(), ssim=(), envelope_psnr_db=(), envelope_ssim=()),
        with_free_running(ported(), psnr_db=(math.nan,) * 6),
        with_free_running(ported(), first_failing_frame=3),
        with_parity(ported(), teacher_forced=()),
        with_parity(ported(), outputs=()),
    ],
)
def test_no_frames_and_no_numbers(record: PortRecord) -> None:
    verdict = judge(record, baseline_of())
    troubles = [check for check in verdict.troubles if check.target == TARGET]
    assert verdict.outcome is not Outcome.PASSED
    assert troubles


def test_a_nan_of_the_evidence_fails() -> None:
    parity = ported().targets[TARGET].parity
    assert parity is not None
    spoilt = (parity.outputs[0].model_copy(update={"ratio": math.nan}), *parity.outputs[1:])
    verdict = judge(with_parity(ported(), outputs=spoilt), baseline_of())
    assert find(verdict, "error budget ratio", subject="dreamer").outcome is Outcome.FAILED
    assert verdict.exit_code == 1


def test_whatever_is_spoilt_the_gate_does_not_pass() -> None:
    baseline = baseline_of()
    whole = ported()
    passed = []
    for path, record in SPOILT.items():
        if outcome_of(path) is None:
            continue
        edited = record.model_copy(update={"stages": whole.stages})
        edited = with_target(edited, verdict=whole.targets[TARGET].verdict)
        if judge(edited, baseline).outcome is Outcome.PASSED:
            passed.append(path)
    assert passed == []


def test_a_changed_file_fails(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, ported())
    assert gate_bundle(bundle, baseline_of(), Limits()).outcome is Outcome.PASSED
    (bundle / "targets/cpu/frames.csv").write_text("changed")
    verdict = gate_bundle(bundle, baseline_of(), Limits())
    assert verdict.exit_code == 1
    assert "targets/cpu/frames.csv" in find(verdict, "files", "bundle").reason


def test_a_missing_file_fails(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, ported())
    (bundle / "components/decoder.onnx").unlink()
    assert gate_bundle(bundle, baseline_of(), Limits()).exit_code == 1


def test_a_record_without_files_is_not_measured(tmp_path: Path) -> None:
    Bundle(tmp_path).write_record(ported())
    assert gate_bundle(tmp_path, baseline_of(), Limits()).exit_code == 3


def test_a_record_judged_without_its_bundle_is_not_measured() -> None:
    verdict = judge_record(ported(), baseline_of(), Limits())
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert {check.name for check in verdict.troubles} == {"files", "verdict judged anew"}


def test_a_verdict_that_its_evidence_does_not_carry_fails() -> None:
    parity = ported().targets[TARGET].parity
    assert parity is not None
    wrong = tuple(output.model_copy(update={"ratio": 1.9, "error_port": 5e-7}) for output in parity.outputs)
    record = with_free_running(with_parity(ported(), outputs=wrong), ssim=(0.2,) * 6)
    check = find(judge(record, baseline_of()), "verdict judged anew", "bundle")
    assert check.outcome is Outcome.FAILED
    assert "recorded as passed" in check.reason


def test_an_extra_target_is_not_measured() -> None:
    record = add_target(ported(), "b200", make_target(ported()))
    verdict = judge(record, baseline_of())
    assert verdict.exit_code == 3
    assert "not in the baseline" in find(verdict, "targets", "b200").reason


def test_a_missing_target_is_not_measured() -> None:
    baseline = baseline_of(add_target(ported(), "b200", make_target(ported())))
    verdict = judge(ported(), baseline)
    assert verdict.exit_code == 3
    assert "not in the bundle" in find(verdict, "targets", "b200").reason


def test_targets_that_were_not_asked_for_are_told() -> None:
    baseline = baseline_of(add_target(ported(), "b200", make_target(ported())))
    verdict = judge(ported(), baseline, Limits(targets=(TARGET,)))
    assert verdict.outcome is Outcome.PASSED
    assert verdict.left_out == ("targets b200: not asked for",)


def test_a_target_that_nobody_has_is_not_measured() -> None:
    assert judge(ported(), baseline_of(), Limits(targets=(TARGET, "rubin"))).exit_code == 3
    assert judge(ported(), baseline_of(), Limits(targets=("rubin",))).exit_code == 3


def test_a_bundle_without_targets_is_not_measured() -> None:
    assert judge(ported().model_copy(update={"targets": {}}), baseline_of()).exit_code == 3


def test_a_stage_that_broke_fails() -> None:
    broken = StageRecord(name="kernels b200", key="0" * 64, seconds=1.0, error="Traceback\nRuntimeError: no")
    record = ported().model_copy(update={"stages": (*ported().stages, broken)})
    verdict = judge(record, baseline_of())
    assert verdict.exit_code == 1
    assert "kernels b200" in find(verdict, "stages", "bundle").reason


def test_other_weights_are_not_measured() -> None:
    checkpoint = ported().checkpoint.model_copy(update={"digest": "f" * 64})
    verdict = judge(ported().model_copy(update={"checkpoint": checkpoint}), baseline_of())
    assert verdict.exit_code == 3
    assert find(verdict, "model", "bundle").outcome is Outcome.NOT_MEASURED


def test_a_lower_step_than_the_baselines_is_not_measured() -> None:
    record = with_target(ported(), throughput=None)
    lower = with_target(record, verdict=record.targets[TARGET].verdict.model_copy(update={"reached": Step.PARITY}))  # type: ignore[union-attr]
    check = find(judge(lower, baseline_of()), "step reached")
    assert check.outcome is Outcome.NOT_MEASURED
    assert "the baseline reached throughput" in check.reason


def test_a_step_that_is_required_and_not_reached_is_not_measured() -> None:
    compiled = make_target(ported(), parity=None, throughput=None)
    verdict = compiled.verdict
    assert verdict is not None
    checks = tuple(check for check in verdict.checks if check.step in {Step.EXPORTED, Step.COMPILED, Step.ATTESTED})
    reached = {"reached": Step.ATTESTED, "highest_possible": Step.ATTESTED, "checks": checks}
    record = with_target(ported(), parity=None, throughput=None, verdict=verdict.model_copy(update=reached))
    baseline = baseline_of(record)
    assert judge(record, baseline).outcome is Outcome.PASSED
    assert judge(record, baseline, Limits(require=Step.PARITY)).exit_code == 3


@pytest.mark.parametrize("version", [0, 2, "1", True, None])
def test_a_baseline_of_an_unknown_schema_is_refused(tmp_path: Path, version: object) -> None:
    import json

    data = {**json.loads(format_baseline(baseline_of())), "schema_version": version}
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(data))
    with pytest.raises(RecordError, match="schema_version"):
        read_baseline(path)


def test_a_record_of_an_unknown_schema_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, ported())
    text = (bundle / "port.json").read_text().replace('"schema_version": 1', '"schema_version": 2')
    (bundle / "port.json").write_text(text)
    with pytest.raises(BundleError, match="schema_version is 2"):
        gate_bundle(bundle, baseline_of(), Limits())


def test_a_verdict_cannot_be_made_to_pass_without_checks() -> None:
    with pytest.raises(ValidationError, match="without checks"):
        GateVerdict(outcome=Outcome.PASSED, model="m", against="a", checks=())
