"""The gate's figures in Bencher Metric Format, for tracking them over commits.

Source: https://bencher.dev/docs/reference/bencher-metric-format: benchmark -> measure -> value, lower and upper value.
A figure that is no number is left out, as JSON has none.
"""

import json
import math

from porting.escaping import one_line
from porting.gate.making import find_ratio
from porting.gate.verdict import GateVerdict
from porting.record import PortRecord

LONGEST_NAME = 1024
"""Of a benchmark, in characters."""
NANOSECONDS = 1e6
"""In a millisecond: Bencher's own measure `latency` is in nanoseconds, its `throughput` in operations a second."""


def format_bencher(record: PortRecord, verdict: GateVerdict) -> str:
    """BMF JSON: a benchmark a target for what was timed, one a component for its error budget ratio.

    Args:
        record: whose figures are told.
        verdict: on it; only targets that it judged are told.
    """
    judged = {check.target for check in verdict.checks}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in sorted(set(record.targets) & judged):
        found[_name(record, name)] = _speeds(record, name)
    for check in verdict.checks:
        if check.name == "error budget ratio" and check.value is not None:
            measures = {"error-budget-ratio": {"value": check.value}}
            found[_name(record, check.target, check.subject)] = measures
    kept = {
        benchmark: {measure: figures for measure, figures in measures.items() if _are_numbers(figures)}
        for benchmark, measures in found.items()
    }
    told = {benchmark: measures for benchmark, measures in kept.items() if measures}
    return json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _name(record: PortRecord, *parts: str) -> str:
    return "/".join(one_line(part) for part in (record.checkpoint.name, *parts))[:LONGEST_NAME]


def _speeds(record: PortRecord, target: str) -> dict[str, dict[str, float]]:
    timed = record.targets[target].throughput
    if timed is None or timed.frame_ms.frames <= 0:
        return {}
    times = timed.frame_ms
    measures: dict[str, dict[str, float]] = {
        "throughput": {"value": timed.frames_per_second},
        "latency": {"value": times.p50 * NANOSECONDS, "upper_value": times.p99 * NANOSECONDS},
        "frame-p99": {"value": times.p99 * NANOSECONDS},
        "memory-high-water": {"value": float(timed.memory_high_water_bytes)},
    }
    if timed.paced.frames > 0:
        measures["missed-deadlines"] = {"value": timed.paced.missed / timed.paced.frames}
    port = find_ratio(timed)
    if port is not None:
        measures["ratio-to-eager"] = {
            "value": port.ratio_to_eager,
            "lower_value": port.ratio_low,
            "upper_value": port.ratio_high,
        }
    return measures


def _are_numbers(figures: dict[str, float]) -> bool:
    return all(math.isfinite(figure) for figure in figures.values())
