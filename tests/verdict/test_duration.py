"""A soak and sessions are held against the budget, and details that contradict the run fail it."""

from typing import Any

import pytest

from porting.record import Check, Outcome
from tests.verdict.records import TARGET, judge, make_record, with_throughput


def check(name: str, **changes: Any) -> Check:
    return next(found for found in judge(with_throughput(make_record(), **changes)).checks if found.name == name)


def detail(name: str, **changes: Any) -> dict[str, Any]:
    timed = make_record().targets[TARGET].throughput
    return {name: getattr(timed, name).model_copy(update=changes)}


def test_a_soak_that_leaks_fails() -> None:
    found = check("soak", **detail("soak", memory_slope_bytes_per_frame=2.0**20))
    assert found.outcome is Outcome.FAILED
    assert "Over 2000 frames memory grows by" in found.reason


def test_what_was_not_asked_for_is_not_checked() -> None:
    verdict = judge(with_throughput(make_record(), soak=None, concurrency=None, energy=None))
    assert verdict.outcome is Outcome.PASSED
    assert not {"soak", "concurrent sessions"} & {found.name for found in verdict.checks}


def test_sessions_are_told_with_those_that_do_not_fit() -> None:
    found = check("concurrent sessions")
    assert found.outcome is Outcome.PASSED
    assert found.reason.startswith("2 sessions hold the rate together.")
    assert "4 could not be run (MemoryError: no)" in found.reason


def none_holds(**changes: Any) -> dict[str, Any]:
    timed = make_record().targets[TARGET].throughput
    assert timed is not None
    assert timed.concurrency is not None
    first = timed.concurrency.loads[0].model_copy(update={"missed": (72,), "holds": False})
    return detail("concurrency", loads=(first,), most_that_hold=0, **changes)


def test_no_session_that_holds_fails_unless_the_machine_was_busy() -> None:
    assert check("concurrent sessions", **none_holds()).outcome is Outcome.FAILED
    busy = check("concurrent sessions", **none_holds(disturbances=("a build ran",)))
    assert busy.outcome is Outcome.NOT_MEASURED
    assert "a build ran" in busy.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (detail("concurrency", most_that_hold=4), "4 sessions are said to hold, measured were 2"),
        (detail("concurrency", max_missed_share=0.5), "50.00% might be missed"),
    ],
)
def test_sessions_that_contradict_themselves_fail(changes: dict[str, Any], words: str) -> None:
    found = check("concurrent sessions", **changes)
    assert found.outcome is Outcome.FAILED
    assert words in found.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (detail("latency", chunk_frames=0), "a chunk has 0 frames"),
        (detail("latency", longest_wait_ms=1.0), "less than a frame's period"),
        (detail("energy", joules_per_frame=-1.0), "took no energy"),
    ],
)
def test_details_that_do_not_fit_the_run_fail(changes: dict[str, Any], words: str) -> None:
    found = check("figures agree with each other", **changes)
    assert found.outcome is Outcome.FAILED
    assert words in found.reason
