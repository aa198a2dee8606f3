"""Memory, streams, graphs and events of one CUDA device, behind an interface small enough to be faked in a test.

The runtime is in cuda-bindings; all that the host must have is NVIDIA's driver. It knows no artifact and no backend.
There is no counterpart for AMD: what runs there comes with its own buffers (ONNX Runtime, PyTorch).
"""

import ctypes
import importlib
from collections.abc import Callable
from typing import Any

from porting.errors import BackendMissingError, RunnerError
from porting.runners.base import Buffer

DRIVER_LIBRARY = "libcuda.so.1"
BINDINGS = "cuda.bindings.runtime"
EXTRA = "worldport[tensorrt]"


class DeviceBuffer:
    """A piece of device memory; freed by `free`, once."""

    def __init__(self, device: "CudaDevice", nbytes: int) -> None:
        self._device, self.nbytes = device, nbytes
        # A tensor without elements has an address too: some runtimes refuse a null pointer.
        self.address = int(device.call("cudaMalloc", max(nbytes, 1)))

    def free(self) -> None:
        """Give the memory back; the address is dead."""
        if self.address:
            address, self.address = self.address, 0
            self._device.call("cudaFree", address)


class CudaEvent:
    """A moment on a stream."""

    def __init__(self, device: "CudaDevice") -> None:
        self._device = device
        self._event = device.call("cudaEventCreateWithFlags", 0)

    def record(self, stream: "CudaStream") -> None:
        """Happen when all that was given to the stream before is done."""
        self._device.call("cudaEventRecord", self._event, stream.handle)

    def synchronize(self) -> None:
        """Wait until it has happened."""
        self._device.call("cudaEventSynchronize", self._event)

    def milliseconds_since(self, earlier: "CudaEvent") -> float:
        """Device time between two events that have happened."""
        return float(self._device.call("cudaEventElapsedTime", earlier._event, self._event))

    def close(self) -> None:
        """Release the event."""
        self._device.call("cudaEventDestroy", self._event)


