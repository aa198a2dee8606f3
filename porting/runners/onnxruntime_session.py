"""One ONNX Runtime session as a runner, on any of its providers: strict, so that no node falls back to the CPU unseen.

A build of ONNX Runtime names providers that this host may lack a device for, and then runs on the CPU without a word.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from porting.errors import BackendMissingError, RunnerError
from porting.program import ComponentSpec
from porting.runners.base import BoundCall, Buffer, check_buffers, check_signature, describe_port
from porting.tensor_spec import DType, TensorSpec

CPU = "CPUExecutionProvider"
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
    RuntimeError,
    ValueError,
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
"""What a session raises; onnxruntime gives its own no common class, and raises plain errors for missing libraries."""
GRAPH_IDS = itertools.count(1)
"""One for each bound call: the provider keeps its graph under it."""


@dataclass(frozen=True)
class Placement:
    """Where a backend's sessions run."""

    backend: str
    provider: str = CPU
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the provider."""
    then: tuple[str, ...] = ()
    """Providers of the same device for nodes that the first leaves."""
    buffers: str | None = None
    """Device on which inputs and outputs are kept between calls; None binds the host's memory, which is copied."""
    install: str = ""
    """What to install where this build lacks the provider."""


class OnnxRuntimeRunner:
    """One session; a bound call is an IoBinding over it."""

    def __init__(self, placement: Placement, path: Path, spec: ComponentSpec, threads: int) -> None:
        """Open the session.

        Raises:
            BackendMissingError: this build lacks the provider, or the host its device or libraries.
            RunnerError: the file cannot be loaded, is not this component's, or would run on the CPU in part.
        """
        self.backend = placement.backend
        self._placement, self._spec = placement, spec
        self._session: ort.InferenceSession | None = open_session(placement, path, spec, threads)
        takes, makes = self._session.get_inputs(), self._session.get_outputs()
        check_signature(spec, _describe(spec, takes), _describe(spec, makes))

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """See `Runner.bind`."""
        check_buffers(self._spec, inputs, outputs)
        session = self._live_session()
        arrays = (*inputs.values(), *outputs.values())
        if self._placement.buffers is None or any(array.dtype.kind not in "fiub" for array in arrays):
            run = bind_host(session, inputs, outputs)
        else:
            run = bind_device(session, inputs, outputs, self._placement.buffers)

        def call() -> None:
            self._live_session()
            try:
                run()
            except ERRORS as cause:
                raise RunnerError(f"{self._spec.name}: onnxruntime stopped ({cause}); try another backend") from cause

        return call

    def _live_session(self) -> ort.InferenceSession:
        if self._session is None:
            raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
        return self._session

    def close(self) -> None:
        """Release the session."""
        self._session = None


def open_session(placement: Placement, path: Path, spec: ComponentSpec, threads: int) -> ort.InferenceSession:
    """A session that runs where the placement says and nowhere else.

    Raises:
        BackendMissingError: this build lacks the provider, or the host its device or libraries.
        RunnerError: the file cannot be loaded, or some of it would run on the CPU.
    """
    where = f"{spec.name} on {placement.backend}"
    built = ort.get_available_providers()
    if placement.provider not in built:
        raise BackendMissingError(
            f"{where}: this onnxruntime has {', '.join(built)} and no {placement.provider};"
            f" pip install '{placement.install}'"
        )
    try:
        session = _open(placement, path, threads, strict=placement.provider != CPU)
    except ERRORS as cause:
        if placement.provider != CPU:
            _require_started(placement, path, threads, where)
        raise RunnerError(f"{spec.name}: {path} cannot be loaded ({cause}); compile the component again") from cause
    if session.get_providers()[0] != placement.provider or (
        placement.provider == CPU and len(session.get_providers()) > 1
    ):
        raise RunnerError(
            f"{where}: would run on {session.get_providers()}; give a build that runs on {placement.provider}"
        )
    return session


def _require_started(placement: Placement, path: Path, threads: int, where: str) -> None:
    """Tell a device or library that is not there from a fault of the file.

    Raises:
        BackendMissingError: the provider does not start on this host.
    """
    try:
        started = _open(placement, path, threads, strict=False).get_providers()
    except ERRORS as cause:
        reason = " ".join(str(cause).split())
    else:
        if placement.provider in started:
            return
        reason = f"it would run on {', '.join(started)}"
    raise BackendMissingError(
        f"{where}: {placement.provider} does not start on this host ({reason}); run it on a host with the device, its"
        " driver and its libraries"
    )


def _open(placement: Placement, path: Path, threads: int, strict: bool) -> ort.InferenceSession:
    options = session_options(threads)
    options.log_severity_level = 4 if placement.provider != CPU else 3
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    providers = [(placement.provider, dict(placement.options)), *placement.then]
    # Else Python itself opens a second session on the CPU when the first fails.
    return ort.InferenceSession(path, options, providers=providers, enable_fallback=0)


def session_options(threads: int) -> ort.SessionOptions:
    """What every session is opened with."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Threads that spin between the short calls of a frame take the core from whoever needs it next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def bind_host(
    session: ort.InferenceSession, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]
) -> Callable[[], None]:
    """Bind the buffers' own memory; a device's provider copies at every run."""
    binding = session.io_binding()
    for add, buffers in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
        for name, array in buffers.items():
            kind = array.dtype.type if array.dtype.kind in "fiub" else BFLOAT16
            add(name, "cpu", 0, kind, array.shape, array.ctypes.data)
    kept = (*inputs.values(), *outputs.values())

    def run() -> None:
        session.run_with_iobinding(binding)

    # The binding holds bare addresses: the arrays live as long as the call.
    run.buffers = kept  # type: ignore[attr-defined]
    return run


def bind_device(
    session: ort.InferenceSession, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer], device: str
) -> Callable[[], None]:
    """Bind memory of the device whose addresses never change, which is what a graph of the device needs."""
    binding, options = session.io_binding(), ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(next(GRAPH_IDS)))
    taken = {name: ort.OrtValue.ortvalue_from_numpy(array, device, 0) for name, array in inputs.items()}
    filled = {
        name: ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype.type, device, 0)
        for name, array in outputs.items()
    }
    for name, value in taken.items():
        binding.bind_ortvalue_input(name, value)
    for name, value in filled.items():
        binding.bind_ortvalue_output(name, value)

    def run() -> None:
        for name, array in inputs.items():
            taken[name].update_inplace(array)
        binding.synchronize_inputs()
        session.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
        for name, array in outputs.items():
            np.copyto(array, filled[name].numpy())

    return run


def _describe(spec: ComponentSpec, arguments: "list[ort.NodeArg]") -> list[TensorSpec]:
    return [describe_port(spec.name, a.name, a.shape, DTYPES.get(a.type)) for a in arguments]
