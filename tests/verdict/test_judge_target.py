"""Each way for a port to be wrong is noticed by the check that is there for it, and named in its reason."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from porting.errors import UsageError
from porting.record import Check, Outcome, PortRecord, Step, Verdict
from porting.verdict import judge_target
from tests.verdict.records import (
    FRAMES,
    TARGET,
    judge,
    make_driver,
    make_output,
    make_record,
    with_free_running,
    with_parity,
    with_target,
    with_throughput,
)

FAILED, NOT_MEASURED, PASSED = Outcome.FAILED, Outcome.NOT_MEASURED, Outcome.PASSED
DISTURBED = {"valid": False, "disturbances": ("other processes took 60% of the 2 cores needed",)}


def bad_checks(verdict: Verdict) -> list[Check]:
    return [check for check in verdict.checks if check.outcome is not PASSED]


def component_changed(record: PortRecord, contract: dict[str, Any] | None = None, **changes: Any) -> PortRecord:
    first, *others = record.components
    if contract is not None:
        changes["contract"] = first.contract.model_copy(update=contract)
    return record.model_copy(update={"components": (first.model_copy(update=changes), *others)})


def artifact_changed(record: PortRecord, attestation: dict[str, Any] | None = None, **changes: Any) -> PortRecord:
    first, *others = record.targets[TARGET].artifacts
    if attestation is not None:
        assert first.attestation is not None
        changes["attestation"] = first.attestation.model_copy(update=attestation)
    return with_target(record, artifacts=(first.model_copy(update=changes), *others))


def outputs_changed(record: PortRecord, index: int, **changes: Any) -> PortRecord:
    outputs = list(parity_of(record).outputs)
    outputs[index] = outputs[index].model_copy(update=changes)
    return with_parity(record, outputs=tuple(outputs))


def level_changed(record: PortRecord, index: int, **changes: Any) -> PortRecord:
    levels = list(parity_of(record).teacher_forced)
    levels[index] = levels[index].model_copy(update=changes)
    return with_parity(record, teacher_forced=tuple(levels))


def parity_of(record: PortRecord) -> Any:
    return record.targets[TARGET].parity


def timed_of(record: PortRecord) -> Any:
    return record.targets[TARGET].throughput


def one_worse(value: float, other: float, at: int) -> tuple[float, ...]:
    return tuple(other if index == at else value for index in range(FRAMES))


CASES: list[tuple[str, Callable[[PortRecord], PortRecord], Step, Outcome, str]] = [
    # exported
    ("nothing exported", lambda r: r.model_copy(update={"components": ()}), Step.EXPORTED, NOT_MEASURED, "dreamer"),
    ("one missing", lambda r: r.model_copy(update={"components": r.components[:1]}), Step.EXPORTED, FAILED, "decoder"),
    ("one twice", lambda r: r.model_copy(update={"components": (*r.components, r.components[0])}), Step.EXPORTED,
     FAILED, "dreamer"),
    ("graph is off", lambda r: component_changed(r, {"max_relative_error": 0.02}), Step.EXPORTED, FAILED, "0.02"),
    ("state undeclared", lambda r: component_changed(r, {"states_in": ()}), Step.EXPORTED, FAILED, "reads keys"),
    ("buffer mutated", lambda r: component_changed(r, {"mutated_buffers": ("tick",)}), Step.EXPORTED, FAILED, "tick"),
    ("sink not run", lambda r: component_changed(r, {"exercised": ("closed loop", "reset", "aliasing", "wrap-around")}),
     Step.EXPORTED, NOT_MEASURED, "sink"),
    # compiled
    ("nothing compiled", lambda r: with_target(r, artifacts=()), Step.COMPILED, NOT_MEASURED, "No component"),
    ("none chosen", lambda r: artifact_changed(r, chosen=False), Step.COMPILED, FAILED, "dreamer: 0 of 1"),
    ("did not compile", lambda r: artifact_changed(r, path=None, error="unknown operator"), Step.COMPILED, FAILED,
     "unknown operator"),
    ("other precision", lambda r: artifact_changed(r, precision="bf16"), Step.COMPILED, FAILED, "bf16, not fp32"),
    ("stranger", lambda r: artifact_changed(r, component="other"), Step.COMPILED, FAILED, "other"),
    # attested
    ("not attested", lambda r: artifact_changed(r, attestation=None) and with_target(
        r, artifacts=tuple(a.model_copy(update={"attestation": None}) for a in r.targets[TARGET].artifacts)),
     Step.ATTESTED, NOT_MEASURED, "nothing was read back"),
    ("silently in bf16", lambda r: artifact_changed(r, {"layers_by_precision": {"fp32": 3, "bf16": 40}}), Step.ATTESTED,
     FAILED, "bf16 is less than fp32"),
    ("silently in int8", lambda r: artifact_changed(r, {"layers_by_precision": {"f32": 3, "INT8": 1}}), Step.ATTESTED,
     FAILED, "INT8 is less"),
    ("asked is not there", lambda r: artifact_changed(r, {"layers_by_precision": {"int64": 3, "fp32": 0}}),
     Step.ATTESTED, FAILED, "none computes in fp32"),
    ("asked of it was less", lambda r: artifact_changed(r, {"precision_asked": "fp16"}), Step.ATTESTED, FAILED,
     "fp16 was asked"),
    # parity, call by call
    ("not compared", lambda r: with_target(r, parity=None), Step.PARITY, NOT_MEASURED, "not compared"),
    ("no outputs", lambda r: with_parity(r, outputs=()), Step.PARITY, NOT_MEASURED, "No output"),
    ("gold is no gold", lambda r: with_parity(r, gold="fp32"), Step.PARITY, FAILED, "Gold in fp32"),
    ("over the budget", lambda r: outputs_changed(r, 3, ratio=2.01, inputs="large values"), Step.PARITY, FAILED,
     "2.01 times"),
    ("not finite", lambda r: outputs_changed(r, 2, finite=False), Step.PARITY, FAILED, "no number"),
    ("no samples", lambda r: outputs_changed(r, 2, samples=0), Step.PARITY, NOT_MEASURED, "0 samples"),
    ("output not compared", lambda r: with_parity(r, outputs=tuple(
        o for o in parity_of(r).outputs if o.output != "next_cache")), Step.PARITY, FAILED, "lacks next_cache"),
    ("only on hard inputs", lambda r: outputs_changed(r, 0, inputs="constant rows"), Step.PARITY, FAILED,
     "lacks latent"),
    ("unknown output", lambda r: with_parity(r, outputs=(
        *parity_of(r).outputs, make_output("decoder", "mask", "trace"))), Step.PARITY, FAILED, "mask"),
    ("component not compared", lambda r: with_parity(r, outputs=tuple(
        o for o in parity_of(r).outputs if o.component != "decoder")), Step.PARITY, NOT_MEASURED, "was not compared"),
    ("unknown component", lambda r: with_parity(r, outputs=(
        *parity_of(r).outputs, make_output("ghost", "frame", "trace"))), Step.PARITY, FAILED, "ghost"),
    # parity, frame by frame
    ("no frames", lambda r: with_parity(r, teacher_forced=()), Step.PARITY, NOT_MEASURED, "No frame was started"),
    ("one bad frame", lambda r: level_changed(r, 2, ratio=one_worse(1.1, 9.0, 4)), Step.PARITY, FAILED,
     "frame: the worst of 6 frames is frame 4"),
    ("one NaN frame", lambda r: level_changed(r, 2, ratio=one_worse(1.1, math.nan, 3)), Step.PARITY, FAILED, "frame 3"),
    ("state not compared", lambda r: with_parity(r, teacher_forced=parity_of(r).teacher_forced[:3]), Step.PARITY,
     FAILED, "lack cache"),
    ("unknown value", lambda r: level_changed(r, 0, output="mask"), Step.PARITY, FAILED, "mask"),
    ("too few frames", lambda r: level_changed(
        r, 0, ratio=(1.0,), error_port=(1e-7,), error_eager=(1e-7,)), Step.PARITY, NOT_MEASURED, "1 frames"),
    ("frames do not match", lambda r: level_changed(r, 0, ratio=(1.0,) * 9), Step.PARITY, FAILED, "9 and 6"),
    # parity, left alone
    ("not left alone", lambda r: with_parity(r, free_running=None), Step.PARITY, NOT_MEASURED, "feed itself"),
    ("drifts", lambda r: with_free_running(
        r, psnr_db=(110.0, 99.0, 95.0, 93.0, 80.0, 90.0), first_failing_frame=4), Step.PARITY, FAILED,
     "the first frame below is 4"),
    ("looks different", lambda r: with_free_running(r, ssim=one_worse(0.9999, 0.9, 2), first_failing_frame=2),
     Step.PARITY, FAILED, "the first frame below is 2"),
    ("no envelope", lambda r: with_free_running(r, envelope_members=0), Step.PARITY, NOT_MEASURED, "0 reruns"),
    ("no sessions", lambda r: with_free_running(r, sessions=0), Step.PARITY, NOT_MEASURED, "0 sessions"),
    ("short rollout", lambda r: with_free_running(r, psnr_db=(110.0,), ssim=(1.0,), envelope_psnr_db=(110.0,),
                                                  envelope_ssim=(1.0,)), Step.PARITY, NOT_MEASURED, "1 frames"),
    ("failure forgotten", lambda r: with_free_running(r, first_failing_frame=3), Step.PARITY, FAILED, "recorded is 3"),
    # throughput
    ("not timed", lambda r: with_target(r, throughput=None), Step.THROUGHPUT, NOT_MEASURED, "No frame was timed"),
    ("too slow", lambda r: with_throughput(r, frames_per_second=20.0), Step.THROUGHPUT, FAILED, "promised are 24"),
    ("no fps", lambda r: with_throughput(r, frames_per_second=0.0), Step.THROUGHPUT, FAILED, "0 frames per second"),
    ("misses deadlines", lambda r: with_throughput(
        r, paced=timed_of(r).paced.model_copy(update={"missed": 2})), Step.THROUGHPUT, FAILED, "2 of 72 frames missed"),
    ("leaks", lambda r: with_throughput(r, memory_slope_bytes_per_frame=300.0), Step.THROUGHPUT, FAILED, "300 bytes"),
    ("too few timed", lambda r: with_throughput(
        r, frame_ms=timed_of(r).frame_ms.model_copy(update={"frames": 10}),
        closed_loop=timed_of(r).closed_loop.model_copy(update={"frames": 10})), Step.THROUGHPUT, NOT_MEASURED,
     "10 frames"),
    ("none paced", lambda r: with_throughput(
        r, paced=timed_of(r).paced.model_copy(update={"frames": 0})), Step.THROUGHPUT, NOT_MEASURED,
     "0 frames were paced"),
    ("fps from nowhere", lambda r: with_throughput(r, frames_per_second=150.0), Step.THROUGHPUT, FAILED,
     "do not follow"),
    ("other deadline", lambda r: with_throughput(r, deadline_ms=100.0), Step.THROUGHPUT, FAILED, "deadline of 100"),
    ("p99 under p50", lambda r: with_throughput(
        r, frame_ms=timed_of(r).frame_ms.model_copy(update={"p99": 1.0})), Step.THROUGHPUT, FAILED, "p99"),
    ("negative misses", lambda r: with_throughput(
        r, paced=timed_of(r).paced.model_copy(update={"missed": -1})), Step.THROUGHPUT, FAILED, "-1 of 72"),
    ("no comparison", lambda r: with_throughput(r, drivers=()), Step.THROUGHPUT, NOT_MEASURED, "in turn"),
    ("ratio is no number", lambda r: with_throughput(r, drivers=(
        make_driver("port", 10.0, ratio_to_eager=math.nan), make_driver("eager", 40.0))), Step.THROUGHPUT, FAILED,
     "port.ratio_to_eager"),
    ("disturbed and slow", lambda r: with_throughput(r, frames_per_second=20.0, **DISTURBED), Step.THROUGHPUT,
     NOT_MEASURED, "disturbed: other processes took 60%"),
    ("disturbed and late", lambda r: with_throughput(
        r, paced=timed_of(r).paced.model_copy(update={"missed": 9}), **DISTURBED), Step.THROUGHPUT, NOT_MEASURED,
     "disturbed: other processes"),
    ("disturbed and leaking", lambda r: with_throughput(r, memory_slope_bytes_per_frame=300.0, **DISTURBED),
     Step.THROUGHPUT, FAILED, "300 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "step", "outcome", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_is_wrong_is_named(
    change: Callable[[PortRecord], PortRecord], step: Step, outcome: Outcome, words: str
) -> None:
    verdict = judge(change(make_record()))
    bad = bad_checks(verdict)
    assert verdict.outcome is not PASSED
    assert any(c.step is step and c.outcome is outcome and words in c.reason for c in bad), [c.reason for c in bad]
    steps = list(Step)
    below = steps.index(min((c.step for c in bad), key=steps.index))
    assert verdict.reached is (steps[below - 1] if below else None)


def test_a_disturbed_machine_that_is_fast_enough_passes_and_says_so() -> None:
    verdict = judge(with_throughput(make_record(), **DISTURBED))
    assert verdict.outcome is PASSED
    assert any("The machine was disturbed: other processes" in check.reason for check in verdict.checks)


def test_another_backends_failure_is_not_the_ports() -> None:
    record = make_record()
    artifacts = record.targets[TARGET].artifacts
    other = artifacts[0].model_copy(update={"backend": "openvino", "chosen": False, "attestation": None})
    record = with_target(record, artifacts=(*artifacts, other))
    wrong = make_output("dreamer", "latent", "trace", backend="openvino", ratio=math.nan, finite=False)
    assert judge(with_parity(record, outputs=(*parity_of(record).outputs, wrong))).outcome is PASSED


def test_two_chosen_artifacts_are_one_too_many() -> None:
    record = make_record()
    artifacts = record.targets[TARGET].artifacts
    verdict = judge(
        with_target(record, artifacts=(*artifacts, artifacts[0].model_copy(update={"backend": "openvino"})))
    )
    assert verdict.outcome is FAILED


def test_psnr_above_the_cap_counts_as_the_cap() -> None:
    # 97.5 dB is far below an envelope of 300 dB, and no display shows it.
    record = with_free_running(make_record(), psnr_db=(97.5,) * FRAMES, envelope_psnr_db=(300.0,) * FRAMES)
    assert judge(record).outcome is PASSED
    record = with_free_running(
        make_record(), psnr_db=(96.5,) * FRAMES, envelope_psnr_db=(300.0,) * FRAMES, first_failing_frame=0
    )
    assert judge(record).outcome is FAILED


def test_without_pytorch_on_the_host_no_ratio_is_asked_for() -> None:
    nan = math.nan
    alone = make_driver("port", 10.0, ratio_to_eager=nan, ratio_low=nan, ratio_high=nan)
    verdict = judge(with_throughput(make_record(), drivers=(alone,), not_run={"eager": "no torch"}))
    assert verdict.outcome is PASSED
    assert any("eager did not run there (no torch)" in check.reason for check in verdict.checks)


@pytest.mark.parametrize("highest", list(Step))
def test_a_host_is_asked_for_no_more_than_it_can_reach(highest: Step) -> None:
    record = with_target(make_record(), parity=None, throughput=None)
    untried = tuple(a.model_copy(update={"chosen": False}) for a in record.targets[TARGET].artifacts)
    verdict = judge(with_target(record, artifacts=untried), highest)
    reachable = highest in {Step.EXPORTED, Step.COMPILED, Step.ATTESTED}
    assert verdict.outcome is (PASSED if reachable else NOT_MEASURED)
    assert verdict.reached is Step.ATTESTED
    assert verdict.highest_possible is highest


def test_evidence_of_another_host_is_judged_too() -> None:
    assert judge(make_record(), Step.ATTESTED).reached is Step.THROUGHPUT
    slow = with_throughput(make_record(), frames_per_second=20.0)
    assert judge(slow, Step.ATTESTED).outcome is FAILED


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UsageError, match="'gpu': is not in this port; it has cpu"):
        judge_target(make_record(), "gpu", Step.THROUGHPUT)
