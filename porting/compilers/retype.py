"""A float32 component as the same component in half precision, as `module.half()` is to a module.

Every floating value inside becomes float16 or bfloat16; inputs and outputs keep the program's dtypes, with a Cast at
the border; integers and masks stay. What an operator takes in float32 only (the scales of Resize, Range) stays float32.
It knows nothing of the backends that need it: those that are strongly typed compute in the types of their graph.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from porting.compilers.component_graph import raise_opset, schema_of
from porting.errors import CompileError
from porting.tensor_spec import Precision

FLOAT = ir.DataType.FLOAT
TYPES: dict[Precision, ir.DataType] = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
BFLOAT16_OPSET = 23
"""From here on every operator of a world model is defined for bfloat16 too: Conv since 22, Attention since 23."""
QUANTISED = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearMatMul", "QLinearConv"}
DTYPE_ATTRIBUTES = ("to", "dtype")
EAGER_ELEMENTS = 4096
"""Larger weights are converted when they are written, one at a time."""


@dataclass
class Retyped:
    """What the change of types did beside changing types."""

    casts: int = 0
    """Inserted at the border and around what stays float32."""
    kept_float32: int = 0
    """Nodes with an input or output that stays float32."""
    clamped: int = 0
    """Finite constants beyond the range: they become its end, not infinite. Complete once the graph was written."""
    raised: int = 0
    """Lone constants that would round to zero, as an epsilon would: they become the smallest number instead."""


def retype_graph(model: ir.Model, precision: Precision, where: str) -> Retyped:
    """Change the types, in place.

    Args:
        model: a graph without control flow, functions or constant nodes; for bf16 its opset is raised.
        precision: fp16 or bf16; at fp32 nothing changes.
        where: how errors name this.

    Raises:
        CompileError: the graph is quantised, or has an operator that is not ONNX's.
    """
    done = Retyped()
    quantised = sorted({node.op_type for node in model.graph} & QUANTISED)
    if quantised:
        raise CompileError(f"{where}: is quantised already ({', '.join(quantised)}); export it in float32")
    if precision == "fp32":
        return done
    if precision == "bf16":
        raise_opset(model, BFLOAT16_OPSET, where)
    _Retyping(model, TYPES[precision], where, done).run()
    return done


class _Retyping:
    """One pass over one graph: first who wants which type, then the types, then Casts where they differ."""

    def __init__(self, model: ir.Model, half: ir.DataType, where: str, done: Retyped) -> None:
        self._graph, self._half, self._done = model.graph, half, done
        self._word = f"tensor({half.name.lower()})"
        self._kept_uses: set[tuple[ir.Node, int]] = set()
        self._kept_outputs: set[ir.Value] = set()
        for node in model.graph:
            self._note_kept(node, schema_of(node, model.opset_imports.get(node.domain, 1), where))

    def run(self) -> None:
        inputs = [value for value in self._graph.inputs if value.dtype == FLOAT]
        outputs = [value for value in self._graph.outputs if value.dtype == FLOAT]
        for value in tuple(self._graph.initializers.values()):
            if value.dtype == FLOAT and value not in inputs:
                self._retype_initializer(value)
        made = [value for node in self._graph for value in node.outputs if value.dtype == FLOAT]
        for node in self._graph:
            self._retype_attributes(node)
        for value in made:
            if value not in self._kept_outputs:
                value.dtype = self._half
        for value in (*inputs, *made):
            self._cast_uses(value)
        for value in outputs:
            if value.dtype == self._half:
                self._cast_output(value)

    def _note_kept(self, node: ir.Node, schema: onnx.defs.OpSchema) -> None:
        """Note the uses and outputs of the node that its operator has in float32 only."""
        before = len(self._kept_uses) + len(self._kept_outputs)
        for index, (value, allowed) in enumerate(_with_types(node.inputs, schema.inputs, schema)):
            if value is not None and value.dtype == FLOAT and self._word not in allowed:
                self._kept_uses.add((node, index))
        # A normalisation tells its statistics in what it computes them in, whatever its type variable allows.
        statistics = node.op_type == "LayerNormalization" and _number(node, "stash_type", 1) == FLOAT
        for index, (output, allowed) in enumerate(_with_types(node.outputs, schema.outputs, schema)):
            if output is not None and output.dtype == FLOAT and (self._word not in allowed or (statistics and index)):
                self._kept_outputs.add(output)
        self._done.kept_float32 += len(self._kept_uses) + len(self._kept_outputs) > before

    def _retype_initializer(self, value: ir.Value) -> None:
        """Convert a constant; one that is also used in float32 is there twice."""
        uses = list(value.uses())
        kept = [use for use in uses if (use.node, use.idx) in self._kept_uses]
        if (len(kept) == len(uses) and not value.is_graph_output()) or value.const_value is None:
            return
        if kept:
            copy = ir.Value(name=f"{value.name}_float32", const_value=value.const_value)
            copy.shape, copy.dtype = value.shape, FLOAT
            self._graph.register_initializer(copy)
            for use in kept:
                use.node.replace_input_with(use.idx, copy)
        value.const_value = self._convert(value.const_value)
        value.dtype = self._half

    def _retype_attributes(self, node: ir.Node) -> None:
        """Change what a node says of its own output's type."""
        for name in DTYPE_ATTRIBUTES:
            if _number(node, name, 0) == FLOAT and node.outputs[0] not in self._kept_outputs:
                node.attributes[name] = ir.AttrInt64(name, int(self._half))
        if node.op_type == "ConstantOfShape" and node.outputs[0].dtype == FLOAT:
            given = node.attributes.get("value")
            filling = given.as_tensor() if given is not None else ir.tensor(np.zeros(1, np.float32))
            node.attributes["value"] = ir.AttrTensor("value", self._convert(filling))

    def _cast_uses(self, value: ir.Value) -> None:
        """Give every use the type that it wants, through one Cast."""
        wanted_half = value.dtype == FLOAT
        wrong = [u for u in value.uses() if ((u.node, u.idx) not in self._kept_uses) == wanted_half]
        if not wrong:
            return
        dtype = self._half if wanted_half else FLOAT
        cast = self._make_cast(value, f"{value.name}_{dtype.name.lower()}", dtype)
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], cast)
        else:
            self._graph.insert_after(producer, cast)
        for use in wrong:
            use.node.replace_input_with(use.idx, cast.outputs[0])

    def _cast_output(self, value: ir.Value) -> None:
        """Let the graph's output leave in float32, under its own name."""
        name, half = value.name, self._half.name.lower()
        value.name = f"{name}_{half}"
        cast = self._make_cast(value, str(name), FLOAT)
        self._graph.append(cast)
        for index, output in enumerate(self._graph.outputs):
            if output is value:
                self._graph.outputs[index] = cast.outputs[0]

    def _make_cast(self, value: ir.Value, name: str, dtype: ir.DataType) -> ir.Node:
        made = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
        self._done.casts += 1
        return ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(dtype))], outputs=[made], name=f"cast_{name}")

    def _convert(self, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        """The constant in half precision; a large one when it is written."""

        def convert() -> ir.TensorProtocol:
            converted, clamped, raised = to_half(tensor.numpy(), self._half.numpy())
            self._done.clamped += clamped
            self._done.raised += raised
            return ir.Tensor(converted, dtype=self._half, name=tensor.name)

        if tensor.size <= EAGER_ELEMENTS:
            return convert()
        shape = ir.Shape([side for side in tensor.shape if isinstance(side, int)])
        return ir.LazyTensor(convert, dtype=self._half, shape=shape, name=tensor.name)


def to_half(values: npt.NDArray[np.float32], dtype: np.dtype[np.generic]) -> tuple[npt.NDArray[np.generic], int, int]:
    """Round to nearest, with two exceptions: finite stays finite, and a lone constant does not vanish.

    Returns:
        The values in `dtype`, how many were clamped to its largest number, and how many raised to its smallest.
    """
    limits = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype)
    beyond = np.isfinite(values) & ~np.isfinite(rounded.astype(np.float32))
    rounded = np.where(beyond, np.copysign(np.float32(limits.max), values).astype(dtype), rounded)
    vanished = (values != 0) & (rounded.astype(np.float32) == 0) & (values.size == 1)
    smallest = np.float32(limits.smallest_subnormal)
    rounded = np.where(vanished, np.copysign(smallest, values).astype(dtype), rounded)
    return rounded.reshape(values.shape), int(beyond.sum()), int(vanished.sum())


def _with_types(
    values: Sequence[ir.Value | None],
    formals: "Sequence[onnx.defs.OpSchema.FormalParameter]",
    schema: onnx.defs.OpSchema,
) -> Iterator[tuple[ir.Value | None, set[str]]]:
    """Each value with the types that the operator allows there; the last formal parameter may repeat."""
    named = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    for index, value in enumerate(values):
        formal = formals[min(index, len(formals) - 1)]
        yield value, named.get(formal.type_str, {formal.type_str})


def _number(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute; the default when it is not there or no integer."""
    attribute = node.attributes.get(name)
    return attribute.as_int() if attribute is not None and attribute.type == ir.AttributeType.INT else default
