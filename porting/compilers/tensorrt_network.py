"""What TensorRT and TensorRT-RTX build alike: a typed graph, parsed strictly, with its shapes, to an engine.

Both bindings have the same classes here, so the module is given as `trt` and imported by its own compiler only. How
an engine is looked into, and for which devices it is, it leaves to them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import onnx_ir as ir

from porting.compilers.attention import count_attention, fuse_attention
from porting.compilers.base import BatchRange, CompileRequest
from porting.compilers.batch import open_batch
from porting.compilers.component_graph import load_graph, write_graph
from porting.compilers.retype import Retyped, retype_graph
from porting.errors import CompileError
from porting.tensor_spec import Precision
from porting.tensorrt_log import last_words, shorten

Reading = TypeVar("Reading")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
HALF = ("fp16", "bf16")
"""Precisions for which there are fused attention kernels."""


@dataclass(frozen=True)
class Built(Generic[Reading]):
    """One engine, what was read from it, and what it was built from."""

    plan: bytes
    reading: Reading
    fused: int
    """Attentions that became one kernel."""
    attentions: int
    """Attentions of the graph."""
    retyped: Retyped


@dataclass(frozen=True)
class TypedGraph:
    """A component's graph as it is given to the parser."""

    model: ir.Model
    attentions: int
    retyped: Retyped


def prepare_graph(request: CompileRequest, rewrite: bool) -> TypedGraph:
    """The component in the precision asked for, with an open batch if that was asked for.

    Args:
        request: names the component.
        rewrite: give attention as one operator, which TensorRT builds as one kernel or not at all.

    Raises:
        CompileError: the graph cannot be changed so.
    """
    model = load_graph(request)
    attentions = count_attention(model)
    if rewrite:
        fuse_attention(model, request.where)
    if request.batch is not None:
        open_batch(model, request.where, request.batch.shared)
    return TypedGraph(model, attentions, retype_graph(model, request.precision, request.where))


def build_best(
    request: CompileRequest, build: Callable[[CompileRequest, bool], Built[Reading]]
) -> tuple[Built[Reading], str]:
    """Build from the graph as it was exported; where that leaves an attention in pieces, also with it as one operator.

    As exported comes first: TensorRT fuses what it recognises together with the transposes around it.

    Returns:
        The engine with more fused attentions, and a note why it is that one.

    Raises:
        CompileError: the graph as it was exported cannot be built.
    """
    plain = build(request, False)
    if plain.fused >= plain.attentions or request.precision not in HALF:
        return plain, "as exported"
    try:
        rewritten = build(request, True)
    except CompileError as cause:
        return plain, f"as exported; as one operator it does not build: {cause}"
    if rewritten.fused <= plain.fused:
        return plain, f"as exported; as one operator {rewritten.fused} are"
    return rewritten, f"as one operator; as exported {plain.fused} are"


def describe_build(built: Built[Any], note: str) -> dict[str, str]:
    """What a reader wants to know of a build beside counts."""
    detail = {"attention": "none"}
    if built.attentions:
        detail["attention"] = f"{built.fused} of {built.attentions} are one kernel ({note})"
    done = built.retyped
    if done.casts:
        detail["change of types"] = (
            f"{done.casts} casts, {done.kept_float32} nodes with float32 operands, {done.clamped} constants clamped,"
            f" {done.raised} kept from vanishing"
        )
    return detail


def write_facts(artifact: Path, facts: dict[str, object]) -> Path:
    """Write what an engine is for beside it, where its runner looks; returns the file."""
    file = artifact.with_suffix(".json")
    file.write_text(json.dumps(facts, sort_keys=True), encoding="utf-8")
    return file


def parse_graph(trt: Any, builder: Any, logger: Any, model: ir.Model, request: CompileRequest) -> Any:
    """The strongly typed network of a graph, through a file that goes again.

    Raises:
        CompileError: the parser does not take it; the message names the node.
    """
    files = write_graph(model, request.artifact(".typed.onnx"))
    try:
        return parse_network(trt, builder, logger, files[0], request.where)
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def parse_network(trt: Any, builder: Any, logger: Any, graph: Path, where: str) -> Any:
    """The strongly typed network of an ONNX file: TensorRT computes in the types that the graph has, in no other.

    Raises:
        CompileError: the parser does not take it; the message names the node.
    """
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        said = "; ".join(f"{error.node_name() or 'the graph'}: {error.desc()}" for error in errors)
        raise CompileError(f"{where}: the parser refuses {shorten(said or last_words(logger))}; use another operator")
    return network


def add_batch_profile(builder: Any, network: Any, config: Any, batch: BatchRange | None, where: str) -> None:
    """Give every input whose first side is open its range; a static network gets no profile.

    Raises:
        CompileError: a side is open but no batch was asked for, or TensorRT refuses the range.
    """
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    shapes = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    open_inputs = {name: shape for name, shape in shapes.items() if -1 in shape}
    if not open_inputs:
        return
    if batch is None or any(-1 in shape[1:] for shape in open_inputs.values()):
        raise CompileError(f"{where}: {sorted(open_inputs)} have open sides; export it with static shapes")
    profile = builder.create_optimization_profile()
    for name, shape in open_inputs.items():
        least, usual, most = ((side, *shape[1:]) for side in (batch.least, batch.usual, batch.most))
        profile.set_shape(name, least, usual, most)
    if config.add_optimization_profile(profile) < 0:
        raise CompileError(f"{where}: batches {batch.least} to {batch.most} are refused; ask for others")


def serialize_engine(builder: Any, network: Any, config: Any, logger: Any, where: str) -> bytes:
    """The engine's bytes.

    Raises:
        CompileError: nothing was built.
    """
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise CompileError(f"{where}: no engine could be built ({last_words(logger)}); try another precision")
    return bytes(plan)
