"""Runs an exported graph in onnxruntime on bound buffers, as a host would, without copying its weights."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplemented_

from porting.errors import ExportError, StateContractError
from porting.program import ComponentSpec

REFUSALS = (Fail, InvalidArgument, InvalidGraph, NotImplemented_)
Array = npt.NDArray[np.generic]


class GraphSession:
    """One component's written graph, ready to run.

    Weights in a file of their own stay mapped to it: onnxruntime reads them where they lie, and no memory of this
    process holds them.
    """

    def __init__(self, path: Path, spec: ComponentSpec) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        if path.with_name(path.name + ".data").exists():  # packing and folding would each copy every weight
            options.add_session_config_entry("session.disable_prepacking", "1")
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._spec = spec
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except REFUSALS as cause:
            words = str(cause).strip().splitlines()[-1]
            raise ExportError(
                f"{spec.name}: onnxruntime cannot load the exported graph ({words}); choose another opset"
            ) from cause

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Fill the output buffers from the input buffers; both C-contiguous, sharing no memory.

        Raises:
            StateContractError: the run changed an input.
        """
        before = {name: array.tobytes() for name, array in inputs.items()}
        binding = self._session.io_binding()
        for tensor in self._spec.inputs:
            array = inputs[tensor.name]
            binding.bind_input(tensor.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for tensor in self._spec.outputs:
            array = outputs[tensor.name]
            binding.bind_output(tensor.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._session.run_with_iobinding(binding)
        for name, array in inputs.items():
            if array.tobytes() != before[name]:
                raise StateContractError(f"{self._spec.name}: the exported graph writes its input `{name}`; clone it")
