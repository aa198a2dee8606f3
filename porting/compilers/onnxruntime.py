"""ONNX Runtime: the graph optimised ahead of time, to the level that every CPU can run.

The highest level rewrites for one CPU's vector width; the runner's session does that when it loads the artifact.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from porting.compilers.base import INTEGER, CompileRequest, require_precision
from porting.errors import CompileError
from porting.record import Attestation
from porting.tensor_spec import UNIT_ROUNDOFF, Precision

PRECISIONS: dict[str, Precision] = {"double": "fp64", "float": "fp32", "float16": "fp16", "bfloat16": "bf16"}
"""What the profile calls an element type."""
PROVIDERS = ["CPUExecutionProvider"]
ERRORS = (
    RuntimeError,
    ValueError,
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


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.onnxruntime.onnx`, with its weights beside it where the source has them beside it.

    Raises:
        CompileError: the graph is refused, or runs somewhere else than on the CPU.
    """
    require_precision(request, ("fp32",))
    source, artifact = request.source(".onnx"), request.artifact(".onnx")
    options = _session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(artifact)
    files: tuple[Path, ...] = (artifact,)
    if source.with_suffix(".onnx.data").is_file():
        weights = artifact.with_suffix(".onnx.data")
        files = (artifact, weights)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", weights.name)
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    _open_session(request, source, options)
    return files, attest(request, artifact)


def attest(request: CompileRequest, artifact: Path) -> Attestation:
    """Run the artifact once under the profiler and count what ran, where, in what.

    Raises:
        CompileError: it does not run, or not on the CPU provider alone.
    """
    options = _session_options()
    options.enable_profiling = True
    options.profile_file_prefix = str(artifact.with_suffix(".profile"))
    session = _open_session(request, artifact, options)
    ones = {a.name: np.ones(a.shape, NUMPY_TYPES[a.type]) for a in session.get_inputs()}
    try:
        session.run(None, ones)
    except ERRORS as cause:
        raise CompileError(f"{request.where}: the artifact does not run ({cause}); try another opset") from cause
    finally:
        profile = Path(session.end_profiling())
    events = json.loads(profile.read_text(encoding="utf-8"))
    profile.unlink()
    nodes = [e["args"] for e in events if e["cat"] == "Node" and "provider" in e["args"]]
    providers = Counter(node["provider"] for node in nodes)
    if set(providers) - set(PROVIDERS):
        raise CompileError(f"{request.where}: nodes were placed on {dict(providers)}; install a CPU build")
    operators = Counter(node["op_name"] for node in nodes)
    return Attestation(
        precision_asked=request.precision,
        layers_by_precision=dict(Counter(map(precision_of, nodes))),
        layers_by_backend=dict(providers),
        detail={
            "operators": ", ".join(f"{name} {count}" for name, count in operators.most_common()),
            "optimisation": "extended, ahead of time; the session adds its CPU's layout when it loads",
            "version": ort.__version__,
        },
        read_from="onnxruntime profile",
    )


def precision_of(node: dict[str, Any]) -> str:
    """The coarsest floating type among what a node reads and makes; `integer` when there is none."""
    types = {kind for key in ("input_type_shape", "output_type_shape") for entry in node[key] for kind in entry}
    return max((PRECISIONS[k] for k in types if k in PRECISIONS), key=UNIT_ROUNDOFF.__getitem__, default=INTEGER)


def _session_options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _open_session(request: CompileRequest, path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(path, options, providers=PROVIDERS)
    except ERRORS as cause:
        raise CompileError(f"{request.where}: onnxruntime refuses {path.name} ({cause}); try another opset") from cause
