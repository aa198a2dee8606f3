"""ONNX Runtime: the graph optimised ahead of time, to the level that every CPU can run.

The highest level rewrites for one CPU's vector width; the runner's session does that when it loads the artifact.
"""

from collections import Counter
from pathlib import Path

import onnxruntime as ort

from porting.compilers.base import CompileRequest, require_cpu, require_precision, require_static
from porting.compilers.onnxruntime_session import (
    count_operators,
    open_session,
    precision_of,
    profile_nodes,
    session_options,
)
from porting.errors import CompileError
from porting.record import Attestation

PROVIDERS = ["CPUExecutionProvider"]


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.onnxruntime.onnx`, with its weights beside it where the source has them beside it.

    Raises:
        CompileError: the graph is refused, or runs somewhere else than on the CPU.
    """
    require_precision(request, ("fp32",))
    require_static(request)
    require_cpu(request)
    source, artifact = request.source(".onnx"), request.artifact(".onnx")
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(artifact)
    files: tuple[Path, ...] = (artifact,)
    if source.with_suffix(".onnx.data").is_file():
        weights = artifact.with_suffix(".onnx.data")
        files = (artifact, weights)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", weights.name)
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    open_session(request, source, options, PROVIDERS)
    return files, attest(request, artifact)


def attest(request: CompileRequest, artifact: Path) -> Attestation:
    """Run the artifact once under the profiler and count what ran, where, in what.

    Raises:
        CompileError: it does not run, or not on the CPU provider alone.
    """
    nodes = profile_nodes(request, artifact, PROVIDERS)
    providers = Counter(node["provider"] for node in nodes)
    if set(providers) - set(PROVIDERS):
        raise CompileError(f"{request.where}: nodes were placed on {dict(providers)}; install a CPU build")
    return Attestation(
        precision_asked=request.precision,
        layers_by_precision=dict(Counter(map(precision_of, nodes))),
        layers_by_backend=dict(providers),
        detail={
            "operators": count_operators(nodes),
            "optimisation": "extended, ahead of time; the session adds its CPU's layout when it loads",
            "version": ort.__version__,
        },
        read_from="onnxruntime profile",
    )
