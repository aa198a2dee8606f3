"""TensorRT-RTX: an engine for consumer and workstation GPUs, built on any machine: no device, no driver.

What is in the engine is read from its plan, as the inspector would need a device. The kernels are compiled from there
on the device when it is first loaded, so nothing is said of their machine code.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import tensorrt_rtx as trt

from porting.compilers.attention import count_attention, fuse_attention
from porting.compilers.base import CompileRequest, require_architecture, require_precision
from porting.compilers.batch import open_batch
from porting.compilers.component_graph import load_graph, write_graph
from porting.compilers.myelin_plan import ATTENTION_KIND, PlanReading, read_plan
from porting.compilers.retype import Retyped, retype_graph
from porting.compilers.tensorrt_network import (
    add_batch_profile,
    make_logger,
    parse_network,
    serialize_engine,
)
from porting.errors import CompileError
from porting.record import Attestation
from porting.tensor_spec import Precision

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
HALF = ("fp16", "bf16")
"""Precisions for which there are fused attention kernels."""
CAPABILITY = re.compile(r"SM(\d+)")


@dataclass(frozen=True)
class _Built:
    """One engine, and what it was built from."""

    plan: bytes
    reading: PlanReading
    attentions: int
    rewritten: int
    """Attentions that were given to TensorRT as the one operator."""
    retyped: Retyped

    @property
    def fused(self) -> int:
        return self.reading.count("kind").get(ATTENTION_KIND, 0)


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.tensorrt_rtx.plan` and a .json that says what it was built for.

    Raises:
        CompileError: TensorRT-RTX has no such architecture, refuses the graph, or wrote a plan that cannot be read.
    """
    require_precision(request, PRECISIONS)
    capability = _find_capability(request)
    built = _build(request, capability, rewrite=False)
    note = "as exported"
    if built.fused < built.attentions and request.precision in HALF:
        built, note = _build_fused(request, capability, built)
    artifact = request.artifact(".plan")
    artifact.write_bytes(built.plan)
    facts = artifact.with_suffix(".json")
    facts.write_text(
        json.dumps(
            {
                "backend": request.backend,
                "version": trt.__version__,
                "architectures": [request.architecture],
                "precision": request.precision,
            }
        ),
        encoding="utf-8",
    )
    return (artifact, facts), attest(request, built.reading, _describe(built, note))


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
    wanted = (str(request.architecture).replace("_", ""),)
    if reading.architectures != wanted:
        raise CompileError(f"{request.where}: the plan is for {', '.join(reading.architectures)}; drop the backend")
    if reading.tf32 and request.precision == "fp32":
        raise CompileError(f"{request.where}: the plan allows TF32, which is coarser; drop the backend")
    return Attestation(
        precision_asked=request.precision,
        layers_by_precision=reading.count("precision"),
        layers_by_backend=reading.count("kind"),
        detail={**detail, "architecture": ", ".join(reading.architectures), "version": trt.__version__},
        read_from="tensorrt_rtx plan text",
    )


def list_architectures() -> tuple[str, ...]:
    """What this release of TensorRT-RTX builds for without the device, for example sm_120."""
    found = [CAPABILITY.fullmatch(name) for name in trt.ComputeCapability.__members__]
    return tuple(f"sm_{number}" for number in sorted(int(match.group(1)) for match in found if match))


def _find_capability(request: CompileRequest) -> "trt.ComputeCapability":
    architecture, offered = require_architecture(request), list_architectures()
    if architecture not in offered:
        raise CompileError(
            f"{request.where}: TensorRT-RTX {trt.__version__} builds for {', '.join(offered)}, not for {architecture};"
            " use another backend of the profile"
        )
    return trt.ComputeCapability.__members__[architecture.replace("sm_", "SM")]


def _build_fused(request: CompileRequest, capability: "trt.ComputeCapability", plain: _Built) -> tuple[_Built, str]:
    """Build once more with attention as one operator; the better of the two, and why."""
    try:
        fused = _build(request, capability, rewrite=True)
    except CompileError as cause:
        return plain, f"as exported; as one operator it does not build: {cause}"
    if fused.fused <= plain.fused:
        return plain, f"as exported; as one operator {fused.fused} are fused"
    return fused, f"as one operator; as exported {plain.fused} are fused"


def _build(request: CompileRequest, capability: "trt.ComputeCapability", rewrite: bool) -> _Built:
    model = load_graph(request)
    attentions = count_attention(model)
    rewritten = fuse_attention(model, request.where) if rewrite else 0
    if request.batch is not None:
        open_batch(model, request.where, request.batch.shared)
    retyped = retype_graph(model, request.precision, request.where)
    plan = _serialize(request, capability, model)
    return _Built(plan, read_plan(plan), attentions, rewritten, retyped)


def _serialize(request: CompileRequest, capability: "trt.ComputeCapability", model: ir.Model) -> bytes:
    files = write_graph(model, request.artifact(".typed.onnx"))
    try:
        logger = make_logger(trt)
        builder = trt.Builder(logger)
        builder.max_threads = request.threads
        network = parse_network(trt, builder, logger, files[0], request.where)
        config = builder.create_builder_config()
        # float32 products would otherwise keep 11 of their 24 bits, without a word.
        config.clear_flag(trt.BuilderFlag.TF32)
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(capability, 0):
            raise CompileError(f"{request.where}: {capability.name} is refused; drop the backend")
        add_batch_profile(builder, network, config, request.batch, request.where)
        return serialize_engine(builder, network, config, logger, request.where)
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _describe(built: _Built, note: str) -> dict[str, str]:
    """What a reader wants to know beside the counts."""
    kinds = built.reading.count("kind")
    detail = {
        "attention": f"{built.fused} of {built.attentions} are one kernel ({note})" if built.attentions else "none",
        "kernels": ", ".join(f"{name} {count}" for name, count in sorted(kinds.items())),
        "TF32": "allowed" if built.reading.tf32 else "off",
    }
    if built.retyped.casts:
        detail["change of types"] = (
            f"{built.retyped.casts} casts, {built.retyped.kept_float32} nodes with float32 operands,"
            f" {built.retyped.clamped} constants clamped, {built.retyped.raised} kept from vanishing"
        )
    return detail
