"""MIGraphX through ONNX Runtime's provider, on AMD's devices; nothing on the CPU.

The provider compiles the graph for the device when it loads it, which takes a while the first time.
"""

from pathlib import Path

from porting.program import ComponentSpec
from porting.runners.onnxruntime_session import OnnxRuntimeRunner, Placement
from porting.tensor_spec import Precision

PLACEMENT = Placement(
    backend="migraphx",
    provider="MIGraphXExecutionProvider",
    install="worldport[migraphx]",
)


def open_artifact(path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> OnnxRuntimeRunner:
    """Load an .onnx file; its precision is in its graph.

    Raises:
        BackendMissingError: there is no MIGraphX provider, device or library.
        RunnerError: it cannot be loaded, is not this component's, or would run on the CPU in part.
    """
    del precision
    return OnnxRuntimeRunner(PLACEMENT, path, spec, threads)
