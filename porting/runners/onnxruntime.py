"""ONNX Runtime on the CPU: inputs and outputs are bound to the buffers' own memory."""

from pathlib import Path

from porting.program import ComponentSpec
from porting.runners.onnxruntime_session import OnnxRuntimeRunner, Placement
from porting.tensor_spec import Precision

PLACEMENT = Placement(backend="onnxruntime", install="worldport[onnxruntime]")


def open_artifact(path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> OnnxRuntimeRunner:
    """Load an .onnx file; its precision is in its graph.

    Raises:
        RunnerError: it cannot be loaded, or is not this component's.
    """
    del precision
    return OnnxRuntimeRunner(PLACEMENT, path, spec, threads)
