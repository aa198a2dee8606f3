"""What changed is told, in the right direction, and nothing looks better for having gone unmeasured."""

import math
from typing import Any

import pytest

from porting.record import Outcome, PortRecord, TargetRecord
from porting.report import changes
from tests.report.records import failing, make_record, not_measured, passing
from tests.verdict.test_kernels import GOOD


def timed(**update: Any) -> TargetRecord:
    """A passing target with another throughput."""
    target = passing().targets["cpu"]
    assert target.throughput is not None
    return target.model_copy(update={"throughput": target.throughput.model_copy(update=update)})


def compare(before: TargetRecord | None, now: TargetRecord | None) -> changes.TargetChange:
    sides = [make_record({"cpu": target} if target else {}) for target in (before, now)]
    found = changes.compare_targets(*sides)
    assert len(found) == 1
    return found[0]


def figure(change: changes.TargetChange, name: str) -> changes.Change:
    return next(row for row in change.figures if row.name == name)


def test_a_record_against_itself_shows_no_change() -> None:
    found = compare(passing().targets["cpu"], passing().targets["cpu"])
    assert (found.worse, found.better, found.checks, found.kernels, found.profile) == (0, 0, (), (), ())
    assert {row.word for row in found.figures} <= {"same"}
    assert changes.compare_origins(passing(), passing()) == []


def test_a_port_that_fails_now_is_worse_and_says_by_which_check() -> None:
    found = compare(passing().targets["cpu"], failing().targets["cpu"])
    steps = {step.name: (step.before, step.now, step.word) for step in found.steps}
    assert steps["parity"] == ("passed", "failed", "worse")
    assert steps["exported"] == ("passed", "passed", "same")
    before, now = found.checks[0]
    assert before is not None
    assert now is not None
    assert (before.outcome, now.outcome) == (Outcome.PASSED, Outcome.FAILED)
    assert compare(failing().targets["cpu"], passing().targets["cpu"]).worse == 0


@pytest.mark.parametrize("now", [None, not_measured().targets["cpu"]])
def test_a_failure_that_is_no_longer_measured_is_no_better(now: TargetRecord | None) -> None:
    found = compare(failing().targets["cpu"], now)
    assert found.better == 0
    parity = next(step for step in found.steps if step.name == "parity")
    assert (parity.before, parity.word) == ("failed", "other")
    assert found.worse > 0


def test_more_frames_are_better_and_more_milliseconds_worse() -> None:
    faster = compare(timed(), timed(frames_per_second=122.4, time_to_first_frame_ms=91.5))
    assert figure(faster, "frames per second").word == "+20 %"
    assert figure(faster, "frames per second").direction == 1
    assert figure(faster, "time to first frame").word == "+50 %"
    assert figure(faster, "time to first frame").direction == -1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_has_no_direction(value: float) -> None:
    row = figure(compare(timed(), timed(frames_per_second=value)), "frames per second")
    assert row.direction == 0
    assert row.word in {"not a number on one side", "other"}


def test_a_figure_of_one_side_only_says_so() -> None:
    row = figure(compare(timed(), timed(energy=None)), "energy a frame")
    assert (row.now, row.word, row.direction) == ("not measured", "not on both sides", 0)


def test_other_machines_versions_and_budgets_are_named() -> None:
    before, now = passing(), passing()
    host = before.host.model_copy(update={"packages": {**before.host.packages, "torch": "3.0.0"}})
    found = changes.compare_origins(before, now.model_copy(update={"host": host}))
    assert [(row.name, row.before, row.now) for row in found] == [("host packages torch", "2.13.0", "3.0.0")]
    rows = changes.compare_hosts(timed(), timed(host=host))
    assert [row.name for row in rows] == ["host packages torch"]
    target = now.targets["cpu"]
    budget = target.profile.parity.model_copy(update={"error_budget_ratio": 3.0})
    profile = target.profile.model_copy(update={"parity": budget})
    changed = compare(target, target.model_copy(update={"profile": profile}))
    assert [(row.name, row.now) for row in changed.profile] == [("profile parity error_budget_ratio", "3.0")]


def test_machine_code_that_changed_is_told_figure_by_figure() -> None:
    target = not_measured().targets["cpu"]
    other = GOOD.model_copy(update={"registers": 255, "spill_load_bytes": None})
    gone = GOOD.model_copy(update={"kernel": "gone"})
    broken = GOOD.model_copy(update={"kernel": "conv", "error": "LLVM ERROR"})
    found = compare(
        target.model_copy(update={"kernels": (GOOD, gone, GOOD.model_copy(update={"kernel": "conv"}))}),
        target.model_copy(update={"kernels": (other, broken)}),
    )
    rows = {row.name: (row.now, row.direction) for row in found.kernels}
    name = f"{GOOD.kernel}, {GOOD.variant}"
    assert rows[f"{name}: registers"] == ("255", 0)
    assert rows[f"{name}: spill load bytes"] == ("not measured", 0)
    assert rows[f"conv, {GOOD.variant}"] == ("did not compile", -1)
    assert rows[f"gone, {GOOD.variant}"] == ("not in this bundle", 0)


def test_traces_are_the_same_by_their_files_only() -> None:
    def named(digest: str) -> PortRecord:
        files = ({"path": "trace/calls", "sha256": digest * 32, "nbytes": 1},)
        return PortRecord.model_validate({**passing().model_dump(by_alias=True), "files": files})

    assert changes.same_trace(named("ab"), named("ab"))
    assert not changes.same_trace(named("ab"), named("cd"))
    assert not changes.same_trace(passing(), passing())
