"""ONNX Runtime's own profiler: every node's kernel time and shapes, run by run."""

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort

from porting.program import ComponentSpec
from porting.runners.base import Buffer
from porting.runners.onnxruntime_session import CPU, OnnxRuntimeRunner, Placement, bind_host, session_options
from porting.runners.profiling import WARMUP_CALLS, OperatorRun, Profiled, take_medians, time_calls
from porting.tensor_spec import Precision

PRODUCTS = frozenset({"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulNBits"})
UNKNOWN = frozenset({"Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention", "ConvTranspose", "Einsum"})
"""Products whose size the profiler's shapes alone do not tell."""
SOURCE = "onnxruntime's profiler"


def profile(
    path: Path,
    spec: ComponentSpec,
    threads: int,
    precision: Precision,
    buffers: tuple[Mapping[str, Buffer], Mapping[str, Buffer]],
) -> Profiled:
    """Run the artifact as its runner does, then again with the profiler on."""
    del precision
    inputs, outputs = buffers
    runner = OnnxRuntimeRunner(Placement("onnxruntime"), path, spec, threads)
    call_ms, count = time_calls(runner.bind(inputs, outputs))
    runner.close()
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(path, options, providers=[CPU])
        run = bind_host(session, inputs, outputs)
        for _ in range(WARMUP_CALLS + count):
            run()
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    calls = split_calls(events)[WARMUP_CALLS:]
    return Profiled(SOURCE, call_ms, len(calls), take_medians(calls))


def split_calls(events: list[dict[str, Any]]) -> list[list[OperatorRun]]:
    """The nodes of every run, in order: a node that comes again begins the next."""
    nodes = [e for e in events if e.get("cat") == "Node" and str(e.get("name", "")).endswith("_kernel_time")]
    nodes.sort(key=lambda event: event["ts"])
    calls: list[list[OperatorRun]] = []
    seen: set[str] = set()
    for event in nodes:
        name = event["name"].removesuffix("_kernel_time")
        if not calls or name in seen:
            calls.append([])
            seen = set()
        seen.add(name)
        arguments = event["args"]
        kind = arguments["op_name"]
        calls[-1].append(OperatorRun(name, kind, event["dur"] / 1e3, count_flops(arguments), _moved(arguments)))
    return calls


def count_flops(arguments: Mapping[str, Any]) -> int | None:
    """Operations of a node's products from its shapes; None where they do not tell."""
    kind = arguments["op_name"]
    if kind in UNKNOWN:
        return None
    taken, made = (_shapes(arguments.get(key, [])) for key in ("input_type_shape", "output_type_shape"))
    if not made or not taken:
        return 0
    if kind.endswith("Conv") and len(taken) > 1:
        return 2 * math.prod(made[0]) * math.prod(taken[1][1:])
    if kind in PRODUCTS and made[0]:
        # (M, K) times (K, N) reads M * K elements, whatever is transposed; weights that were packed have no shape.
        return 2 * math.prod(taken[0]) * made[0][-1]
    return 0


def _shapes(entries: list[dict[str, list[int]]]) -> list[list[int]]:
    return [shape for entry in entries for shape in entry.values()]


def _moved(arguments: Mapping[str, Any]) -> int | None:
    try:
        return sum(int(arguments[key]) for key in ("activation_size", "parameter_size", "output_size"))
    except (KeyError, ValueError):
        return None
