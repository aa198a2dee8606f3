"""A CUDA runtime whose device is this host's memory: real addresses, real copies, and work that is done in order.

It stands for cuda.bindings.runtime; test_device.py holds its functions against those of the published bindings.
"""

# ruff: noqa: N802, N803, N815
import ctypes
import functools
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np


class CudaError(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorStreamCaptureUnsupported = 900


class CudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class CudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class CudaDeviceAttr(IntEnum):
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


OK = CudaError.cudaSuccess
Work = Callable[[], object]


class FakeCuda:
    """One device of a given architecture; `calls` counts each function, `live` holds what was not released."""

    cudaMemcpyKind = CudaMemcpyKind
    cudaStreamCaptureMode = CudaStreamCaptureMode
    cudaDeviceAttr = CudaDeviceAttr
    cudaStreamNonBlocking = 1

    def __init__(self, architecture: tuple[int, int] = (12, 0), memory_bytes: int = 2**24, devices: int = 1) -> None:
        self.architecture, self.memory_bytes, self.devices = architecture, memory_bytes, devices
        self.status = OK
        """Of the first question; 35 without a driver."""
        self.capturable = True
        self.live: dict[int, Any] = {}
        self.calls: list[str] = []
        self.capturing: list[Work] | None = None
        self._names = iter(range(1, 10**6))
        self._clock = 0.0

    def do(self, work: Work) -> bool:
        """Give work to the device: done at once, or noted while a graph is captured; False when that cannot be."""
        if self.capturing is None:
            work()
            return True
        if self.capturable:
            self.capturing.append(work)
        return self.capturable

    def _keep(self, thing: Any) -> int:
        name = next(self._names)
        self.live[name] = thing
        return name

    def _release(self, name: Any) -> tuple[CudaError]:
        return (OK,) if self.live.pop(int(name), None) is not None else (CudaError.cudaErrorInvalidValue,)

    def cudaGetDeviceCount(self) -> tuple[CudaError, int | None]:
        return self.status, self.devices if self.status == OK else None

    def cudaSetDevice(self, device: int) -> tuple[CudaError]:
        return (OK if device < self.devices else CudaError.cudaErrorInvalidValue,)

    def cudaDeviceGetAttribute(self, attr: CudaDeviceAttr, device: int) -> tuple[CudaError, int]:
        return OK, self.architecture[attr - CudaDeviceAttr.cudaDevAttrComputeCapabilityMajor]

    def cudaGetErrorName(self, error: CudaError) -> tuple[CudaError, bytes]:
        return OK, error.name.encode()

    def cudaGetErrorString(self, error: CudaError) -> tuple[CudaError, bytes]:
        return OK, b"words of the runtime"

    def cudaGetLastError(self) -> tuple[CudaError]:
        return (OK,)

    def cudaMalloc(self, size: int) -> tuple[CudaError, int | None]:
        used = sum(thing.nbytes for thing in self.live.values() if isinstance(thing, np.ndarray))
        if used + size > self.memory_bytes:
            return CudaError.cudaErrorMemoryAllocation, None
        memory = np.full(size, 0xAB, np.uint8)
        self.live[memory.ctypes.data] = memory
        return OK, memory.ctypes.data

    def cudaFree(self, devPtr: int) -> tuple[CudaError]:
        return self._release(devPtr)

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: CudaMemcpyKind, stream: int) -> tuple[CudaError]:
        device = dst if kind == CudaMemcpyKind.cudaMemcpyHostToDevice else src
        if device not in self.live or stream not in self.live or count > self.live[device].nbytes:
            return (CudaError.cudaErrorInvalidValue,)
        self.calls.append(kind.name)
        self.do(functools.partial(ctypes.memmove, dst, src, count))
        return (OK,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[CudaError, int]:
        return OK, self._keep("stream")

    def cudaStreamSynchronize(self, stream: int) -> tuple[CudaError]:
        self.calls.append("synchronize")
        return (OK if self.capturing is None else CudaError.cudaErrorStreamCaptureUnsupported,)

    def cudaStreamDestroy(self, stream: int) -> tuple[CudaError]:
        return self._release(stream)

    def cudaStreamBeginCapture(self, stream: int, mode: CudaStreamCaptureMode) -> tuple[CudaError]:
        self.capturing = []
        return (OK,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[CudaError, int | None]:
        work, self.capturing = self.capturing, None
        if not work:
            return CudaError.cudaErrorStreamCaptureUnsupported, None
        return OK, self._keep(work)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[CudaError, int]:
        return OK, self._keep(self.live[graph])

    def cudaGraphLaunch(self, graphExec: int, stream: int) -> tuple[CudaError]:
        self.calls.append("graph")
        for work in self.live[graphExec]:
            work()
        return (OK,)

    def cudaGraphDestroy(self, graph: int) -> tuple[CudaError]:
        return self._release(graph)

    def cudaGraphExecDestroy(self, graphExec: int) -> tuple[CudaError]:
        return self._release(graphExec)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[CudaError, int]:
        return OK, self._keep("event")

    def cudaEventRecord(self, event: int, stream: int) -> tuple[CudaError]:
        self._clock += 1.5
        self.live[event] = self._clock
        return (OK,)

    def cudaEventSynchronize(self, event: int) -> tuple[CudaError]:
        return (OK,)

    def cudaEventElapsedTime(self, start: int, end: int) -> tuple[CudaError, float]:
        return OK, self.live[end] - self.live[start]

    def cudaEventDestroy(self, event: int) -> tuple[CudaError]:
        return self._release(event)
