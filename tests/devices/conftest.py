import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porting.devices import Census, find_devices

HERE = Path(__file__).resolve().parent
TakeCensus = Callable[..., Census]


@pytest.fixture(scope="session")
def driver_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds libcuda.so.1 and pynvml, both fakes; C, so that the real way of calling is tried."""
    folder = tmp_path_factory.mktemp("driver")
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    assert compiler is not None, "a C compiler makes the fake driver"
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(HERE / "libcuda.c")]
    subprocess.run(command, check=True)
    (folder / "pynvml.py").write_text((HERE / "fake_pynvml.py").read_text())
    return folder


@pytest.fixture
def take_census(driver_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TakeCensus]:
    """Asks the fake drivers, in a child process as always."""

    def take(cuda: str = "", nvml: str = "", time_limit_seconds: float = 60.0) -> Census:
        monkeypatch.setenv("LD_LIBRARY_PATH", str(driver_folder))
        monkeypatch.setenv("PYTHONPATH", str(driver_folder))
        monkeypatch.setenv("FAKE_CUDA", cuda)
        monkeypatch.setenv("FAKE_NVML", nvml)
        find_devices.cache_clear()
        return find_devices("cuda", time_limit_seconds)

    find_devices.cache_clear()
    yield take
    find_devices.cache_clear()
