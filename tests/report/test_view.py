"""The order and the words are right: the worst decides, and absence never reads as passed."""

import math

import pytest

from porting.record import Outcome, Step, TargetRecord, Verdict
from porting.report import view
from tests.report.records import cpu_profile, failing, make_check, not_measured, passing


def make_target(outcome: Outcome, *steps: tuple[Step, Outcome], highest: Step = Step.THROUGHPUT) -> TargetRecord:
    checks = tuple(make_check(step, f"check {index}", result) for index, (step, result) in enumerate(steps))
    verdict = Verdict(outcome=outcome, reached=None, highest_possible=highest, checks=checks)
    return TargetRecord(profile=cpu_profile(), precision="fp32", verdict=verdict)


def test_a_failed_check_decides_over_passed_and_unmeasured_ones() -> None:
    target = make_target(
        Outcome.FAILED,
        (Step.PARITY, Outcome.PASSED),
        (Step.PARITY, Outcome.NOT_MEASURED),
        (Step.PARITY, Outcome.FAILED),
    )
    words = {cell.step: cell.word for cell in view.make_cells(target)}
    assert words[Step.PARITY] == "failed"
    assert {words[step] for step in words if step is not Step.PARITY} == {"not measured"}


def test_an_unmeasured_check_decides_over_passed_ones() -> None:
    target = make_target(Outcome.NOT_MEASURED, (Step.PARITY, Outcome.PASSED), (Step.PARITY, Outcome.NOT_MEASURED))
    assert view.make_cells(target)[3].word == "not measured"
    assert "not measured" in view.say_verdict(target).lower()


def test_of_passed_checks_the_one_closest_to_its_limit_is_named() -> None:
    near, far = (make_check(Step.PARITY, name, value=value, limit=2.0) for name, value in (("a", 1.9), ("b", 0.1)))
    bare = make_check(Step.PARITY, "c")
    assert view.find_deciding([far, bare, near]) is near
    assert view.find_deciding([]) is None
    zero = make_check(Step.PARITY, "e", value=0.0, limit=0.0)
    assert view.list_closest([far, zero, bare, near], 5) == [near, far]
    nan = make_check(Step.PARITY, "d", value=math.nan, limit=2.0)
    assert view.find_deciding([nan, far]) is far


def test_steps_that_this_host_cannot_reach_are_not_run_here() -> None:
    words = [cell.word for cell in view.make_cells(not_measured().targets["cpu"])]
    assert words == ["not measured", "not measured", "not measured", "not run here", "not run here"]


def test_a_verdict_without_checks_did_not_pass() -> None:
    target = make_target(Outcome.NOT_MEASURED)
    assert view.say_verdict(target) == "No check was made, and nothing passes by absence."
    assert view.outcome_of(target.model_copy(update={"verdict": None})) is Outcome.NOT_MEASURED


def test_what_failed_is_listed_first() -> None:
    verdict = failing().targets["cpu"].verdict
    assert verdict is not None
    outcomes = [check.outcome for check in view.order_checks(verdict.checks)]
    assert outcomes == [Outcome.FAILED] * 2 + [Outcome.NOT_MEASURED] + [Outcome.PASSED] * 3


def test_an_output_that_was_not_measured_is_the_worst() -> None:
    target = failing().targets["cpu"]
    own, others = view.split_outputs(target)
    assert not own[0].measured
    assert own[1].ratio == 41
    assert {row.backend for row in own} == {"onnxruntime"}
    assert {row.backend for row in others} == {"openvino", "inductor"}
    worst = view.find_worst(own)
    assert worst is not None
    assert not worst.measured


def test_the_choice_says_by_how_much() -> None:
    record = passing()
    target = record.targets["cpu"]
    sentence = view.compare_backends(record, target)[0].sentence
    assert sentence == "onnxruntime, 2.41 ms a call; 1.61x faster than openvino (3.87 ms)."
    slow = tuple(a.model_copy(update={"median_ms": 1.2}) if a.backend == "inductor" else a for a in target.artifacts)
    sentence = view.compare_backends(record, target.model_copy(update={"artifacts": slow}))[0].sentence
    assert sentence == "onnxruntime, 2.41 ms a call; inductor took 0.498x of it (1.2 ms)."
    none = tuple(a.model_copy(update={"chosen": False}) for a in target.artifacts)
    choice = view.compare_backends(record, target.model_copy(update={"artifacts": none}))[0]
    assert choice.sentence == "None of 3 artifacts was chosen."
    assert {row.speed for row in choice.rows} == {"not measured"}


def test_speed_over_torch_compile_needs_torch_compile() -> None:
    timed = passing().targets["cpu"].throughput
    assert timed is not None
    assert view.against_compile(timed.drivers[0], timed.drivers) == "1.44x"
    assert view.against_compile(timed.drivers[0], timed.drivers[:2]) == "not measured"


@pytest.mark.parametrize(("values", "lowest"), [((), None), ((3.0, 1.0), 1.0)])
def test_lowest(values: tuple[float, ...], lowest: float | None) -> None:
    assert view.find_lowest(values) == lowest
    assert math.isnan(view.find_lowest((1.0, math.nan)) or 0.0)


def test_the_worst_frame_of_an_output_may_be_one_that_is_no_number() -> None:
    parity = passing(6).targets["cpu"].parity
    assert parity is not None
    ratios = (1.0, 1.2, math.nan, 1.9, 1.1, 1.0)
    forced = parity.teacher_forced[0].model_copy(update={"ratio": ratios})
    rows = view.list_worst_frames([*parity.teacher_forced[1:], forced])
    assert (rows[0].output, rows[0].frame) == (forced.output, 2)
