"""A throughput names the accelerator that it was measured on; a CPU is named by the host."""

import pytest

from porting.devices import Census, FoundDevice
from porting.devices.gauge import GaugeReading, Kind
from porting.host import Watch
from porting.pipeline import device_used
from porting.profile import Device
from porting.throughput.clock import Instruments
from porting.throughput.device_watch import BothWatches


class Quiet:
    """A host on which nothing happens."""

    def sample(self) -> None:
        pass

    def disturbances(self) -> tuple[str, ...]:
        return ()


class Rising:
    """A device whose clock rises by 10 MHz with every look."""

    def __init__(self, kind: Kind) -> None:
        self.clock = 1000.0

    def read(self) -> GaugeReading:
        self.clock += 10
        return GaugeReading("test", clock_mhz=self.clock)

    def close(self) -> None:
        pass


def watch_device(threads: int) -> Watch:
    seconds = iter(range(0, 100, 2))
    return BothWatches("cuda", threads, open_gauge=Rising, host=lambda _: Quiet(), now=lambda: next(seconds))  # type: ignore[arg-type]


def test_the_clock_is_the_median_under_load(monkeypatch: pytest.MonkeyPatch) -> None:
    here = FoundDevice(kind="cuda", name="NVIDIA B200", architecture="sm_100")
    monkeypatch.setattr(device_used, "find_devices", lambda kind: Census(kind, (here,), driver="615.1"))
    instruments, watches = device_used.remember_watches(Instruments(watch=watch_device))
    watch = instruments.watch(2)
    for _ in range(3):
        watch.sample()
    watch.disturbances()
    found = device_used.describe_device(Device(kind="cuda", architecture="sm_100", source="test"), watches)
    assert found is not None
    assert (found.name, found.architecture, found.driver) == ("NVIDIA B200", "sm_100", "615.1")
    assert found.clock_mhz == 1030.0


def test_a_driver_that_tells_no_clock_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    here = FoundDevice(kind="hip", name="", architecture="gfx942")
    monkeypatch.setattr(device_used, "find_devices", lambda kind: Census(kind, (here,)))
    found = device_used.describe_device(Device(kind="hip", architecture="gfx942", source="test"), [])
    assert found is not None
    assert (found.name, found.driver, found.clock_mhz) == ("gfx942", "", None)


def test_a_cpu_is_no_accelerator() -> None:
    assert device_used.describe_device(Device(kind="cpu"), []) is None


def test_a_device_that_is_gone_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_used, "find_devices", Census)
    assert device_used.describe_device(Device(kind="cuda", architecture="sm_100", source="test"), []) is None
