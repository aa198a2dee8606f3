"""Energy comes from two readings of a counter; one that is absent, hangs or lies gives no figure, and the reason."""

import sys
from pathlib import Path

import pytest

from porting.devices.gauge import Gauge, GaugeReading, encode
from porting.devices.rapl import open_reader
from porting.throughput.device_watch import judge_readings
from porting.throughput.energy import DeviceMeter, MeterReading, settle_energy


def readings(*joules: float | None, seconds: float = 2.0) -> list[MeterReading]:
    return [MeterReading(index * seconds, value, "gone" if value is None else "") for index, value in enumerate(joules)]


def test_joules_are_shared_among_new_frames() -> None:
    made = settle_energy("NVML", readings(1000.0, 1240.0, 1312.0), 240, 72)
    assert (made.joules_per_frame, made.paced_joules_per_frame, made.watts) == (1.0, 1.0, 120.0)
    assert made.reason == ""


@pytest.mark.parametrize(
    ("joules", "seconds", "words"),
    [
        ((None, None, None), 2.0, "gone"),
        ((50.0, 50.0, 50.0), 2.0, "stood still for 2 s"),
        ((50.0, 20.0, 10.0), 2.0, "ran backwards by 30 J"),
        ((50.0, 5e6, 9e6), 2.0, "more than any device takes"),
        ((50.0, float("nan"), 60.0), 2.0, "said nan J"),
        ((-5.0, 50.0, 60.0), 2.0, "said -5 J"),
        ((50.0, 60.0, 70.0), 0.2, "too short"),
    ],
)
def test_a_counter_that_lies_measures_nothing(joules: tuple[float | None, ...], seconds: float, words: str) -> None:
    made = settle_energy("RAPL", readings(*joules, seconds=seconds), 240, 72)
    assert made.joules_per_frame is None
    assert made.watts is None
    assert words in made.reason


def test_one_phase_can_be_measured_without_the_other() -> None:
    made = settle_energy("RAPL", readings(0.0, 240.0, 240.0), 240, 72)
    assert made.joules_per_frame == 1.0
    assert made.paced_joules_per_frame is None
    assert made.reason == "paced: the counter stood still for 2 s"


def test_no_new_frame_has_no_energy() -> None:
    made = settle_energy("RAPL", readings(0.0, 240.0, 480.0), 0, 72)
    assert made.joules_per_frame is None
    assert "no new frame" in made.reason


def child(body: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", f"import sys\n{body}")


def test_a_gauge_reads_again_and_again() -> None:
    line = encode(GaugeReading("NVML", 12.5, 1980.0, ("power brake",)))
    with Gauge("cuda", child(f"for _ in sys.stdin: print({line!r}, flush=True)")) as gauge:
        assert [gauge.read() for _ in range(3)] == [GaugeReading("NVML", 12.5, 1980.0, ("power brake",))] * 3


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import time\ntime.sleep(60)", "gave no answer in 0.5 s"),
        ("sys.stdin.readline(); print('{', end='', flush=True)\nimport time\ntime.sleep(60)", "gave no answer"),
        ("sys.exit(3)", "ended"),
        ("import os\nsys.stdin.readline()\nos.abort()", "ended"),
        ("for _ in sys.stdin: print('no driver', flush=True)", "no readable answer"),
        ("for _ in sys.stdin: print('[1]', flush=True)", "no readable answer"),
        ("for _ in sys.stdin: print('{\"joules\": 1}', flush=True)", "no readable answer"),
    ],
    ids=["hangs", "hangs midway", "exits", "crashes", "no JSON", "no object", "other fields"],
)
def test_a_driver_in_trouble_is_given_up_at_once(body: str, words: str) -> None:
    with Gauge("cuda", child(body)) as gauge:
        first = gauge.read(0.5 if "sleep" in body else 20.0)
        assert words in first.note
        assert first.energy_joules is None
        assert gauge.read().note == first.note


def test_a_meter_stamps_what_the_gauge_says() -> None:
    line = encode(GaugeReading("NVML", 3.0))
    with DeviceMeter(
        "cuda", lambda kind: Gauge(kind, child(f"for _ in sys.stdin: print({line!r}, flush=True)")), lambda: 7.0
    ) as meter:
        assert meter.source == "NVML"
        assert meter.read() == MeterReading(7.0, 3.0)


@pytest.mark.parametrize("kind", ["cpu", "cuda", "hip"])
def test_this_hosts_own_counters_answer_with_a_figure_or_a_reason(kind: str) -> None:
    with Gauge(kind) as gauge:  # type: ignore[arg-type]
        found = gauge.read()
    assert found.source in {"NVML", "AMD SMI", "RAPL, all CPU packages"}
    assert found.energy_joules is not None or found.note


def zone(folder: Path, number: str, name: str, energy: str | None) -> None:
    place = folder / f"intel-rapl:{number}"
    place.mkdir()
    (place / "name").write_text(f"{name}\n", encoding="ascii")
    if energy is not None:
        (place / "energy_uj").write_text(f"{energy}\n", encoding="ascii")


def test_packages_are_added_and_what_is_in_them_is_not(tmp_path: Path) -> None:
    zone(tmp_path, "0", "package-0", "2000000")
    zone(tmp_path, "1", "package-1", "3000000")
    zone(tmp_path, "0:0", "core", "1500000")
    zone(tmp_path, "2", "psys", "9000000")
    assert open_reader(tmp_path)().energy_joules == pytest.approx(5.0)


def test_a_package_without_a_counter_is_told(tmp_path: Path) -> None:
    assert "no RAPL package" in open_reader(tmp_path)().note
    zone(tmp_path, "0", "package-0", "off")
    assert "holds no counter" in open_reader(tmp_path)().note
    zone(tmp_path, "1", "package-1", None)
    assert open_reader(tmp_path)().energy_joules is None


def test_slowdowns_and_a_falling_clock_are_named() -> None:
    cool = [GaugeReading("NVML", 1.0, 1980.0)] * 4
    hot = [GaugeReading("NVML", 1.0, 1200.0, ("heat (hardware)",))] * 4
    assert judge_readings(cool) == []
    assert judge_readings([]) == []
    assert judge_readings([*cool, *hot]) == [
        "the device was slowed by heat (hardware) in 4 of 8 samples",
        "the device's clock fell from 1980 to 1200 MHz while measuring",
    ]
