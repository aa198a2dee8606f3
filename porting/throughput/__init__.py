"""Throughput evidence: raw frame times of whole rollouts, and what follows from them. It judges nothing."""

from porting.throughput.calls import measure_calls, rank_backends
from porting.throughput.clock import Instruments, instruments_for
from porting.throughput.measure import measure_throughput
from porting.throughput.sessions import measure_sessions
from porting.throughput.soak import measure_soak

__all__ = [
    "Instruments",
    "instruments_for",
    "measure_calls",
    "measure_sessions",
    "measure_soak",
    "measure_throughput",
    "rank_backends",
]
