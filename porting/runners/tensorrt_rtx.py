"""TensorRT-RTX engines on a CUDA device; their kernels are compiled for it when an engine is first loaded."""

from pathlib import Path
from typing import Any

import tensorrt_rtx as trt

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
    return EngineRunner(trt, "tensorrt_rtx", path, spec, make_context)


def make_context(engine: Any) -> Any:
    """A context whose kernels are all compiled before the first call, for the shapes that it is given."""
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    return engine.create_execution_context(config)
