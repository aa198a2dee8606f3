"""An engine of TensorRT or TensorRT-RTX on a CUDA device: device buffers, copies, and a CUDA graph around the launch.

Both bindings have the same classes here, so the module is given as `trt` and imported by its own runner only. Values go
to the device and come back at every call, since the frame program lives in the host's buffers.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from porting.errors import BackendMissingError, RunnerError
from porting.program import ComponentSpec
from porting.runners.base import BoundCall, Buffer, check_buffers, check_signature, describe_port
from porting.runners.device import CudaDevice, CudaGraph, DeviceBuffer, open_device
from porting.tensor_spec import DType, Model, Precision, TensorSpec
from porting.tensorrt_log import last_words, make_logger

DTYPES: dict[str, DType] = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT64": "int64",
    "INT32": "int32",
    "UINT8": "uint8",
    "BOOL": "bool",
}
"""Names of TensorRT's DataType."""
MakeContext = Callable[[Any], Any]
"""An engine to an execution context."""


class EngineFacts(Model):
    """What the compiler wrote beside an engine: for what it was built."""

    backend: str
    version: str
    """Of the library that built it."""
    architectures: tuple[str, ...]
    precision: Precision
    newer_architectures: bool = False
    """It also runs on every later architecture."""
    host_code: bool = False
    """It carries the part of TensorRT that makes it run under other versions, which is code for the host."""


def read_facts(path: Path, spec: ComponentSpec) -> EngineFacts:
    """The facts beside an engine.

    Raises:
        RunnerError: the file is not there or does not say them.
    """
    file = path.with_suffix(".json")
    try:
        return EngineFacts.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValidationError) as cause:
        raise RunnerError(f"{spec.name}: {file} does not say what it is for; compile the component again") from cause


def check_device(facts: EngineFacts, device: CudaDevice, where: str) -> None:
    """Hold the device against what the engine was built for.

    Raises:
        BackendMissingError: it was built for another one: nothing is wrong with it, but it is not measured here.
    """
    own = _number(device.architecture)
    if device.architecture in facts.architectures:
        return
    if facts.newer_architectures and own >= max(map(_number, facts.architectures)):
        return
    raise BackendMissingError(
        f"{where}: built for {', '.join(facts.architectures)}, and {device} is another; run it on a host that has one"
    )


class EngineRunner:
    """One engine; a bound call has an execution context and device buffers of its own."""

    def __init__(self, trt: Any, backend: str, path: Path, spec: ComponentSpec, make_context: MakeContext) -> None:
        """Load the engine.

        Raises:
            BackendMissingError: there is no device, or another one than the engine's.
            RunnerError: the engine cannot be loaded, or is not this component's.
        """
        self.backend = backend
        self._trt, self._spec, self._make_context = trt, spec, make_context
        facts = read_facts(path, spec)
        where = f"{spec.name} on {backend}"
        self._device = open_device(where)
        check_device(facts, self._device, where)
        self._stream = self._device.make_stream()
        self._bound: list[_BoundEngine] = []
        self._logger = make_logger(trt)
        self._runtime = trt.Runtime(self._logger)
        self._runtime.engine_host_code_allowed = facts.host_code
        self._engine: Any = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            self._stream.close()
            raise RunnerError(
                f"{spec.name}: {path}, built by {backend} {facts.version}, cannot be loaded by {trt.__version__}"
                f" ({last_words(self._logger)}); compile the component again"
            )
        check_signature(spec, *self._describe())

    def _describe(self) -> tuple[list[TensorSpec], list[TensorSpec]]:
        """What the engine takes and makes; an open batch counts as the component's own when its range has it."""
        sides: dict[Any, list[TensorSpec]] = {self._trt.TensorIOMode.INPUT: [], self._trt.TensorIOMode.OUTPUT: []}
        declared = {tensor.name: tensor.shape for tensor in (*self._spec.inputs, *self._spec.outputs)}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            shape = tuple(self._engine.get_tensor_shape(name))
            if shape[:1] == (-1,):
                shape = (*declared.get(name, shape)[:1], *shape[1:])
            dtype = DTYPES.get(self._engine.get_tensor_dtype(name).name)
            sides[self._engine.get_tensor_mode(name)].append(describe_port(self._spec.name, name, shape, dtype))
        return sides[self._trt.TensorIOMode.INPUT], sides[self._trt.TensorIOMode.OUTPUT]

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """See `Runner.bind`. Runs the engine twice, outputs unseen: it settles first, and is then captured."""
        check_buffers(self._spec, inputs, outputs)
        if self._engine is None:
            raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
        context = self._make_context(self._engine)
        if context is None:
            raise RunnerError(f"{self._spec.name}: no room for an execution context ({last_words(self._logger)})")
        bound = _BoundEngine(self, context, inputs, outputs)
        self._bound.append(bound)
        return bound

    def close(self) -> None:
        """Release the engine and all that bound calls hold on the device."""
        for bound in self._bound:
            bound.close()
        self._bound.clear()
        self._engine = None
        self._stream.close()


class _BoundEngine:
    """An execution context with its buffers on the device, bound to buffers on the host."""

    def __init__(
        self, runner: EngineRunner, context: Any, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]
    ) -> None:
        self._runner, self._stream, self._context = runner, runner._stream, context
        self._inputs, self._outputs = dict(inputs), dict(outputs)
        self._buffers: dict[str, DeviceBuffer] = {}
        self._graph: CudaGraph | None = None
        try:
            for name, array in (*inputs.items(), *outputs.items()):
                self._place(name, array)
            self._prepare()
        except RunnerError:
            self.close()
            raise

    def _place(self, name: str, array: Buffer) -> None:
        buffer = self._buffers[name] = self._runner._device.allocate(array.nbytes)
        set_shape = name not in self._inputs or self._context.set_input_shape(name, array.shape)
        if not set_shape or not self._context.set_tensor_address(name, buffer.address):
            raise RunnerError(
                f"{self._runner._spec.name}.{name}: {array.shape} is refused ({last_words(self._runner._logger)});"
                " compile the component for it"
            )

    def _prepare(self) -> None:
        """Run once for what an engine does only the first time, then capture; what cannot be captured is launched."""
        for name, array in self._inputs.items():
            self._stream.upload(array, self._buffers[name])
        self._launch()
        self._stream.synchronize()
        try:
            self._graph = self._stream.capture(self._launch)
        except RunnerError:
            self._graph = None

    @property
    def captured(self) -> bool:
        """Whether a call launches a CUDA graph."""
        return self._graph is not None

    def _launch(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise RunnerError(
                f"{self._runner._spec.name}: {self._runner.backend} stopped ({last_words(self._runner._logger)});"
                " try another backend"
            )

    def __call__(self) -> None:
        if self._context is None:
            raise RunnerError(f"{self._runner._spec.name}: the runner was closed; open it again")
        for name, array in self._inputs.items():
            self._stream.upload(array, self._buffers[name])
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._launch()
        for name, array in self._outputs.items():
            self._stream.download(self._buffers[name], array)
        self._stream.synchronize()

    def close(self) -> None:
        """Release what it holds; calling it is an error afterwards."""
        self._context = None
        if self._graph is not None:
            self._graph.close()
            self._graph = None
        for buffer in self._buffers.values():
            buffer.free()


def _number(architecture: str) -> int:
    """sm_120 -> 120."""
    return int("".join(filter(str.isdigit, architecture)) or 0)
