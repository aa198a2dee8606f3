"""TensorRT engines on a CUDA device."""

from pathlib import Path
from typing import Any

import tensorrt as trt

from porting.program import ComponentSpec
from porting.runners.engine import EngineRunner
from porting.tensor_spec import Precision


def open_artifact(path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> EngineRunner:
    """Load a .plan file and the .json beside it; its precision is in its graph.

    Raises:
        BackendMissingError: there is no CUDA device, or another one than the engine's.
        RunnerError: it cannot be loaded, or is not this component's.
    """
    del threads, precision
    return EngineRunner(trt, "tensorrt", path, spec, make_context)


def make_context(engine: Any) -> Any:
    """A context without the markers for profilers, which an engine with full layer information would else emit."""
    context = engine.create_execution_context()
    if context is not None:
        context.nvtx_verbosity = trt.ProfilingVerbosity.NONE
    return context
