"""What every backend on ONNX Runtime needs to look into an artifact: run it once under the profiler, node by node."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from porting.compilers.base import INTEGER, CompileRequest
from porting.errors import CompileError
from porting.tensor_spec import UNIT_ROUNDOFF, Precision

PRECISIONS: dict[str, Precision] = {"double": "fp64", "float": "fp32", "float16": "fp16", "bfloat16": "bf16"}
"""What the profile calls an element type."""
Providers = Sequence[str | tuple[str, dict[str, str]]]
ERRORS = (
    RuntimeError,
    ValueError,
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
)
"""What a session raises; onnxruntime gives its own no common class."""
NUMPY_TYPES = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


def session_options() -> ort.SessionOptions:
    """One thread, errors only."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def open_session(
    request: CompileRequest, path: Path, options: ort.SessionOptions, providers: Providers
) -> ort.InferenceSession:
    """A session on those providers.

    Raises:
        CompileError: onnxruntime refuses the graph.
    """
    try:
        # Else Python itself opens a second session on the CPU when the first fails.
        return ort.InferenceSession(path, options, providers=list(providers), enable_fallback=0)
    except ERRORS as cause:
        said = " ".join(str(cause).split())
        raise CompileError(f"{request.where}: onnxruntime refuses {path.name} ({said}); try another opset") from cause


def profile_nodes(
    request: CompileRequest, artifact: Path, providers: Providers, config: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Run the artifact once on inputs of ones; what the profiler tells of each node that ran.

    Args:
        request: names the component.
        artifact: the graph.
        providers: where it may run.
        config: entries of the session's configuration.

    Raises:
        CompileError: it cannot be loaded or does not run.
    """
    options = session_options()
    for name, value in (config or {}).items():
        options.add_session_config_entry(name, value)
    options.enable_profiling = True
    options.profile_file_prefix = str(artifact.with_suffix(".profile"))
    session = open_session(request, artifact, options, providers)
    ones = {a.name: np.ones(a.shape, NUMPY_TYPES[a.type]) for a in session.get_inputs()}
    try:
        session.run(None, ones)
    except ERRORS as cause:
        raise CompileError(f"{request.where}: the artifact does not run ({cause}); try another opset") from cause
    finally:
        profile = Path(session.end_profiling())
    events = json.loads(profile.read_text(encoding="utf-8"))
    profile.unlink()
    return [e["args"] for e in events if e["cat"] == "Node" and "provider" in e["args"]]


def count_operators(nodes: list[dict[str, Any]]) -> str:
    """Operators and how often each ran, the most frequent first."""
    operators = Counter(node["op_name"] for node in nodes)
    return ", ".join(f"{name} {count}" for name, count in operators.most_common())


def precision_of(node: dict[str, Any]) -> str:
    """The coarsest floating type among what a node reads and makes; `integer` when there is none."""
    types = {kind for key in ("input_type_shape", "output_type_shape") for entry in node[key] for kind in entry}
    return max((PRECISIONS[k] for k in types if k in PRECISIONS), key=UNIT_ROUNDOFF.__getitem__, default=INTEGER)
