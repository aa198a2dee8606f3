"""OpenVINO's performance counters: every layer's time, and what it computes from the model that it was made of."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvino as ov

from porting.program import ComponentSpec
from porting.runners.base import Buffer
from porting.runners.openvino import OpenVinoRunner, compile_options
from porting.runners.profiling import WARMUP_CALLS, OperatorRun, Profiled, take_medians, time_calls
from porting.tensor_spec import Precision

SOURCE = "OpenVINO's performance counters"
UNKNOWN = frozenset({"ScaledDotProductAttention", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "Einsum"})
"""Products that are not counted here."""


def profile(
    path: Path,
    spec: ComponentSpec,
    threads: int,
    precision: Precision,
    buffers: tuple[Mapping[str, Buffer], Mapping[str, Buffer]],
) -> Profiled:
    """Run the artifact as its runner does, then again with the counters on."""
    inputs, outputs = buffers
    runner = OpenVinoRunner(path, spec, threads, precision)
    call_ms, count = time_calls(runner.bind(inputs, outputs))
    runner.close()
    core = ov.Core()
    model = core.read_model(path)
    compiled = core.compile_model(model, "CPU", {**compile_options(precision, threads), "PERF_COUNT": True})
    request = compiled.create_infer_request()
    given = {name: ov.Tensor(array, list(array.shape), _type(compiled, name)) for name, array in inputs.items()}
    counted = count_layers(model, compiled.get_runtime_model())
    calls = []
    for _ in range(WARMUP_CALLS + count):
        request.infer(given, share_inputs=True)
        calls.append([_describe(info, counted) for info in request.get_profiling_info() if _ran(info)])
    return Profiled(SOURCE, call_ms, count, take_medians(calls[WARMUP_CALLS:]))


def count_layers(model: Any, running: Any) -> dict[str, tuple[int | None, int]]:
    """Layer -> operations of the products that it was fused of, None where one is not counted, and bytes moved."""
    originals = {operator.get_friendly_name(): operator for operator in model.get_ordered_ops()}
    found: dict[str, tuple[int | None, int]] = {}
    for layer in running.get_ordered_ops():
        facts = layer.get_rt_info()
        names = facts["originalLayersNames"].astype(str).split(",") if "originalLayersNames" in facts else []
        work = [count_flops(originals[name]) for name in names if name in originals]
        flops = None if None in work else sum(amount or 0 for amount in work)
        ports = [*layer.inputs(), *layer.outputs()]
        moved = sum(math.prod(port.get_shape()) * port.get_element_type().size for port in ports)
        found[layer.get_friendly_name()] = (flops, moved)
    return found


def count_flops(operator: Any) -> int | None:
    """Operations of one operator of the model; 0 where it is no product, None where it is one that is not counted."""
    kind = operator.get_type_name()
    if kind in UNKNOWN:
        return None
    if kind not in {"Convolution", "GroupConvolution", "MatMul"}:
        return 0
    first, second = ([int(side) for side in port.get_shape()] for port in operator.inputs()[:2])
    made = math.prod(int(side) for side in operator.output(0).get_shape())
    if kind == "MatMul":
        return 2 * made * first[-2 if operator.get_attributes().get("transpose_a") and len(first) > 1 else -1]
    # Weights are (O, C, *window), and (G, O / G, C / G, *window) where they are grouped.
    return 2 * made * math.prod(second[2 if kind == "GroupConvolution" else 1 :])


def _describe(info: Any, counted: Mapping[str, tuple[int | None, int]]) -> OperatorRun:
    flops, moved = counted.get(info.node_name, (None, None))
    return OperatorRun(info.node_name, info.node_type, info.real_time.total_seconds() * 1e3, flops, moved)


def _ran(info: Any) -> bool:
    return bool(info.status == ov.ProfilingInfo.Status.EXECUTED) and info.node_type not in {"Input", "Output", "Const"}


def _type(compiled: Any, name: str) -> Any:
    return compiled.input(name).get_element_type()
