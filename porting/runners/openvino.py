"""OpenVINO on the CPU: the request reads and writes the buffers' own memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvino as ov

from porting.errors import RunnerError
from porting.program import ComponentSpec
from porting.runners.base import BoundCall, Buffer, check_buffers, check_signature, describe_port
from porting.tensor_spec import DType, Precision, TensorSpec

DTYPES: dict[str, DType] = {
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "i64": "int64",
    "i32": "int32",
    "u8": "uint8",
    "boolean": "bool",
}
HINTS: dict[Precision, str] = {"fp64": "f64", "fp32": "f32", "fp16": "f16", "bf16": "bf16"}
"""Without a hint OpenVINO computes float32 graphs in bfloat16 where the CPU can."""


def compile_options(precision: Precision, threads: int) -> dict[str, Any]:
    """What a model is compiled with: one stream, the precision asked for, threads that the scheduler may move."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # Said outright, as the defaults are 8 bit: they touch no graph of ours today and must not begin to.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        "KV_CACHE_PRECISION": HINTS[precision],
        "ENABLE_CPU_PINNING": False,
    }


class OpenVinoRunner:
    """One compiled model; a bound call is a request over it."""

    backend = "openvino"

    def __init__(self, path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> None:
        try:
            model = ov.Core().compile_model(path, "CPU", compile_options(precision, threads))
        except RuntimeError as cause:
            raise RunnerError(f"{spec.name}: {path} cannot be loaded ({cause}); compile the component again") from cause
        self._spec = spec
        check_signature(spec, _describe(spec, model.inputs), _describe(spec, model.outputs))
        self._model: ov.CompiledModel | None = model

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """See `Runner.bind`."""
        check_buffers(self._spec, inputs, outputs)
        if self._model is None:
            raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
        request = self._model.create_infer_request()
        for name, array in (*inputs.items(), *outputs.items()):
            element = self._port(name).get_element_type()
            request.set_tensor(name, ov.Tensor(array, list(array.shape), element))
        kept = (*inputs.values(), *outputs.values())

        def call() -> None:
            if self._model is None:
                raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
            try:
                request.infer(share_inputs=True, share_outputs=True)
            except RuntimeError as cause:
                raise RunnerError(f"{self._spec.name}: OpenVINO stopped ({cause}); try another backend") from cause

        # The request holds bare addresses: the arrays live as long as the call.
        call.buffers = kept  # type: ignore[attr-defined]
        return call

    def _port(self, name: str) -> Any:
        """The input or output of that name."""
        if self._model is None:
            raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
        is_input = any(tensor.name == name for tensor in self._spec.inputs)
        return self._model.input(name) if is_input else self._model.output(name)

    def close(self) -> None:
        """Release the model; a request that is still referenced does nothing but raise."""
        self._model = None


def open_artifact(path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> OpenVinoRunner:
    """Load an .xml file and the .bin beside it.

    Raises:
        RunnerError: it cannot be loaded, or is not this component's.
    """
    return OpenVinoRunner(path, spec, threads, precision)


def _describe(spec: ComponentSpec, ports: list[Any]) -> list[TensorSpec]:
    """What OpenVINO says of each port. A port has the names of every tensor that was folded into it: ours is kept."""
    declared = {tensor.name for tensor in (*spec.inputs, *spec.outputs)}
    found = []
    for port in ports:
        names = port.get_names()
        kind = port.get_element_type().get_type_name()
        shape = [side.get_length() if side.is_static else str(side) for side in port.get_partial_shape()]
        for name in sorted(names & declared) or sorted(names)[:1]:
            found.append(describe_port(spec.name, name, shape, DTYPES.get(kind)))
    return found
