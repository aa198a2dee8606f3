"""Throughput evidence: raw frame times of whole rollouts, and what follows from them. It judges nothing."""

from porting.throughput.calls import measure_calls, rank_backends
from porting.throughput.clock import Instruments
from porting.throughput.measure import measure_throughput
from porting.throughput.soak import Soak, measure_soak

__all__ = ["Instruments", "Soak", "measure_calls", "measure_soak", "measure_throughput", "rank_backends"]
