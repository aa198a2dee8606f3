"""What a measurement reads: a clock, the memory in use, the state of the machine. Tests put their own in its place."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import psutil

from porting.devices.gauge import Kind
from porting.host import HostWatch, Watch
from porting.throughput.device_watch import BothWatches
from porting.throughput.energy import DeviceMeter, Meter, NoMeter

SPIN_SECONDS = 0.0005
"""A sleep ends up to this much late; the rest of a wait is spent looking at the clock."""


class Clock(Protocol):
    """Seconds since some moment."""

    def now(self) -> float: ...

    def wait_until(self, moment: float) -> None:
        """Return at that moment, or at once when it is past."""
        ...


class SystemClock:
    """The finest clock that never runs backwards."""

    def now(self) -> float:
        return time.perf_counter()

    def wait_until(self, moment: float) -> None:
        remaining = moment - time.perf_counter()
        if remaining > SPIN_SECONDS:
            time.sleep(remaining - SPIN_SECONDS)
        while time.perf_counter() < moment:
            pass


def resident_bytes() -> int:
    """Memory of this process that is in use now."""
    return int(psutil.Process().memory_info().rss)


CLOCK_TOLERANCE = 0.002
"""Share by which two clocks of one machine may differ: time servers slew the one by at most 0.0005."""
CLOCK_TOLERANCE_SECONDS = 0.005


def reference_seconds() -> float:
    """A second clock, which no time server slews where the system has one; only there to contradict the first."""
    if hasattr(time, "CLOCK_MONOTONIC_RAW"):
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
    return time.time()


def compare_clocks(phase: str, elapsed: float, reference: float) -> tuple[str, ...]:
    """A sentence where two clocks took one stretch of time for different ones, in seconds."""
    if abs(elapsed - reference) <= CLOCK_TOLERANCE_SECONDS + CLOCK_TOLERANCE * abs(reference):
        return ()
    return (f"the clock jumped: the {phase} took {elapsed:.3f} s by it and {reference:.3f} s by another clock",)


@dataclass(frozen=True)
class Instruments:
    """Everything that is read from outside."""

    clock: Clock = field(default_factory=SystemClock)
    resident_bytes: Callable[[], int] = resident_bytes
    watch: Callable[[int], Watch] = HostWatch
    """Given the threads that the port uses."""
    reference_seconds: Callable[[], float] = reference_seconds
    meter: Callable[[], Meter] = NoMeter
    """Reads the energy that the device has used."""


def instruments_for(kind: Kind) -> Instruments:
    """The system's own, with the energy counter and the clocks of devices of that kind."""
    return Instruments(watch=partial(BothWatches, kind), meter=partial(DeviceMeter, kind))
