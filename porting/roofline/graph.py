"""Counts what one call of an exported graph computes and moves. Weights are not read, only their shapes.

Local functions, such as those of kernels, are counted by their bodies. What is not known is listed, never taken as 0.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx_ir.passes import common

from porting.errors import ExportError
from porting.record.limit import ComponentWork
from porting.roofline.operators import READS_WHAT_IT_TAKES, NodeWork, UnknownWorkError, count_node, is_wanted, shape_of
from porting.tensor_spec import FLOAT_OF_PRECISION, ITEM_BYTES, Precision

FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})


def count_graph(
    graph: Path | ir.Model, component: str, calls_per_frame: int = 1, precision: Precision | None = None
) -> ComponentWork:
    """The work of one call.

    Args:
        graph: an ONNX file, or a model; the model is not changed.
        component: what the graph is.
        calls_per_frame: carried into the record, not multiplied in.
        precision: counts floating-point values in its bytes, as if the graph were compiled for it; by default in those
            of the graph's own types.

    Raises:
        ExportError: the file is not an ONNX graph.
    """
    model = _prepare(graph)
    float_bytes = None if precision is None else ITEM_BYTES[FLOAT_OF_PRECISION[precision]]
    sizes = _Sizes(float_bytes)
    tally = _Tally()
    for node in model.graph:
        # An If or Loop runs a body some times that the graph alone does not tell.
        if any(attribute.type in {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS} for attribute in _attributes(node)):
            tally.uncounted[_name(node)] += 1
            continue
        try:
            tally.add(node, count_node(node, sizes))
        except UnknownWorkError as unknown:
            tally.uncounted[f"{_name(node)} ({unknown})" if str(unknown) else _name(node)] += 1
    constants = [node.outputs[0] for node in model.graph if node.op_type == "Constant" and node.domain == ""]
    return ComponentWork(
        component=component,
        calls_per_frame=calls_per_frame,
        matrix_flops=tally.matrix_flops,
        vector_flops=tally.vector_flops,
        weight_bytes=_read_bytes([*model.graph.initializers.values(), *constants], sizes, tally.uncounted),
        input_bytes=_read_bytes(model.graph.inputs, sizes, tally.uncounted),
        output_bytes=_sum_sizes(model.graph.outputs, sizes, tally.uncounted),
        copy_bytes=tally.copy_bytes,
        unfused_bytes=tally.unfused_bytes,
        operators=dict(sorted(tally.counted.items())),
        uncounted=dict(sorted(tally.uncounted.items())),
        convolution_flops=tally.convolution_flops,
    )


@dataclass
class _Tally:
    matrix_flops: int = 0
    vector_flops: int = 0
    convolution_flops: int = 0
    copy_bytes: int = 0
    unfused_bytes: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    uncounted: Counter[str] = field(default_factory=Counter)

    def add(self, node: ir.Node, work: NodeWork) -> None:
        moved = work.read_bytes + work.written_bytes
        self.counted[node.op_type] += 1
        self.matrix_flops += work.matrix_flops
        self.vector_flops += work.vector_flops
        self.convolution_flops += work.convolution_flops
        self.unfused_bytes += moved
        self.copy_bytes += moved if work.moves_only else 0


@dataclass(frozen=True)
class _Sizes:
    """Bytes of values, floating-point ones in another type where one is asked for."""

    float_bytes: int | None

    def __call__(self, value: ir.Value) -> int:
        elements = math.prod(shape_of(value))
        if value.dtype is None:
            raise UnknownWorkError("type unknown")
        if self.float_bytes is not None and value.dtype in FLOATS:
            return elements * self.float_bytes
        return math.ceil(elements * value.dtype.itemsize)


def _prepare(graph: Path | ir.Model) -> ir.Model:
    """The model with its functions inlined and every shape that can be told."""
    try:
        model = ir.load(graph) if isinstance(graph, Path) else graph
    except (OSError, ValueError, DecodeError) as cause:
        raise ExportError(f"{graph}: is not an ONNX graph ({cause}); export the component again") from cause
    if not model.functions and not _lacks_shapes(model):
        return model
    if isinstance(graph, ir.Model):
        model = model.clone()
    if model.functions:
        common.InlinePass()(model)
    if _lacks_shapes(model):
        model = common.ShapeInferencePass()(model).model
    return model


def _lacks_shapes(model: ir.Model) -> bool:
    return any(value.shape is None for node in model.graph for value in node.outputs)


def _read_bytes(values: Iterable[ir.Value], sizes: _Sizes, uncounted: Counter[str]) -> int:
    """What a call reads of its inputs or constants; where only pieces are ever taken, the pieces."""
    total = 0
    for value in values:
        uses = value.uses()
        if not is_wanted(value):
            continue
        try:
            size = sizes(value)
            if uses and all(use.node.op_type in READS_WHAT_IT_TAKES and use.idx == 0 for use in uses):
                size = min(size, sum(sizes(out) for use in uses for out in use.node.outputs if is_wanted(out)))
            total += size
        except UnknownWorkError as unknown:
            uncounted[f"bytes of {value.name} ({unknown})"] += 1
    return total


def _sum_sizes(values: Iterable[ir.Value], sizes: _Sizes, uncounted: Counter[str]) -> int:
    total = 0
    for value in values:
        try:
            total += sizes(value)
        except UnknownWorkError as unknown:
            uncounted[f"bytes of {value.name} ({unknown})"] += 1
    return total


def _attributes(node: ir.Node) -> list[ir.Attr]:
    return list(node.attributes.values())


def _name(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type
