"""ONNX Runtime's CUDA provider: buffers on the device, every node on the device, a CUDA graph around each call."""

from pathlib import Path

from porting.program import ComponentSpec
from porting.runners.onnxruntime_session import OnnxRuntimeRunner, Placement
from porting.tensor_spec import Precision

PLACEMENT = Placement(
    backend="onnxruntime_cuda",
    provider="CUDAExecutionProvider",
    # float32 products would otherwise keep 11 of their 24 bits, without a word.
    options={"use_tf32": "0", "enable_cuda_graph": "1"},
    buffers="cuda",
    install="worldport[onnxruntime-gpu]",
)


def open_artifact(path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> OnnxRuntimeRunner:
    """Load an .onnx file; its precision is in its graph.

    Raises:
        BackendMissingError: there is no CUDA provider, device or library.
        RunnerError: it cannot be loaded, is not this component's, or would run on the CPU in part.
    """
    del precision
    return OnnxRuntimeRunner(PLACEMENT, path, spec, threads)
