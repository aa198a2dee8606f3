"""TensorRT-RTX: an engine for consumer and workstation GPUs, built on any machine: no device, no driver.

What is in the engine is read from its plan, as the inspector would need a device. The kernels are compiled from there
on the device when it is first loaded, so nothing is said of their machine code.
"""

import re
from pathlib import Path

import tensorrt_rtx as trt

from porting.compilers.base import CompileRequest, require_architecture, require_precision
from porting.compilers.myelin_plan import ATTENTION_KIND, PlanReading, read_plan
from porting.compilers.tensorrt_network import (
    PRECISIONS,
    Built,
    add_batch_profile,
    build_best,
    describe_build,
    parse_graph,
    prepare_graph,
    serialize_engine,
    write_facts,
)
from porting.errors import CompileError
from porting.record import Attestation
from porting.tensorrt_log import make_logger

CAPABILITY = re.compile(r"SM(\d+)")


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.tensorrt_rtx.plan` and a .json that says what it was built for.

    Raises:
        CompileError: TensorRT-RTX has no such architecture, refuses the graph, or wrote a plan that cannot be read.
    """
    require_precision(request, PRECISIONS)
    require_capability(request)
    built, note = build_best(request, build_engine)
    artifact = request.artifact(".plan")
    artifact.write_bytes(built.plan)
    facts = write_facts(
        artifact,
        {
            "architectures": [request.architecture],
            "backend": request.backend,
            "precision": request.precision,
            "version": trt.__version__,
        },
    )
    return (artifact, facts), attest(request, built.reading, describe_build(built, note))


def attest(request: CompileRequest, reading: PlanReading, detail: dict[str, str]) -> Attestation:
    """Count the kernels of a plan by what they are and what they compute in.

    Raises:
        CompileError: the plan has a format that is not known, another architecture, or TF32 where fp32 was asked for.
    """
    if not reading.known:
        raise CompileError(
            f"{request.where}: TensorRT-RTX {trt.__version__} writes plans of format {reading.versions or 'unknown'},"
            " which this version of worldport cannot read; install tensorrt_rtx 1.7, or drop the backend"
        )
    if reading.architectures != (str(request.architecture).replace("_", ""),):
        raise CompileError(f"{request.where}: the plan is for {', '.join(reading.architectures)}; drop the backend")
    if reading.tf32 and request.precision == "fp32":
        raise CompileError(f"{request.where}: the plan allows TF32, which is coarser; drop the backend")
    return Attestation(
        precision_asked=request.precision,
        layers_by_precision=reading.count("precision"),
        layers_by_backend=reading.count("kind"),
        detail={
            **detail,
            "TF32": "allowed" if reading.tf32 else "off",
            "architecture": ", ".join(reading.architectures),
            "version": trt.__version__,
        },
        read_from="tensorrt_rtx plan text",
    )


def list_architectures() -> tuple[str, ...]:
    """What this release of TensorRT-RTX builds for without the device, for example sm_120."""
    found = [CAPABILITY.fullmatch(name) for name in trt.ComputeCapability.__members__]
    return tuple(f"sm_{number}" for number in sorted(int(match.group(1)) for match in found if match))


def require_capability(request: CompileRequest) -> "trt.ComputeCapability":
    """TensorRT-RTX's word for the architecture.

    Raises:
        CompileError: this release does not build for it; the message says for which it does.
    """
    architecture, offered = require_architecture(request), list_architectures()
    if architecture not in offered:
        raise CompileError(
            f"{request.where}: TensorRT-RTX {trt.__version__} builds for {', '.join(offered)}, not for {architecture};"
            " use another backend of the profile"
        )
    return trt.ComputeCapability.__members__[architecture.replace("sm_", "SM")]


def build_engine(request: CompileRequest, rewrite: bool) -> Built[PlanReading]:
    """Build once; `rewrite` gives attention as one operator.

    Raises:
        CompileError: it cannot be built.
    """
    graph = prepare_graph(request, rewrite)
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    builder.max_threads = request.threads
    network = parse_graph(trt, builder, logger, graph.model, request)
    config = builder.create_builder_config()
    # float32 products would otherwise keep 11 of their 24 bits, without a word.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(require_capability(request), 0):
        raise CompileError(f"{request.where}: {request.architecture} is refused; drop the backend")
    add_batch_profile(builder, network, config, request.batch, request.where)
    plan = serialize_engine(builder, network, config, logger, request.where)
    reading = read_plan(plan)
    return Built(plan, reading, reading.count("kind").get(ATTENTION_KIND, 0), graph.attentions, graph.retyped)
