"""A component of one world as a component of any number of worlds, side by side on axis 0.

Exported graphs have static shapes, and a 1 that stands for the batch looks like any other. So each value is followed
from the inputs: it belongs to all worlds, or one of its axes is the worlds' axis, with the same number of rows of each
world. An operator that would mix worlds, or that is not known to keep them apart, is refused by name: what comes out
is right for every batch. It knows nothing of backends.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import onnx_ir as ir

from porting.errors import CompileError

SYMBOL = "batch"
UNARY = {
    "Abs", "Cast", "Ceil", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity",
    "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin",
    "Softplus", "Sqrt", "Tanh",
}  # fmt: skip
BROADCAST = {
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Or",
    "Pow", "PRelu", "Sub", "Where", "Xor",
}  # fmt: skip
PER_SAMPLE = {
    "AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool", "GlobalMaxPool", "GroupNormalization",
    "InstanceNormalization", "MaxPool", "SpaceToDepth",
}  # fmt: skip
"""Axis 0 is the batch by definition; weights come after the first input."""
ALONG_AXIS = {"LogSoftmax": -1, "Softmax": -1, "Split": 0}
"""Operators that work along their `axis` only, with its default."""
FROM_AXIS = {"LayerNormalization": -1, "RMSNormalization": -1}
"""Operators that work along their `axis` and all after it."""


@dataclass(frozen=True)
class Place:
    """Where a value has the worlds' axis."""

    axis: int
    rows: int
    """Sides of each world on that axis, one world after the other."""


def open_batch(model: ir.Model, where: str, shared: Collection[str] = ()) -> None:
    """Open axis 0 of every input that has a 1 there, in place.

    Args:
        model: a static graph without control flow.
        where: how errors name this.
        shared: inputs that all worlds have in common, which stay as they are.

    Raises:
        CompileError: an operator would mix worlds, or is not known to keep them apart.
    """
    graph = model.graph
    opened = [v for v in graph.inputs if v.name not in shared and _sides(v)[:1] == (1,)]
    if not opened:
        raise CompileError(f"{where}: no input has a first side of 1; leave the batch out of the request")
    follower = _Follower(graph, where)
    follower.places |= {value: Place(0, 1) for value in opened}
    for node in tuple(graph):
        follower.visit(node)
    for value in graph.outputs:
        if follower.places.get(value) != Place(0, 1):
            raise CompileError(
                f"{where}: output {value.name!r} is not one row for each world; leave the batch out of the request"
            )
    for value, place in follower.places.items():
        if value.shape is not None:
            sides: list[int | str | ir.SymbolicDim] = list(value.shape)
            sides[place.axis] = SYMBOL if place.rows == 1 else f"{SYMBOL}_{place.rows}"
            value.shape = ir.Shape(sides)


