"""OpenVINO: the component as an IR, .xml and .bin, compiled for the CPU that loads it."""

from collections import Counter
from pathlib import Path
from typing import Any

import openvino as ov

from porting.compilers.base import INTEGER, CompileRequest, require_cpu, require_precision, require_static
from porting.errors import CompileError
from porting.record import Attestation
from porting.tensor_spec import Precision

PRECISIONS: dict[str, Precision] = {"f64": "fp64", "f32": "fp32", "f16": "fp16", "bf16": "bf16"}
OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
"""The runner's, as far as they decide precision."""
NO_LAYERS = {"Const", "Input", "Output"}
"""Kinds of the runtime graph that compute nothing."""


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.openvino.xml` and `.bin`, weights uncompressed.

    Raises:
        CompileError: the graph has what OpenVINO cannot convert or compile.
    """
    require_precision(request, ("fp32",))
    require_static(request)
    require_cpu(request)
    source, artifact = request.source(".onnx"), request.artifact(".xml")
    try:
        model = ov.Core().read_model(source)
        ov.save_model(model, artifact, compress_to_fp16=False)
    except RuntimeError as cause:
        raise CompileError(f"{request.where}: openvino refuses {source.name} ({cause}); try another opset") from cause
    return (artifact, artifact.with_suffix(".bin")), attest(request, artifact)


def attest(request: CompileRequest, artifact: Path) -> Attestation:
    """Compile the artifact as the runner does and count the layers of the runtime's own graph.

    Raises:
        CompileError: it does not compile, or not for the CPU.
    """
    try:
        compiled = ov.Core().compile_model(artifact, "CPU", OPTIONS)
    except RuntimeError as cause:
        raise CompileError(f"{request.where}: openvino cannot compile it ({cause}); try another opset") from cause
    devices = list(compiled.get_property("EXECUTION_DEVICES"))
    layers = [_describe(node) for node in compiled.get_runtime_model().get_ordered_ops()]
    layers = [layer for layer in layers if layer["kind"] not in NO_LAYERS]
    if devices != ["CPU"]:
        raise CompileError(f"{request.where}: would run on {devices}; set no device override")
    implementations = Counter(layer["implementation"] for layer in layers)
    return Attestation(
        precision_asked=request.precision,
        layers_by_precision=dict(Counter(layer["precision"] for layer in layers)),
        layers_by_backend={"CPU": len(layers)},
        detail={
            "implementations": ", ".join(f"{name} {count}" for name, count in implementations.most_common()),
            "precision hint": compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
            "version": ov.get_version(),
        },
        read_from="openvino runtime model",
    )


def _describe(node: Any) -> dict[str, str]:
    """Kind, implementation and precision of one layer; a mask that meets numbers counts with the numbers."""
    facts = node.get_rt_info()
    running, made = (
        facts["runtimePrecision"].astype(str),
        [o.get_element_type().get_type_name() for o in node.outputs()],
    )
    precision = next((PRECISIONS[kind] for kind in (running, *made) if kind in PRECISIONS), INTEGER)
    return {
        "kind": facts["layerType"].astype(str),
        "implementation": facts["primitiveType"].astype(str),
        "precision": precision,
    }
