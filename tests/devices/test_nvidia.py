"""The census against a driver that is there, is absent, hangs, crashes, lies and talks."""

import ctypes
import subprocess
import sys
import time
from pathlib import Path

import pytest

from porting.devices import FoundDevice, find_devices, nvidia
from tests.devices.conftest import TakeCensus

H100 = "NVIDIA H100 80GB HBM3:9:0"


def test_a_device_is_described_by_the_driver(take_census: TakeCensus) -> None:
    census = take_census(f"{H100},NVIDIA B200:10:0", f"{H100},NVIDIA B200:10:0")
    assert census.devices == (
        FoundDevice("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 85899345920, 132),
        FoundDevice("cuda", "NVIDIA B200", "sm_100", 85899345921, 132),
    )
    assert census.driver == "615.10"
    assert census.note == ""


def test_without_nvml_the_driver_still_tells(take_census: TakeCensus) -> None:
    census = take_census(H100)
    assert [device.architecture for device in census.devices] == ["sm_90"]
    assert census.driver == "CUDA 13.4"
    assert census.note == ""


@pytest.mark.parametrize(
    ("cuda", "nvml", "words"),
    [
        ("", "", ("CUDA counts no device", "NVML Shared Library Not Found")),
        ("no device", "", ("cuInit: CUDA_ERROR_NO_DEVICE", "NVML")),
        ("nameless error", "", ("cuInit: error 4242",)),
        # Hidden from programs, or no compute driver in this container.
        ("no device", H100, ("CUDA_ERROR_NO_DEVICE, although NVML lists NVIDIA H100 80GB HBM3",)),
        ("", H100, ("CUDA counts no device, although NVML lists",)),
        ("no device", "lost", ("CUDA_ERROR_NO_DEVICE", "GPU is lost")),
    ],
)
def test_no_device_has_its_reason(take_census: TakeCensus, cuda: str, nvml: str, words: tuple[str, ...]) -> None:
    census = take_census(cuda, nvml)
    assert census.devices == ()
    assert all(word in census.note for word in words), census.note


def test_a_contradiction_is_told(take_census: TakeCensus) -> None:
    census = take_census(H100, "NVIDIA B200:10:0")
    assert [device.architecture for device in census.devices] == ["sm_90"]
    assert census.note == "CUDA offers sm_90, although NVML lists only NVIDIA B200"
    assert "NVML counts none" in take_census(H100, "nothing").note


def test_a_driver_that_hangs_is_left_alone(take_census: TakeCensus) -> None:
    start = time.perf_counter()
    census = take_census("hang", time_limit_seconds=2.0)
    assert time.perf_counter() - start < 20.0
    assert census.devices == ()
    assert "no answer in 2 s" in census.note


def test_a_driver_that_crashes_ends_its_child_only(take_census: TakeCensus) -> None:
    census = take_census("crash")
    assert census.devices == ()
    assert "SIGSEGV" in census.note


def test_what_a_driver_prints_is_no_answer(take_census: TakeCensus) -> None:
    assert take_census("chatter").note.startswith("CUDA counts no device")


def test_a_driver_is_asked_once(take_census: TakeCensus, monkeypatch: pytest.MonkeyPatch) -> None:
    census = take_census(H100)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert find_devices("cuda", 60.0) is census


def test_a_bug_in_the_child_is_told_and_not_raised(
    take_census: TakeCensus, driver_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (driver_folder / "pynvml.py").read_text()
    (driver_folder / "pynvml.py").write_text("raise ZeroDivisionError('inside')")
    try:
        assert "failed with exit code 1: ZeroDivisionError: inside" in take_census(H100).note
    finally:
        (driver_folder / "pynvml.py").write_text(broken)
    monkeypatch.setattr(sys, "executable", "/bin/echo")
    assert "no readable answer" in take_census(H100).note


def test_an_absent_driver_and_binding_are_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "LIBRARY", "libnosuch.so.1")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    census = nvidia.take_census()
    assert census.devices == ()
    assert "no CUDA driver (libnosuch.so.1 is not there)" in census.note
    assert "nvidia-ml-py is not installed" in census.note


def test_a_library_that_is_no_driver_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert nvidia.ask_cuda().problem == "libcuda.so.1 has no cuInit"
