"""Energy and clock of this host's one AMD device, from AMD SMI."""

from collections.abc import Callable
from typing import Any

from porting.devices.amd import load_smi
from porting.devices.gauge import GaugeReading

SOURCE = "AMD SMI"
TOTALS = ("energy_accumulator", "power")
"""What the running total is called, in newer and older versions; it counts in units of `counter_resolution` uJ."""


def open_reader() -> Callable[[], GaugeReading]:
    """A function that reads the device; where there is none or more than one, it says so each time."""
    try:
        smi = load_smi()
    except (ImportError, KeyError, OSError, AttributeError) as cause:
        return _silent(f"AMD SMI is of no use here ({cause!r})")
    try:
        smi.amdsmi_init()
        handles = smi.amdsmi_get_processor_handles()
    except (smi.AmdSmiException, KeyError) as cause:
        return _silent(f"AMD SMI failed ({cause})")
    if len(handles) != 1:
        return _silent(f"AMD SMI lists {len(handles)} devices, and does not tell which of them programs use")
    return lambda: _read(smi, handles[0])


def _silent(note: str) -> Callable[[], GaugeReading]:
    return lambda: GaugeReading(SOURCE, note=note)


def _read(smi: Any, handle: Any) -> GaugeReading:
    """What of the two the device tells; it writes "N/A" for what it does not."""
    notes: list[str] = []

    def ask(name: str, *arguments: Any) -> dict[str, Any]:
        try:
            return dict(getattr(smi, name)(handle, *arguments))
        except (smi.AmdSmiException, AttributeError, KeyError, TypeError) as cause:
            notes.append(f"{name}: {cause!r}")
            return {}

    energy = ask("amdsmi_get_energy_count")
    total = next((energy[name] for name in TOTALS if name in energy), None)
    joules = _number(total), _number(energy.get("counter_resolution"))
    kinds = getattr(smi, "AmdSmiClkType", None)
    clock = ask("amdsmi_get_clock_info", kinds.GFX) if kinds is not None else {}
    return GaugeReading(
        source=SOURCE,
        energy_joules=None if joules[0] is None or joules[1] is None else joules[0] * joules[1] * 1e-6,
        clock_mhz=_number(clock.get("clk", clock.get("cur_clk"))),
        note="; ".join(notes),
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
