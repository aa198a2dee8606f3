"""Energy of this host's CPU packages, as Linux reads it from RAPL; many systems let only root read it."""

from collections.abc import Callable
from pathlib import Path

from porting.devices.gauge import GaugeReading

ZONES = Path("/sys/class/powercap")
SOURCE = "RAPL, all CPU packages"


def open_reader(zones: Path = ZONES) -> Callable[[], GaugeReading]:
    """A function that adds up the packages' counters; their memory and the rest of the board are not in it."""
    return lambda: _read(zones)


def _read(zones: Path) -> GaugeReading:
    packages = [zone for zone in sorted(zones.glob("*-rapl:[0-9]*")) if _text(zone / "name").startswith("package")]
    if not packages:
        return GaugeReading(SOURCE, note=f"this system keeps no energy counter of its CPU ({zones}: no RAPL package)")
    total = 0.0
    for package in packages:
        counter = package / "energy_uj"
        try:
            total += int(counter.read_text(encoding="ascii")) * 1e-6
        except PermissionError:
            return GaugeReading(SOURCE, note=f"this user may not read {counter}; let root grant it")
        except (OSError, ValueError) as cause:
            return GaugeReading(SOURCE, note=f"{counter} holds no counter ({cause})")
    return GaugeReading(SOURCE, energy_joules=total)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
