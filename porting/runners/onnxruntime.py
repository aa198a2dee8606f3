"""ONNX Runtime on the CPU: inputs and outputs are bound to the buffers' own memory."""

from collections.abc import Mapping
from pathlib import Path

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from porting.errors import RunnerError
from porting.program import ComponentSpec
from porting.runners.base import BoundCall, Buffer, check_buffers, check_signature, describe_port
from porting.tensor_spec import DType, Precision, TensorSpec

DTYPES: dict[str, DType] = {
    "tensor(double)": "float64",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(bfloat16)": "bfloat16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
BFLOAT16 = 16
"""onnx.TensorProto.BFLOAT16: numpy has no type of its own for it."""
ERRORS = (
    state.EPFail,
    state.EngineError,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
)
"""What a session raises; onnxruntime gives them no common class of their own."""


class OnnxRuntimeRunner:
    """One session; a bound call is an IoBinding over it."""

    backend = "onnxruntime"

    def __init__(self, path: Path, spec: ComponentSpec, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        # Threads that spin between the short calls of a frame take the core from whoever needs it next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: ort.InferenceSession | None = ort.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except ERRORS as cause:
            raise RunnerError(f"{spec.name}: {path} cannot be loaded ({cause}); compile the component again") from cause
        if self._session.get_providers() != ["CPUExecutionProvider"]:
            raise RunnerError(f"{spec.name}: runs on {self._session.get_providers()}; give a CPU build of onnxruntime")
        self._spec = spec
        takes, makes = self._session.get_inputs(), self._session.get_outputs()
        check_signature(spec, _describe(spec, takes), _describe(spec, makes))

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """See `Runner.bind`."""
        check_buffers(self._spec, inputs, outputs)
        if self._session is None:
            raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
        binding = self._session.io_binding()
        for add, buffers in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, array in buffers.items():
                kind = array.dtype.type if array.dtype.kind in "fiub" else BFLOAT16
                add(name, "cpu", 0, kind, array.shape, array.ctypes.data)
        kept = (*inputs.values(), *outputs.values())

        def call() -> None:
            if self._session is None:
                raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
            try:
                self._session.run_with_iobinding(binding)
            except ERRORS as cause:
                raise RunnerError(f"{self._spec.name}: onnxruntime stopped ({cause}); try another backend") from cause

        # The binding holds bare addresses: the arrays live as long as the call.
        call.buffers = kept  # type: ignore[attr-defined]
        return call

    def close(self) -> None:
        """Release the session."""
        self._session = None


def open_artifact(path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> OnnxRuntimeRunner:
    """Load an .onnx file; its precision is in its graph.

    Raises:
        RunnerError: it cannot be loaded, or is not this component's.
    """
    del precision
    return OnnxRuntimeRunner(path, spec, threads)


def _describe(spec: ComponentSpec, arguments: "list[ort.NodeArg]") -> list[TensorSpec]:
    return [describe_port(spec.name, a.name, a.shape, DTYPES.get(a.type)) for a in arguments]
