"""Says which accelerator frames were timed on: its name and driver, and the clock that it held meanwhile."""

from collections.abc import Callable
from dataclasses import replace

from porting.devices import find_devices
from porting.host import Watch
from porting.pipeline.abilities import match_device
from porting.profile import Device
from porting.record import DeviceUsed
from porting.throughput.clock import Instruments
from porting.throughput.device_watch import BothWatches


def remember_watches(instruments: Instruments) -> tuple[Instruments, list[Watch]]:
    """The same instruments, and a list that every watch is put into when a measurement begins it."""
    watches: list[Watch] = []
    make: Callable[[int], Watch] = instruments.watch

    def remembered(threads: int) -> Watch:
        watches.append(make(threads))
        return watches[-1]

    return replace(instruments, watch=remembered), watches


def describe_device(device: Device, watches: list[Watch]) -> DeviceUsed | None:
    """The target's device as its driver tells; None for a CPU, and where no driver tells of it any more."""
    if device.kind == "cpu":
        return None
    census = find_devices(device.kind)
    found = match_device(device, census)
    if found is None:
        return None
    clocks = [watch.clock_mhz for watch in watches if isinstance(watch, BothWatches) and watch.clock_mhz is not None]
    return DeviceUsed(
        name=found.name or found.architecture,
        architecture=found.architecture,
        driver=census.driver,
        clock_mhz=clocks[0] if clocks else None,
    )
