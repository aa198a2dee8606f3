"""Device memory, streams, graphs and events, on a fake runtime that has the published bindings' interface."""

import inspect
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from porting.errors import BackendMissingError, RunnerError
from porting.runners import device as module
from porting.runners.device import CudaDevice, open_device
from tests.runners.fake_cuda import CudaError, FakeCuda
from tests.runners.recorded_api import parameters_of, recorded_cuda


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setitem(sys.modules, module.BINDINGS, fake)
    return fake


@pytest.fixture
def device(cuda: FakeCuda) -> CudaDevice:
    return open_device("a test")


def test_the_fake_is_the_published_interface() -> None:
    recorded = recorded_cuda()
    functions = {n: f for n, f in inspect.getmembers(FakeCuda, inspect.isfunction) if n.startswith("cuda")}
    assert {name for name, parameters in recorded.items() if parameters is not None} == set(functions)
    for name, function in functions.items():
        assert parameters_of(function) == recorded[name], name
    enums = (FakeCuda.cudaMemcpyKind, FakeCuda.cudaStreamCaptureMode, FakeCuda.cudaDeviceAttr)
    members = {member for kind in enums for member in kind.__members__}
    constants = {name for name in vars(FakeCuda) if name.startswith("cuda")} - set(functions)
    assert members | constants == {name for name, parameters in recorded.items() if parameters is None}


def test_values_come_back_as_they_went(device: CudaDevice) -> None:
    stream, source = device.make_stream(), np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    buffer = device.allocate(source.nbytes)
    stream.upload(source, buffer)
    back = np.zeros_like(source)
    stream.download(buffer, back)
    stream.synchronize()
    np.testing.assert_array_equal(back, source)


def test_a_tensor_without_elements_has_an_address(device: CudaDevice) -> None:
    stream, empty = device.make_stream(), np.zeros((0, 4), np.float32)
    buffer = device.allocate(empty.nbytes)
    assert buffer.address
    stream.upload(empty, buffer)


def test_everything_is_released_once(cuda: FakeCuda, device: CudaDevice) -> None:
    stream, buffer, event = device.make_stream(), device.allocate(8), device.make_event()
    graph = stream.capture(lambda: stream.upload(np.zeros(8, np.uint8), buffer))
    assert len(cuda.live) == 4  # the captured graph itself has gone: its executable holds it
    graph.close()
    event.close()
    for _ in range(2):
        buffer.free()
        stream.close()
    assert cuda.live == {}


def test_a_graph_does_its_work_when_it_is_launched(cuda: FakeCuda, device: CudaDevice) -> None:
    stream, array = device.make_stream(), np.full(4, 7, np.uint8)
    buffer = device.allocate(4)
    graph = stream.capture(lambda: stream.upload(array, buffer))
    assert set(cuda.live[buffer.address]) == {0xAB}
    array[:] = 9
    graph.launch(stream)
    assert set(cuda.live[buffer.address]) == {9}


def test_what_cannot_be_captured_leaves_the_stream_usable(cuda: FakeCuda, device: CudaDevice) -> None:
    stream = device.make_stream()
    with pytest.raises(RunnerError, match="cudaStreamSynchronize failed"):
        stream.capture(stream.synchronize)
    assert cuda.capturing is None
    stream.synchronize()
    assert len(cuda.live) == 1


def test_events_measure_what_lies_between(device: CudaDevice) -> None:
    stream, first, second = device.make_stream(), device.make_event(), device.make_event()
    first.record(stream)
    second.record(stream)
    second.synchronize()
    assert second.milliseconds_since(first) == 1.5


def test_copies_that_do_not_fit_are_refused(device: CudaDevice) -> None:
    stream, buffer = device.make_stream(), device.allocate(16)
    for array in (np.zeros(15, np.uint8), np.zeros((4, 8), np.uint8)[:, ::2]):
        with pytest.raises(RunnerError, match="do not fit the 16 there"):
            stream.upload(array, buffer)
    buffer.free()
    with pytest.raises(RunnerError, match="before it is freed"):
        stream.download(buffer, np.zeros(16, np.uint8))


def test_memory_that_is_not_there_is_an_error_with_the_runtimes_words(cuda: FakeCuda, device: CudaDevice) -> None:
    with pytest.raises(RunnerError, match=r"device 0 \(sm_120\): cudaMalloc failed \(cudaErrorMemoryAllocation: words"):
        device.allocate(cuda.memory_bytes + 1)


@pytest.mark.parametrize(("numbers", "name"), [((9, 0), "sm_90"), ((10, 3), "sm_103"), ((12, 1), "sm_121")])
def test_an_architecture_has_the_compilers_name(cuda: FakeCuda, numbers: tuple[int, int], name: str) -> None:
    cuda.architecture = numbers
    assert open_device("a test").architecture == name


def test_what_is_missing_is_named(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendMissingError, match="the driver shows 1 devices, not number 3"):
        open_device("a test", 3)
    cuda.status = CudaError.cudaErrorInsufficientDriver
    monkeypatch.setattr(module, "DRIVER_LIBRARY", "libno-such-driver.so.1")
    with pytest.raises(BackendMissingError, match=r"no NVIDIA driver: libno-such-driver\.so\.1 cannot be loaded"):
        open_device("a test")
    monkeypatch.setattr(module, "ctypes", SimpleNamespace(CDLL=lambda name: None))
    with pytest.raises(BackendMissingError, match="cudaErrorInsufficientDriver: words of the runtime"):
        open_device("a test")
    monkeypatch.setitem(sys.modules, module.BINDINGS, None)
    with pytest.raises(BackendMissingError, match=r"cannot be imported.*pip install 'worldport\[tensorrt\]'"):
        open_device("a test")
