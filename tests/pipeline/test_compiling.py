"""What a compile is asked: where kernel times are kept."""

from pathlib import Path

import pytest

from porting.devices import FoundDevice
from porting.pipeline import compiling

B200 = FoundDevice("cuda", "NVIDIA B200", "sm_100")


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORLDPORT_CACHE", str(tmp_path))
    monkeypatch.setattr(compiling, "find_versions", lambda names: dict.fromkeys(names, "11.4.0"))
    return tmp_path / "timings"


def test_kernel_times_are_kept_for_one_device_and_version(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = compiling.timing_cache("tensorrt", B200)
    assert found == caches / "tensorrt-11.4.0-NVIDIA-B200-sm_100.cache"
    others = [compiling.timing_cache("tensorrt", FoundDevice("cuda", "NVIDIA GB200", "sm_100"))]
    monkeypatch.setattr(compiling, "find_versions", lambda names: dict.fromkeys(names, "11.5.0"))
    others.append(compiling.timing_cache("tensorrt", B200))
    assert len({found, *others}) == 3


@pytest.mark.parametrize("backend", ["tensorrt_rtx", "triton", "onnxruntime"])
def test_other_backends_time_nothing(backend: str, caches: Path) -> None:
    assert compiling.timing_cache(backend, B200) is None


def test_without_the_device_nothing_is_timed(caches: Path) -> None:
    assert compiling.timing_cache("tensorrt", None) is None
