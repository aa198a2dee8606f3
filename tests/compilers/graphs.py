"""Small graphs in ONNX's own text, and what they compute."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import onnxruntime as ort

Arrays = dict[str, npt.NDArray[Any]]


def read_graph(text: str, opset: int = 20, infer: bool = True) -> ir.Model:
    """A graph `g (inputs) => (outputs) { nodes }`, shapes inferred, constants among the initializers."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> {text}')
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True) if infer else proto)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return model


def run_graph(model: ir.Model | Path, inputs: Arrays) -> Arrays:
    """Outputs by name of a graph or its file, on the CPU, nothing optimised."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    source = model if isinstance(model, Path) else ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(source, options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def check_graph(model: ir.Model, path: Path) -> None:
    """ONNX's own checker, types and shapes included."""
    ir.save(model, path)
    onnx.checker.check_model(path, full_check=True)


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def relative_error(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - wanted) / np.linalg.norm(wanted))
