"""ONNX Runtime's TensorRT provider; what it leaves runs on the CUDA provider, nothing on the CPU.

The artifact holds the engine that was built for the device, so loading it builds nothing.
"""

from pathlib import Path

from porting.program import ComponentSpec
from porting.runners.onnxruntime_session import OnnxRuntimeRunner, Placement
from porting.tensor_spec import Precision

PLACEMENT = Placement(
    backend="onnxruntime_tensorrt",
    provider="TensorrtExecutionProvider",
    then=("CUDAExecutionProvider",),
    buffers="cuda",
    install="worldport[onnxruntime-gpu]",
)


def open_artifact(path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> OnnxRuntimeRunner:
    """Load an .onnx file; its precision is in its engine.

    Raises:
        BackendMissingError: there is no TensorRT provider, device or library.
        RunnerError: it cannot be loaded, is not this component's, or would run on the CPU in part.
    """
    del precision
    return OnnxRuntimeRunner(PLACEMENT, path, spec, threads)