class CudaGraph:
    """Work that was captured once and is given to the device again at the cost of one call."""

    def __init__(self, device: "CudaDevice", graph: Any) -> None:
        self._device = device
        try:
            self._executable = device.call("cudaGraphInstantiate", graph, 0)
        finally:
            device.call("cudaGraphDestroy", graph)

    def launch(self, stream: "CudaStream") -> None:
        """Give the work to the stream."""
        self._device.call("cudaGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        """Release the graph."""
        self._device.call("cudaGraphExecDestroy", self._executable)


class CudaStream:
    """A queue of work, in order; nothing else waits for it."""

    def __init__(self, device: "CudaDevice") -> None:
        self._device, runtime = device, device.runtime
        self.handle = int(device.call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking))

    def upload(self, array: Buffer, buffer: DeviceBuffer) -> None:
        """Copy a C-contiguous array to the device; the array must stay as it is until `synchronize`."""
        self._copy(buffer.address, array.ctypes.data, array, buffer, "cudaMemcpyHostToDevice")

    def download(self, buffer: DeviceBuffer, array: Buffer) -> None:
        """Copy into a C-contiguous array; it is filled after `synchronize`."""
        self._copy(array.ctypes.data, buffer.address, array, buffer, "cudaMemcpyDeviceToHost")

    def _copy(self, target: int, source: int, array: Buffer, buffer: DeviceBuffer, kind: str) -> None:
        if array.nbytes != buffer.nbytes or not array.flags.c_contiguous or not buffer.address:
            raise RunnerError(
                f"{self._device}: {array.nbytes} bytes, strides {array.strides}, do not fit the {buffer.nbytes} there;"
                " give C-contiguous arrays of the buffer's size, before it is freed"
            )
        if array.nbytes:
            kinds = self._device.runtime.cudaMemcpyKind
            self._device.call("cudaMemcpyAsync", target, source, array.nbytes, getattr(kinds, kind), self.handle)

    def synchronize(self) -> None:
        """Wait until all that was given to the stream is done."""
        self._device.call("cudaStreamSynchronize", self.handle)

    def capture(self, work: Callable[[], None]) -> CudaGraph:
        """What `work` gives to this stream, as a graph; it does not run yet.

        Raises:
            RunnerError: something in it cannot be captured; the stream is as it was before.
        """
        modes = self._device.runtime.cudaStreamCaptureMode
        self._device.call("cudaStreamBeginCapture", self.handle, modes.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        except RunnerError:
            self._abandon_capture()
            raise
        return CudaGraph(self._device, self._device.call("cudaStreamEndCapture", self.handle))

    def _abandon_capture(self) -> None:
        """End a capture that failed: until then the stream takes nothing else, and the error stays with the runtime."""
        status, graph = self._device.runtime.cudaStreamEndCapture(self.handle)
        if int(status) == 0 and graph:
            self._device.call("cudaGraphDestroy", graph)
        self._device.runtime.cudaGetLastError()

    def close(self) -> None:
        """Release the stream, once what it holds is done."""
        if self.handle:
            handle, self.handle = self.handle, 0
            self._device.call("cudaStreamDestroy", handle)


class CudaDevice:
    """One device, current for the calling thread."""

    def __init__(self, runtime: Any, index: int, architecture: str) -> None:
        self.runtime, self.index, self.architecture = runtime, index, architecture

    def __str__(self) -> str:
        return f"device {self.index} ({self.architecture})"

    def call(self, name: str, *arguments: Any) -> Any:
        """Call one function of the runtime; returns what it returns after its status.

        Raises:
            RunnerError: the status is not success; the message has the runtime's own words.
        """
        status, *results = getattr(self.runtime, name)(*arguments)
        if int(status) != 0:
            raise RunnerError(
                f"{self}: {name} failed ({describe_status(self.runtime, status)}); free memory or restart"
            )
        return results[0] if results else None

    def allocate(self, nbytes: int) -> DeviceBuffer:
        """A buffer of that many bytes, its content undefined.

        Raises:
            RunnerError: there is not that much memory.
        """
        return DeviceBuffer(self, nbytes)

    def make_stream(self) -> CudaStream:
        """A stream of its own."""
        return CudaStream(self)

    def make_event(self) -> CudaEvent:
        """An event that measures time."""
        return CudaEvent(self)


def open_device(where: str, index: int = 0) -> CudaDevice:
    """Make one CUDA device current and say what it is.

    Raises:
        BackendMissingError: cuda-bindings, the driver or the device is not there; the message names which.
    """
    try:
        runtime: Any = importlib.import_module(BINDINGS)
    except ImportError as cause:
        raise BackendMissingError(f"{where}: {BINDINGS} cannot be imported ({cause}); pip install '{EXTRA}'") from cause
    status, count = runtime.cudaGetDeviceCount()
    if int(status) != 0:
        said = describe_status(runtime, status)
        if not _has_driver():
            said = f"no NVIDIA driver: {DRIVER_LIBRARY} cannot be loaded"
        raise BackendMissingError(f"{where}: {said}; run it on a host with an NVIDIA GPU and its driver")
    if index >= count:
        raise BackendMissingError(f"{where}: the driver shows {count} devices, not number {index}; make it visible")
    attributes = runtime.cudaDeviceAttr
    device = CudaDevice(runtime, index, "not known yet")
    device.call("cudaSetDevice", index)
    major = device.call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMajor, index)
    minor = device.call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMinor, index)
    return CudaDevice(runtime, index, f"sm_{major}{minor}")


def describe_status(runtime: Any, status: Any) -> str:
    """The runtime's name and words for one of its errors."""
    words = [runtime.cudaGetErrorName(status)[1], runtime.cudaGetErrorString(status)[1]]
    return ": ".join(word.decode() if isinstance(word, bytes) else str(word) for word in words)


def _has_driver() -> bool:
    try:
        ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return False
    return True
