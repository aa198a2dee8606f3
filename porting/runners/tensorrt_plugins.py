"""TensorRT engines with plugins in them: their kernels' code is part of the engine, so they run like any other."""

from pathlib import Path

import tensorrt as trt

from porting.program import ComponentSpec
from porting.runners.engine import EngineRunner
from porting.runners.tensorrt import make_context
from porting.tensor_spec import Precision


def open_artifact(path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> EngineRunner:
    """Load a .plan file and the .json beside it; its precision is in its graph.

    Raises:
        BackendMissingError: there is no CUDA device, or another one than the engine's.
        RunnerError: it cannot be loaded, or is not this component's.
    """
    del threads, precision
    return EngineRunner(trt, "tensorrt_plugins", path, spec, make_context)
