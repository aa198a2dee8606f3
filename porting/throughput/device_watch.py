"""Watches a device's clock while something is measured, beside the host: heat, power brakes, a clock that falls."""

import statistics
import time
from collections.abc import Callable

from porting.devices.gauge import Gauge, GaugeReading, Kind
from porting.host import BURST_SECONDS, CLOCK_LIMIT, HostWatch, Watch

LEAST_SAMPLES = 4
"""Fewer clocks do not tell a fall from a step between two bins."""


class BothWatches:
    """The host's watch, and the device's where the target is one."""

    def __init__(
        self,
        kind: Kind,
        threads: int,
        open_gauge: Callable[[Kind], Gauge] = Gauge,
        host: Callable[[int], Watch] = HostWatch,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin to watch; a CPU's clock is the host watch's own affair."""
        self._gauge = open_gauge(kind) if kind != "cpu" else None
        self._now = now
        self._readings: list[GaugeReading] = []
        if self._gauge is not None:
            self._gauge.read()
        self._looked = now()
        self._host = host(threads)

    def sample(self) -> None:
        """Look once a second; between frames, so that no frame pays for it."""
        self._host.sample()
        if self._gauge is not None and self._now() - self._looked >= BURST_SECONDS:
            self._readings.append(self._gauge.read())
            self._looked = self._now()

    @property
    def clock_mhz(self) -> float | None:
        """Median clock of the device over all samples; None for a CPU, and where the driver does not tell."""
        clocks = [reading.clock_mhz for reading in self._readings if reading.clock_mhz]
        return statistics.median(clocks) if clocks else None

    def disturbances(self) -> tuple[str, ...]:
        """Sentences of both; the device is let go."""
        found = list(self._host.disturbances())
        if self._gauge is not None:
            self._gauge.close()
            found += judge_readings(self._readings)
        return tuple(found)


def judge_readings(readings: list[GaugeReading]) -> list[str]:
    """What samples of a device under load say: slowdowns by name, and a clock that fell."""
    found = []
    for reason in dict.fromkeys(reason for reading in readings for reason in reading.slowed_by):
        seen = sum(reason in reading.slowed_by for reading in readings)
        found.append(f"the device was slowed by {reason} in {seen} of {len(readings)} samples")
    clocks = [reading.clock_mhz for reading in readings if reading.clock_mhz]
    half = len(clocks) // 2
    if len(clocks) >= LEAST_SAMPLES:
        early, late = statistics.median(clocks[:half]), statistics.median(clocks[half:])
        if late < CLOCK_LIMIT * early:
            found.append(f"the device's clock fell from {early:.0f} to {late:.0f} MHz while measuring")
    return found
