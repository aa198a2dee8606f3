"""Points made by hand: a port over commits, at a rate that is given."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from porting.record import Outcome, Step
from porting.record.history import METRICS, HistoryPoint

FIRST = datetime(2026, 11, 1, tzinfo=UTC)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_point(index: int, fps: float | None = 120.0, **changed: Any) -> HistoryPoint:
    """The record of commit number `index`; every figure but the frame rate is absent unless it is given."""
    values = {"fps": fps} if fps is not None else {}
    told = {
        "commit": digest(f"commit {index}")[:40],
        "branch": "main",
        "when": FIRST + timedelta(hours=index),
        "record": digest(f"record {index}"),
        "model": "gwm-mini-worlds",
        "checkpoint": digest("weights"),
        "program": digest("program"),
        "target": "cpu",
        "precision": "fp32",
        "fingerprint": digest("machine"),
        "machine": "Test CPU, 2 of 4 cores, Linux 6.1",
        "outcome": Outcome.PASSED,
        "reached": Step.THROUGHPUT,
        "values": values,
        "absent": {metric.name: "no frame was timed" for metric in METRICS if metric.name not in values},
        **changed,
    }
    return HistoryPoint.model_validate(told)


def make_series(levels: Sequence[float], noise: float, seed: int, **changed: Any) -> list[HistoryPoint]:
    """A point a level, each times log-normal noise of that relative size."""
    factors = np.exp(noise * np.random.default_rng(seed).normal(size=len(levels)))
    return [
        make_point(i, float(level * factor), **changed)
        for i, (level, factor) in enumerate(zip(levels, factors, strict=True))
    ]
