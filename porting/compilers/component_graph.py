"""A component's ONNX graph, ready to be rewritten for one backend, and back to a file.

It knows nothing of what a backend wants changed. Weights stay in their file until the rewritten graph is written, so a
component of any size takes no second copy of them in memory.
"""

from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from porting.compilers.base import CompileRequest
from porting.errors import CompileError

EXTERNAL_DATA_BYTES = 64 * 2**20
"""Weights above this go to a file of their own, as the export does: protobuf ends at 2 GiB."""
SMALLEST_EXTERNAL_BYTES = 1024
DOMAIN = ""
"""ONNX's own operators."""


def load_graph(request: CompileRequest) -> ir.Model:
    """The exported component, its local functions inlined and its constants among the initializers.

    Raises:
        CompileError: there is no file, or it is no ONNX graph without control flow.
    """
    source = request.source(".onnx")
    try:
        model = ir.load(source)
    except (OSError, ValueError, RuntimeError, DecodeError) as cause:
        raise CompileError(f"{request.where}: {source.name} is no ONNX graph ({cause}); export it again") from cause
    if not model.graph.outputs:
        raise CompileError(f"{request.where}: {source.name} is no ONNX graph (it makes nothing); export it again")
    passes.InlinePass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    nested = sorted({node.op_type for node in model.graph if any(_subgraphs(node))})
    if nested:
        raise CompileError(f"{request.where}: has control flow ({', '.join(nested)}); export a graph without it")
    return model


def write_graph(model: ir.Model, path: Path) -> tuple[Path, ...]:
    """Write the model, its weights to `<name>.data` where they are many; returns the files, the graph first.

    Constants that no node reads any more are left out, of the model too.
    """
    passes.RemoveUnusedNodesPass()(model)
    weights = [value.const_value for value in model.graph.initializers.values()]
    if sum(weight.nbytes for weight in weights if weight is not None) <= EXTERNAL_DATA_BYTES:
        ir.save(model, path)
        return (path,)
    data = path.with_name(path.name + ".data")
    ir.save(model, path, external_data=data.name, size_threshold_bytes=SMALLEST_EXTERNAL_BYTES)
    return path, data


def raise_opset(model: ir.Model, opset: int, where: str) -> None:
    """Declare a newer opset, in place, where every operator of the graph means the same in both.

    An operator means the same when its newest definition differs from the old one in the types that it takes only.

    Raises:
        CompileError: an operator has changed its attributes, inputs or outputs in between, or is gone.
    """
    present = model.opset_imports.get(DOMAIN, 1)
    if present >= opset:
        return
    changed = sorted(
        kind
        for kind in {node.op_type for node in model.graph if node.domain == DOMAIN}
        if _meaning(kind, present) != _meaning(kind, opset)
    )
    if changed:
        raise CompileError(
            f"{where}: {', '.join(changed)} changed between opset {present} and {opset}; export at opset {opset}"
        )
    model.opset_imports[DOMAIN] = opset


def schema_of(node: ir.Node, opset: int, where: str) -> onnx.defs.OpSchema:
    """What ONNX says of the node's operator.

    Raises:
        CompileError: it is none of ONNX's own.
    """
    try:
        return onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError as cause:
        name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        raise CompileError(
            f"{where}: {node.name} is {name}, no operator of opset {opset}; export it as a local function"
        ) from cause


def _meaning(kind: str, opset: int) -> object:
    """Everything that an operator's definition fixes but the types."""
    try:
        schema = onnx.defs.get_schema(kind, opset, DOMAIN)
    except onnx.defs.SchemaError:
        return None
    attributes = {
        name: (attribute.type, attribute.required, attribute.default_value.SerializeToString(deterministic=True))
        for name, attribute in schema.attributes.items()
    }
    ports = [[(p.name, p.option) for p in side] for side in (schema.inputs, schema.outputs)]
    return schema.deprecated, attributes, ports


def _subgraphs(node: ir.Node) -> Iterable[ir.Attr]:
    return (a for a in node.attributes.values() if a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS))
