"""The kernel's topology is read as it is written; AMD SMI may be missing, broken or of another opinion."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from porting.devices import Census, amd

# As the amdgpu driver writes it for an MI300X, in part; sizes in bytes.
GPU = """cpu_cores_count 0
simd_count 1216
simd_per_cu 4
wave_front_size 64
gfx_target_version 90402
vendor_id 4098
"""
CPU = "cpu_cores_count 96\nsimd_count 0\ngfx_target_version 0\n"
BANK = "heap_type 1\nsize_in_bytes 206141652992\nflags 0\n"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with one CPU and one MI300X, whose AMD SMI is not installed."""
    for number, text in ((0, CPU), (1, GPU)):
        (tmp_path / f"nodes/{number}").mkdir(parents=True)
        (tmp_path / f"nodes/{number}/properties").write_text(text)
    (tmp_path / "nodes/1/mem_banks/0").mkdir(parents=True)
    (tmp_path / "nodes/1/mem_banks/0/properties").write_text(BANK)
    (tmp_path / "kfd").touch()
    (tmp_path / "version").write_text("6.14.14\n")
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    for name in amd.HIDING_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def take_census(system: Path) -> Census:
    return amd.take_census(system / "nodes", system / "kfd", system / "version")


def test_a_device_is_read_from_the_topology(system: Path) -> None:
    census = take_census(system)
    (device,) = census.devices
    assert (device.architecture, device.multiprocessors, device.memory_bytes) == ("gfx942", 304, 206141652992)
    assert census.driver == "6.14.14"
    assert "no names" in census.note


@pytest.mark.parametrize(
    ("version", "name"),
    [(90402, "gfx942"), (90500, "gfx950"), (120500, "gfx1250"), (120001, "gfx1201"), (90010, "gfx90a")],
)
def test_architectures_are_named_as_compilers_do(version: int, name: str) -> None:
    assert amd.name_architecture(version) == name


def test_no_driver_and_no_accelerator_are_reasons(system: Path, tmp_path: Path) -> None:
    assert "no AMD driver" in amd.take_census(tmp_path / "nosuch").note
    (system / "nodes/1/properties").write_text(CPU)
    census = take_census(system)
    assert census.devices == ()
    assert census.note == "the AMD driver lists no accelerator"


def test_a_node_that_cannot_be_read_is_no_device(system: Path) -> None:
    (system / "nodes/1/properties").unlink()
    assert take_census(system).devices == ()


def test_a_device_that_programs_cannot_open_is_not_found(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "kfd").unlink()
    census = take_census(system)
    assert census.devices == ()
    assert "lists gfx942, but this user may not open" in census.note
    (system / "kfd").touch()
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "-1")
    census = take_census(system)
    assert census.devices == ()
    assert "HIP_VISIBLE_DEVICES hides" in census.note


def fake_smi(*told: tuple[str, str]) -> ModuleType:
    module: Any = ModuleType("amdsmi")
    module.AmdSmiException = type("AmdSmiException", (Exception,), {})
    module.amdsmi_init = lambda: None
    module.amdsmi_get_processor_handles = lambda: told
    module.amdsmi_get_gpu_asic_info = lambda handle: {"target_graphics_version": handle[0], "market_name": handle[1]}
    return module  # type: ignore[no-any-return]


def test_amd_smi_gives_the_names(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "amdsmi", fake_smi(("gfx942", "AMD Instinct MI300X")))
    census = take_census(system)
    assert [device.name for device in census.devices] == ["AMD Instinct MI300X"]
    assert census.note == ""


def test_amd_smi_of_another_opinion_is_not_believed(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "amdsmi", fake_smi(("gfx950", "AMD Instinct MI355X")))
    census = take_census(system)
    assert [(device.name, device.architecture) for device in census.devices] == [("", "gfx942")]
    assert "contradicts AMD SMI, which lists gfx950" in census.note
    monkeypatch.setitem(sys.modules, "amdsmi", fake_smi())
    assert "lists none" in take_census(system).note


def test_amd_smi_that_raises_is_a_reason(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # What amdsmi 7.0.2 does where its library is missing.
    (tmp_path / "amdsmi.py").write_text("print('Unable to find libamd_smi.so'); raise KeyError('libamd_smi.so')")
    monkeypatch.delitem(sys.modules, "amdsmi")
    monkeypatch.syspath_prepend(tmp_path)
    census = take_census(system)
    assert len(census.devices) == 1
    assert "KeyError('libamd_smi.so')" in census.note
    broken: Any = fake_smi(("gfx942", "x"))

    def fail() -> None:
        raise broken.AmdSmiException("driver not loaded")

    broken.amdsmi_init = fail
    monkeypatch.setitem(sys.modules, "amdsmi", broken)
    assert "AMD SMI failed (driver not loaded)" in take_census(system).note
