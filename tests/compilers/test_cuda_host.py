"""Which CUDA devices this host has, asked of the driver itself."""

import pytest

from porting.compilers import cuda_host
from tests.runners.fake_cuda import CudaError, FakeCuda, FakeDriver


@pytest.mark.parametrize(
    ("cuda", "names"),
    [
        (FakeCuda((9, 0)), ("sm_90",)),
        (FakeCuda((10, 3), devices=2), ("sm_103", "sm_103")),
        (FakeCuda((12, 1)), ("sm_121",)),
        (FakeCuda(devices=0), ()),
    ],
)
def test_a_device_has_the_compilers_name(
    cuda: FakeCuda, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_host, "load_driver", lambda: FakeDriver(cuda))
    assert cuda_host.find_architectures() == names


def test_a_driver_that_does_not_start_has_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    cuda.status = CudaError.cudaErrorInsufficientDriver
    monkeypatch.setattr(cuda_host, "load_driver", lambda: FakeDriver(cuda))
    assert cuda_host.find_architectures() == ()


def test_a_host_without_a_driver_has_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_host, "DRIVER_LIBRARY", "libno-such-driver.so.1")
    assert cuda_host.load_driver() is None
    assert cuda_host.find_architectures() == ()
