"""Throughput evidence: raw frame times of whole rollouts, and what follows from them. It judges nothing."""

from porting.throughput.calls import measure_calls, rank_backends
from porting.throughput.clock import Instruments
from porting.throughput.measure import measure_throughput

__all__ = ["Instruments", "measure_calls", "measure_throughput", "rank_backends"]
