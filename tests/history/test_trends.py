import numpy as np
import pytest

from porting.history.changes import FEWEST
from porting.history.trends import make_trends
from porting.record import Step
from porting.record.history import HistoryPoint, MetricTrend, TargetTrend
from tests.history.points import digest, make_point, make_series

OLD, NEW = digest("machine"), digest("another machine")


def only(points: list[HistoryPoint]) -> tuple[TargetTrend, MetricTrend]:
    (trend,) = make_trends(points)
    (metric,) = trend.metrics
    return trend, metric


def test_a_step_is_told_with_its_commits_and_levels() -> None:
    trend, metric = only(make_series([120.0] * 20 + [108.0] * 20, 0.005, 1))
    (change,) = metric.changes
    assert (change.before, change.after, change.count_before, change.count_after) == (19, 20, 20, 20)
    assert [change.level_before, change.level_after] == pytest.approx([120, 108], rel=0.005)
    assert change.worse
    assert metric.unjudged == {}
    assert trend.breaks == ()


@pytest.mark.parametrize(("metric", "up_is_worse"), [("fps", False), ("p99", True), ("budget_ratio", True)])
def test_worse_is_what_the_metric_says(metric: str, up_is_worse: bool) -> None:
    points = [make_point(i, None, values={metric: 1.0 if i < 20 else 1.5}, absent={}) for i in range(40)]
    assert only(points)[1].changes[0].worse is up_is_worse


def test_another_machine_is_a_break_and_never_a_change() -> None:
    points = make_series([120.0] * 20, 0.005, 1) + [
        make_point(20 + i, fps=190.0 + i % 3, fingerprint=NEW) for i in range(20)
    ]
    trend, metric = only(points)
    assert trend.fingerprints == (OLD, NEW)
    assert trend.breaks == (20,)
    assert metric.changes == ()
    assert metric.unjudged == {}


def test_machines_that_take_turns_are_each_searched_on_their_own() -> None:
    levels = {OLD: 120.0, NEW: 200.0}
    points = []
    for index in range(80):
        machine = (OLD, NEW)[index % 2]
        # Only the first machine's frame rate falls.
        rate = levels[machine] * (0.9 if machine == OLD and index >= 40 else 1.0)
        points.append(make_point(index, rate * (1 + 0.001 * (index % 7)), fingerprint=machine))
    trend, metric = only(points)
    assert trend.breaks == (1,)
    (change,) = metric.changes
    assert (change.fingerprint, change.before, change.after) == (OLD, 38, 40)


def test_times_beside_other_load_judge_nothing() -> None:
    calm = make_series([120.0] * 20, 0.005, 1)
    loud = [make_point(20 + i, 60.0, disturbances=("other processes took 40 % of the cores",)) for i in range(20)]
    _, metric = only(calm + loud)
    assert metric.changes == ()
    points = [point.model_copy(update={"values": {"memory": 700.0}, "absent": {}}) for point in calm]
    points += [point.model_copy(update={"values": {"memory": 800.0}, "absent": {}}) for point in loud]
    (change,) = only(points)[1].changes
    assert change.metric == "memory"


def test_too_few_records_are_said_to_be_too_few() -> None:
    points = make_series([120.0] * 7, 0.01, 1)
    points += [make_point(7 + i, 60.0, disturbances=("load",)) for i in range(9)]
    reason = f"7 of the {FEWEST} figures that it takes to tell a change from noise; 9 more were timed beside other load"
    assert only(points)[1].unjudged == {OLD: reason}


def test_another_checkpoint_or_program_at_the_change_is_told() -> None:
    points = make_series([120.0] * 20 + [100.0] * 20, 0.005, 1)
    points[20:] = [point.model_copy(update={"checkpoint": digest("other weights")}) for point in points[20:]]
    points[30:] = [point.model_copy(update={"program": digest("other program")}) for point in points[30:]]
    (change,) = only(points)[1].changes
    assert change.also == ("checkpoint",)


def test_a_gap_in_the_records_is_bridged_and_told_by_both_its_ends() -> None:
    points = make_series([120.0] * 20 + [100.0] * 23, 0.005, 1)
    points[20:23] = [make_point(i, None, values={}, absent={"fps": "it broke"}) for i in range(20, 23)]
    (change,) = only(points)[1].changes
    assert (change.before, change.after) == (19, 23)


def test_trends_are_apart_by_model_target_and_precision_those_with_figures_first() -> None:
    points = [
        make_point(0, None, target="b200", reached=Step.ATTESTED),
        make_point(0, target="cpu"),
        make_point(0, target="cpu", precision="bf16"),
        make_point(0, target="cpu", model="another"),
    ]
    found = [(trend.model, trend.target, trend.precision) for trend in make_trends(points)]
    assert found == [
        ("another", "cpu", "fp32"),
        ("gwm-mini-worlds", "cpu", "bf16"),
        ("gwm-mini-worlds", "cpu", "fp32"),
        ("gwm-mini-worlds", "b200", "fp32"),
    ]
    assert make_trends([]) == ()


def test_only_the_newest_points_are_kept() -> None:
    points = make_series(list(np.linspace(1, 2, 30)), 0.0, 1)
    (trend,) = make_trends(points, last=10)
    assert trend.points == tuple(points[20:])
    (whole,) = make_trends(points, last=None)
    assert len(whole.points) == 30