class _Follower:
    """Follows the worlds' axis through the graph; `places` holds every value that has it."""

    def __init__(self, graph: ir.Graph, where: str) -> None:
        self.places: dict[ir.Value, Place] = {}
        self._graph, self._where = graph, where
        self._rules: dict[str, Callable[[ir.Node], Place]] = {
            "Attention": self._attention,
            "Concat": self._concat,
            "Expand": self._expand,
            "Gather": self._gather,
            "GatherND": self._gather_nd,
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "Pad": self._pad,
            "Reshape": self._reshape,
            "Resize": self._resize,
            "Slice": self._slice,
            "Squeeze": self._squeeze,
            "Tile": self._tile,
            "Transpose": self._transpose,
            "Unsqueeze": self._unsqueeze,
        }
        self._rules |= dict.fromkeys(UNARY, self._first_only)
        self._rules |= dict.fromkeys(BROADCAST, self._elementwise)
        self._rules |= dict.fromkeys(PER_SAMPLE, self._per_sample)
        self._rules |= dict.fromkeys(ALONG_AXIS, self._along_axis)
        self._rules |= dict.fromkeys(FROM_AXIS, self._from_axis)

    def visit(self, node: ir.Node) -> None:
        """Decide for the node's outputs, where one of its inputs has the worlds' axis."""
        if not any(value in self.places for value in node.inputs if value is not None):
            return
        rule = self._reduce if node.op_type.startswith("Reduce") else self._rules.get(node.op_type)
        if rule is None or node.domain:
            self._refuse(node, "is not known to keep worlds apart")
        place = rule(node)
        for output in node.outputs:
            self.places[output] = place

    def _refuse(self, node: ir.Node, why: str) -> NoReturn:
        name = node.name or node.outputs[0].name
        raise CompileError(f"{self._where}: {name} ({node.op_type}) {why}; leave the batch out of the request")

    def _first_only(self, node: ir.Node) -> Place:
        """Place of the first input, the others being what all worlds share."""
        first = node.inputs[0]
        if first not in self.places or any(value in self.places for value in node.inputs[1:] if value is not None):
            self._refuse(node, "mixes worlds")
        return self.places[first]

    def _per_sample(self, node: ir.Node) -> Place:
        place = self._first_only(node)
        if place.axis:
            self._refuse(node, "has the worlds' axis where it expects another")
        return place

    def _along_axis(self, node: ir.Node) -> Place:
        return self._check_axes(node, [_integer(node, "axis", ALONG_AXIS[node.op_type])])

    def _from_axis(self, node: ir.Node) -> Place:
        rank = len(_sides(node.inputs[0]))
        return self._check_axes(node, range(_integer(node, "axis", FROM_AXIS[node.op_type]) % rank, rank))

    def _check_axes(self, node: ir.Node, axes: Sequence[int] | None) -> Place:
        """Place of the first input, where the axes are known and none is the worlds'."""
        place, rank = self._first_only(node), len(_sides(node.inputs[0]))
        if not axes or any(axis % rank == place.axis for axis in axes):
            self._refuse(node, "works along the worlds' axis")
        return place

    def _reduce(self, node: ir.Node) -> Place:
        axes = self._axes(node)
        place = self._check_axes(node, axes)
        return place if _integer(node, "keepdims", 1) else self._without(node, place, axes or [])

    def _squeeze(self, node: ir.Node) -> Place:
        axes = self._axes(node)
        return self._without(node, self._check_axes(node, axes), axes or [])

    def _without(self, node: ir.Node, place: Place, axes: Sequence[int]) -> Place:
        """The place once the axes are gone."""
        rank = len(_sides(node.inputs[0]))
        return Place(place.axis - sum(axis % rank < place.axis for axis in axes), place.rows)

    def _unsqueeze(self, node: ir.Node) -> Place:
        place, rank = self._first_only(node), len(_sides(node.outputs[0]))
        added = {axis % rank for axis in self._axes(node) or []}
        kept = [axis for axis in range(rank) if axis not in added]
        return Place(kept[place.axis], place.rows)

    def _slice(self, node: ir.Node) -> Place:
        return self._check_axes(node, self._constant(node, 3))

    def _transpose(self, node: ir.Node) -> Place:
        place, permutation = self._first_only(node), node.attributes.get("perm")
        backwards = range(len(_sides(node.inputs[0])) - 1, -1, -1)
        order = list(permutation.as_ints()) if permutation is not None else list(backwards)
        return Place(order.index(place.axis), place.rows)

    def _reshape(self, node: ir.Node) -> Place:
        """What one world has after the worlds' axis lies together, so it may be cut anew when all before it stays."""
        place, old, new = self._first_only(node), _sides(node.inputs[0]), _sides(node.outputs[0])
        axis = place.axis
        if len(new) <= axis or 0 in new or new[:axis] != old[:axis]:
            self._refuse(node, "cuts across the worlds' axis")
        self._replace_constant(node, 1, [*new[:axis], -1, *new[axis + 1 :]])
        return Place(axis, new[axis])

    def _expand(self, node: ir.Node) -> Place:
        place, target = self._first_only(node), self._constant(node, 1) or []
        axis = place.axis + len(target) - len(_sides(node.inputs[0]))
        if not 0 <= axis < len(target) or target[axis] not in (1, place.rows):
            self._refuse(node, "repeats along the worlds' axis")
        self._replace_constant(node, 1, [*target[:axis], 1, *target[axis + 1 :]])
        return Place(axis, place.rows)

    def _tile(self, node: ir.Node) -> Place:
        place, repeats = self._first_only(node), self._constant(node, 1) or []
        if repeats[place.axis] != 1:
            self._refuse(node, "repeats along the worlds' axis")
        return place

    def _pad(self, node: ir.Node) -> Place:
        place, pads = self._first_only(node), self._constant(node, 1) or []
        if len(node.inputs) > 3 or pads[place.axis] or pads[place.axis + len(pads) // 2]:
            self._refuse(node, "pads the worlds' axis")
        return place

    def _resize(self, node: ir.Node) -> Place:
        place, scales = self._first_only(node), node.inputs[2] if len(node.inputs) > 2 else None
        constant = scales.const_value if scales is not None else None
        if constant is None or not constant.size or "axes" in node.attributes or constant.numpy()[place.axis] != 1.0:
            self._refuse(node, "scales the worlds' axis, or is given sizes")
        return place

    def _concat(self, node: ir.Node) -> Place:
        places = {self.places.get(value) for value in node.inputs if value is not None}
        place = places.pop()
        if place is None or places or _integer(node, "axis", 0) % len(_sides(node.inputs[0])) == place.axis:
            self._refuse(node, "joins worlds, or worlds with what they share")
        return place

    def _gather(self, node: ir.Node) -> Place:
        data, indices = node.inputs[0], node.inputs[1]
        axis = _integer(node, "axis", 0) % len(_sides(data))
        if data in self.places and indices not in self.places and axis != self.places[data].axis:
            place = self.places[data]
            return place if place.axis < axis else Place(place.axis + len(_sides(indices)) - 1, place.rows)
        if data not in self.places and indices in self.places:
            return Place(self.places[indices].axis + axis, self.places[indices].rows)
        return self._refuse(node, "mixes worlds")

    def _gather_nd(self, node: ir.Node) -> Place:
        """The last side of the indices says how many leading axes of the data they pick from."""
        data, indices = node.inputs[0], node.inputs[1]
        picked, leading = _sides(indices)[-1], len(_sides(indices)) - 1
        if not _integer(node, "batch_dims", 0):
            if data in self.places and indices not in self.places and self.places[data].axis >= picked:
                return Place(self.places[data].axis - picked + leading, self.places[data].rows)
            if data not in self.places and indices in self.places and self.places[indices].axis < leading:
                return self.places[indices]
        return self._refuse(node, "mixes worlds")

    def _gemm(self, node: ir.Node) -> Place:
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if _integer(node, "transA", 0) or (len(_sides(bias)) == 2 and _sides(bias)[0] != 1):
            self._refuse(node, "mixes worlds")
        return self._per_sample(node)

    def _matmul(self, node: ir.Node) -> Place:
        left, right = node.inputs[0], node.inputs[1]
        if right not in self.places and len(_sides(right)) == 2 and left in self.places:
            if self.places[left].axis == len(_sides(left)) - 1:
                self._refuse(node, "mixes worlds")
            return self.places[left]
        place = self._elementwise(node)
        if place.axis >= len(_sides(node.outputs[0])) - 2 or min(len(_sides(left)), len(_sides(right))) < 2:
            self._refuse(node, "mixes worlds")
        return place

    def _attention(self, node: ir.Node) -> Place:
        place = self._elementwise(node)
        if place.axis or any(value not in self.places for value in node.inputs[:3]) or len(node.inputs) > 4:
            self._refuse(node, "mixes worlds")
        return place

    def _elementwise(self, node: ir.Node) -> Place:
        """Operands are aligned from the right: where one has the worlds' axis, others have it too, or nothing, or 1."""
        operands = [value for value in node.inputs if value is not None]
        rank = max(len(_sides(value)) for value in operands)
        placed = [(self.places[value], len(_sides(value))) for value in operands if value in self.places]
        shifted = {Place(place.axis + rank - own, place.rows) for place, own in placed}
        place = shifted.pop()
        if shifted:
            self._refuse(node, "aligns the worlds' axis with another one")
        for value in operands:
            axis = place.axis - rank + len(_sides(value))
            if value not in self.places and axis >= 0 and _sides(value)[axis] != 1:
                self._refuse(node, "has an operand that is not the same for every world")
        return place

    def _axes(self, node: ir.Node) -> list[int] | None:
        """Axes given as an attribute or as a constant second input; None when there are none."""
        attribute = node.attributes.get("axes")
        return list(attribute.as_ints()) if attribute is not None else self._constant(node, 1)

    def _constant(self, node: ir.Node, index: int) -> list[int] | None:
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None:
            return None
        if value.const_value is None:
            self._refuse(node, "has a shape that is computed")
        return [int(number) for number in value.const_value.numpy().reshape(-1)]

    def _replace_constant(self, node: ir.Node, index: int, numbers: list[int]) -> None:
        """Give the node a shape of its own: a constant may serve several nodes."""
        name = f"{node.outputs[0].name}_batch_{index}"
        value = ir.Value(name=name, const_value=ir.tensor(np.array(numbers, np.int64), name=name))
        value.shape, value.dtype = ir.Shape([len(numbers)]), ir.DataType.INT64
        self._graph.register_initializer(value)
        node.replace_input_with(index, value)


def _integer(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _sides(value: ir.Value | None) -> tuple[int, ...]:
    """The static shape; empty for a scalar and for what is not known, which no rule accepts."""
    if value is None or value.shape is None:
        return ()
    return tuple(side for side in value.shape if isinstance(side, int))
