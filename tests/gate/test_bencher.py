"""Bencher Metric Format as it is documented: benchmark, measure, value; no figure that is none."""

import json
import math
import re
from typing import Any

import pytest

from porting.gate.bencher import format_bencher
from porting.record import PortRecord
from tests.gate.hostile import NAMES
from tests.gate.records import add_target, baseline_of, judge, make_target, ported
from tests.verdict.records import with_target, with_throughput


def read(record: PortRecord) -> dict[str, Any]:
    text = format_bencher(record, judge(record, baseline_of()))

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def test_benchmarks_and_measures() -> None:
    found = read(ported())
    assert set(found) == {"toy/cpu", "toy/cpu/dreamer", "toy/cpu/decoder"}
    assert found["toy/cpu"]["throughput"] == {"value": 100.0}
    assert found["toy/cpu"]["latency"] == {"value": pytest.approx(9.9e6), "upper_value": pytest.approx(12e6)}
    assert found["toy/cpu"]["ratio-to-eager"] == {"value": 4.0, "lower_value": 3.9, "upper_value": 4.1}
    assert found["toy/cpu"]["missed-deadlines"] == {"value": 0.0}
    assert found["toy/cpu/decoder"] == {"error-budget-ratio": {"value": 1.2}}


def test_it_is_of_the_documented_schema() -> None:
    for benchmark, measures in read(ported()).items():
        assert 0 < len(benchmark) <= 1024
        assert measures
        for measure, figures in measures.items():
            assert re.fullmatch(r"[a-z0-9-]{1,64}", measure)
            assert set(figures) <= {"value", "lower_value", "upper_value"}
            assert all(isinstance(figure, float) for figure in figures.values())
            assert "value" in figures


def test_what_is_no_number_is_left_out() -> None:
    found = read(with_throughput(ported(), frames_per_second=math.nan))
    assert "throughput" not in found["toy/cpu"]
    assert "latency" in found["toy/cpu"]


def test_a_target_without_frames_has_no_figure() -> None:
    assert "toy/cpu" not in read(with_target(ported(), throughput=None))


def test_a_target_that_was_not_judged_is_not_told() -> None:
    assert "toy/b200" not in read(add_target(ported(), "b300", make_target(ported())))


@pytest.mark.parametrize("name", NAMES)
def test_names_from_outside_stay_text(name: str) -> None:
    checkpoint = ported().checkpoint.model_copy(update={"name": name})
    found = read(ported().model_copy(update={"checkpoint": checkpoint}))
    assert len(found) == 3
    assert not any(re.search(r"[\x00-\x1f\u202e\ud800]", benchmark) for benchmark in found)
