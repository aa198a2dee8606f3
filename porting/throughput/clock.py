"""What a measurement reads: a clock, the memory in use, the state of the machine. Tests put their own in its place."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import psutil

from porting.host import HostWatch, Watch

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


@dataclass(frozen=True)
class Instruments:
    """Everything that is read from outside."""

    clock: Clock = field(default_factory=SystemClock)
    resident_bytes: Callable[[], int] = resident_bytes
    watch: Callable[[int], Watch] = HostWatch
    """Given the threads that the port uses."""
