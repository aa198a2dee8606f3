"""NVML and AMD SMI as they may be: there, absent, hanging or lying: a figure, or `not measured` with its reason."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from porting.devices import gauge
from porting.devices.gauge import Gauge, Kind
from porting.record import Energy
from porting.throughput.energy import DeviceMeter, settle_energy
from tests.throughput.fake_drivers import AMD_SMI, NVML

Settle = Callable[..., Energy]
DRIVERS: tuple[Kind, ...] = ("cuda", "hip")
ABSENT = {"cuda": "NVML Shared Library Not Found", "hip": "AMDSMI_STATUS_DRIVER_NOT_LOADED"}
UNSUPPORTED = {"cuda": "Not Supported", "hip": "AMDSMI_STATUS_NOT_SUPPORTED"}


@pytest.fixture
def settle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settle:
    """The energy of ten closed-loop and five paced frames, 2 s each, on a counter that reads as told."""
    (tmp_path / "pynvml.py").write_text(NVML)
    (tmp_path / "amdsmi.py").write_text(AMD_SMI)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(gauge, "LATER_LIMIT_SECONDS", 5.0)

    def measure(kind: Kind, counter: str, driver: str = "") -> Energy:
        monkeypatch.setenv("FAKE_COUNTER", counter)
        monkeypatch.setenv("FAKE_DRIVER", driver)
        seconds = iter((0.0, 2.0, 4.0))
        with DeviceMeter(kind, Gauge, lambda: next(seconds)) as meter:
            return settle_energy(meter.source, [meter.read() for _ in range(3)], 10, 5)

    return measure


# The first value of each counter is taken when the meter opens.
@pytest.mark.parametrize("kind", DRIVERS)
def test_an_honest_counter_gives_joules_a_frame(settle: Settle, kind: Kind) -> None:
    made = settle(kind, "1,1000,1200,1250")
    assert made.source == {"cuda": "NVML", "hip": "AMD SMI"}[kind]
    assert made.joules_per_frame == pytest.approx(20.0, rel=1e-3)
    assert made.paced_joules_per_frame == pytest.approx(10.0, rel=1e-3)
    assert made.watts == pytest.approx(100.0, rel=1e-3)
    assert made.reason == ""


@pytest.mark.parametrize(
    ("counter", "words"),
    [
        ("1,1000,900,800", "ran backwards by 100 J"),
        ("1,1000,9000000,18000000", "more than any device takes"),
        ("1,1000,1000,1000", "stood still for 2 s"),
        ("1,0,0,0", "stood still for 2 s"),
        ("1,text", "ended"),
        ("1,crash", "ended"),
    ],
    ids=["backwards", "jumps", "no power", "always zero", "nonsense", "crash"],
)
@pytest.mark.parametrize("kind", DRIVERS)
def test_a_lying_counter_measures_nothing(settle: Settle, kind: Kind, counter: str, words: str) -> None:
    made = settle(kind, counter)
    assert (made.joules_per_frame, made.paced_joules_per_frame, made.watts) == (None, None, None)
    assert words in made.reason or "reader" in made.reason


@pytest.mark.parametrize("kind", DRIVERS)
def test_what_a_driver_does_not_support_is_its_reason(settle: Settle, kind: Kind) -> None:
    made = settle(kind, "unsupported")
    assert made.joules_per_frame is None
    assert UNSUPPORTED[kind] in made.reason


def test_a_counter_that_amd_does_not_know_measures_nothing(settle: Settle) -> None:
    made = settle("hip", "n/a")
    assert made.joules_per_frame is None
    assert made.reason


@pytest.mark.parametrize("kind", DRIVERS)
def test_an_absent_driver_is_its_own_reason(settle: Settle, kind: Kind) -> None:
    made = settle(kind, "1", driver="absent")
    assert made.joules_per_frame is None
    assert ABSENT[kind] in made.reason


@pytest.mark.parametrize("kind", DRIVERS)
def test_a_driver_that_hangs_later_is_given_up_in_time(
    settle: Settle, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauge, "LATER_LIMIT_SECONDS", 0.5)
    made = settle(kind, "1,hang")
    assert made.joules_per_frame is None
    assert "gave no answer in 0.5 s" in made.reason
