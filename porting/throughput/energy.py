"""Joules a frame, from two readings of a counter that the device keeps. A counter that lies measures nothing."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from porting.devices.gauge import Gauge, GaugeReading, Kind
from porting.record import Energy

LEAST_SECONDS = 1.0
"""Counters are renewed every 20 to 100 ms: over a shorter time they are off by more than a tenth."""
MOST_WATTS = 10_000.0
"""No single device takes more; a counter that says so counts in another unit."""


@dataclass(frozen=True)
class MeterReading:
    """A counter's state at one moment of a steady clock."""

    seconds: float
    joules: float | None
    note: str = ""


class Meter(Protocol):
    """Reads what a device has used; `with` ends it."""

    source: str

    def read(self) -> MeterReading: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class DeviceMeter:
    """The counter of this host's device of one kind, read in a child process."""

    def __init__(
        self, kind: Kind, open_gauge: Callable[[Kind], Gauge] = Gauge, now: Callable[[], float] = time.perf_counter
    ) -> None:
        """Start the child and wait for its first answer, so that no frame does."""
        self._gauge = open_gauge(kind)
        self._now = now
        self.source = self._gauge.read().source

    def read(self) -> MeterReading:
        """The counter now, stamped after the answer."""
        found: GaugeReading = self._gauge.read()
        return MeterReading(self._now(), found.energy_joules, found.note)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gauge.close()


class NoMeter:
    """Where nobody said which device is measured."""

    source = "none"

    def read(self) -> MeterReading:
        """Nothing, and why."""
        return MeterReading(0.0, None, "no device was named whose energy could be read")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def settle_energy(source: str, readings: Sequence[MeterReading], closed_frames: int, paced_frames: int) -> Energy:
    """Joules a pixel frame of the closed loop and of the paced run; None, with the reason, where they cannot be told.

    Args:
        source: whose counter.
        readings: before the closed loop, after it, and after the paced run.
        closed_frames: new pixel frames of the closed loop.
        paced_frames: new pixel frames of the paced run.
    """
    before, between, after = readings
    closed, closed_reason = _use(before, between)
    paced, paced_reason = _use(between, after)
    reasons = {"closed loop": closed_reason, "paced": paced_reason}
    if closed_frames == 0 or paced_frames == 0:
        reasons["frames"] = "no new frame was made"
    same = closed_reason if closed_reason == paced_reason else ""
    said = same or "; ".join(f"{phase}: {reason}" for phase, reason in reasons.items() if reason)
    return Energy(
        source=source,
        joules_per_frame=None if closed is None or not closed_frames else closed / closed_frames,
        paced_joules_per_frame=None if paced is None or not paced_frames else paced / paced_frames,
        watts=None if closed is None else closed / (between.seconds - before.seconds),
        reason=said,
    )


def _use(start: MeterReading, end: MeterReading) -> tuple[float | None, str]:
    """Joules between two readings, or why there is no such figure."""
    for reading in (start, end):
        if reading.joules is None:
            return None, reading.note or "the device does not tell"
        if not math.isfinite(reading.joules) or reading.joules < 0:
            return None, f"the counter said {reading.joules:g} J"
    used, seconds = (end.joules or 0.0) - (start.joules or 0.0), end.seconds - start.seconds
    if seconds < LEAST_SECONDS:
        return None, f"{seconds:.3g} s are too short for a counter that is renewed every 20 to 100 ms"
    if used < 0:
        return None, f"the counter ran backwards by {-used:.4g} J, or wrapped; measure again"
    if used == 0:
        return None, f"the counter stood still for {seconds:.3g} s"
    if used / seconds > MOST_WATTS:
        return None, f"the counter claims {used / seconds:.4g} W, more than any device takes"
    return used, ""
