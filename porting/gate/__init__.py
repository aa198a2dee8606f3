"""Holds a port's evidence against a baseline, and writes what came of it for machines and people.

Only records are read: neither torch nor a device is needed, so that any machine of a CI system can judge.
"""

from porting.gate.baseline import Baseline, format_baseline, read_baseline
from porting.gate.judging import judge
from porting.gate.making import make_baseline
from porting.gate.verdict import GateCheck, GateVerdict, Limits

__all__ = [
    "Baseline",
    "GateCheck",
    "GateVerdict",
    "Limits",
    "format_baseline",
    "judge",
    "make_baseline",
    "read_baseline",
]
