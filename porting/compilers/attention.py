"""Attention spelled out, as torch exports it, rewritten to the one operator Attention of opset 23.

TensorRT builds that operator as one fused kernel or not at all, where MatMul, Softmax and MatMul are fused only when
its pattern matcher likes them. The rewrite is exact: the operator's definition scales queries and keys by the root of
`scale`, adds the mask and normalises over keys, as the spelled-out form does. What does not fit exactly stays.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from porting.compilers.component_graph import raise_opset

ATTENTION_OPSET = 23
SWAP_LAST = (0, 1, 3, 2)
RANK = 4
"""(batch, heads, tokens, width) of queries, keys and values."""


@dataclass(frozen=True)
class _Found:
    """One spelled-out attention: softmax(query @ keys_transposed + mask) @ values."""

    scores: ir.Node
    softmax: ir.Node
    weighted: ir.Node
    mask: ir.Value | None


def count_attention(model: ir.Model) -> int:
    """How many attentions the graph holds, spelled out or as the one operator."""
    return sum(node.op_type == "Attention" or _match(node) is not None for node in model.graph)


def fuse_attention(model: ir.Model, where: str) -> int:
    """Rewrite every attention of the graph that fits, in place; returns how many.

    Raises:
        CompileError: the graph's opset cannot be raised to the operator's.
    """
    found = [attention for node in model.graph if (attention := _match(node)) is not None]
    if not found:
        return 0
    raise_opset(model, ATTENTION_OPSET, where)
    for attention in found:
        _replace(model.graph, attention)
    return len(found)


def _match(node: ir.Node) -> _Found | None:
    """The attention whose Softmax this is, when nothing else looks at its scores or weights."""
    if node.op_type != "Softmax" or not _is_last_axis(node):
        return None
    weighted = _only_consumer(node.outputs[0])
    if weighted is None or weighted.op_type != "MatMul" or weighted.inputs[0] is not node.outputs[0]:
        return None
    producer, mask = node.inputs[0].producer() if node.inputs[0] is not None else None, None
    if producer is not None and producer.op_type == "Add":
        scores, mask = _split_mask(producer)
        if scores is None or _only_consumer(producer.outputs[0]) is not node:
            return None
        producer = scores
    if producer is None or producer.op_type != "MatMul":
        return None
    if _only_consumer(producer.outputs[0]) is None or not _shapes_fit(producer, weighted, mask):
        return None
    return _Found(producer, node, weighted, mask)


def _split_mask(add: ir.Node) -> tuple[ir.Node | None, ir.Value | None]:
    """The MatMul and the mask that an Add joins; None when neither side is a MatMul, or both are."""
    sides = [(value, value.producer()) for value in add.inputs if value is not None]
    products = [node for _, node in sides if node is not None and node.op_type == "MatMul"]
    if len(products) != 1:
        return None, None
    return products[0], next(value for value, node in sides if node is not products[0])


def _shapes_fit(scores: ir.Node, weighted: ir.Node, mask: ir.Value | None) -> bool:
    """Rank 4 with known sides, the same batch and heads everywhere, and a mask that the operator may broadcast."""
    query, keys, values = (_sides(v) for v in (scores.inputs[0], scores.inputs[1], weighted.inputs[1]))
    if query is None or keys is None or values is None or not query[:2] == keys[:2] == values[:2]:
        return False
    if query[3] != keys[2] or keys[3] != values[2]:
        return False
    if mask is None:
        return True
    sides = _sides(mask)
    full = (*query[:3], keys[3])
    # The operator wants the mask's last two sides whole.
    return sides is not None and sides[2:] == full[2:] and all(s in (1, f) for s, f in zip(sides, full, strict=True))


def _replace(graph: ir.Graph, found: _Found) -> None:
    query, keys = found.scores.inputs
    values = found.weighted.inputs[1]
    old = found.weighted.outputs[0]
    if query is None or keys is None or values is None:
        return
    scale = 1.0
    factors = _common_scale(query, keys)
    if factors is not None:
        query, keys, root = factors
        scale = root * root
    straight = _before_swap(keys)
    if straight is None:
        swap = ir.Node(
            "",
            "Transpose",
            [keys],
            [ir.AttrInt64s("perm", SWAP_LAST)],
            outputs=[_like(keys, f"{old.name}_keys", SWAP_LAST)],
            name=f"{found.scores.name}_keys",
        )
        graph.insert_before(found.weighted, swap)
        straight = swap.outputs[0]
    attention = ir.Node(
        "",
        "Attention",
        [query, straight, values, *([found.mask] if found.mask is not None else [])],
        [ir.AttrFloat32("scale", scale)],
        outputs=[ir.Value(name=old.name, shape=old.shape, type=old.type)],
        name=f"{found.softmax.name}_attention",
        metadata_props=dict(found.softmax.metadata_props),
    )
    graph.insert_before(found.weighted, attention)
    ir.convenience.replace_all_uses_with(old, attention.outputs[0], replace_graph_outputs=True)
    _remove_unused(graph, found.weighted)


def _common_scale(query: ir.Value, keys: ir.Value) -> tuple[ir.Value, ir.Value, float] | None:
    """Queries and keys before both were multiplied by the same positive number, and that number."""
    unscaled = [_unscaled(value) for value in (query, keys)]
    if unscaled[0] is None or unscaled[1] is None or unscaled[0][1] != unscaled[1][1] or unscaled[0][1] <= 0:
        return None
    return unscaled[0][0], unscaled[1][0], unscaled[0][1]


def _unscaled(value: ir.Value) -> tuple[ir.Value, float] | None:
    node = value.producer()
    if node is None or node.op_type != "Mul":
        return None
    for whole, factor in (node.inputs, reversed(node.inputs)):
        if whole is None or factor is None or factor.const_value is None or factor.const_value.size != 1:
            continue
        if whole.const_value is None and _sides(whole) == _sides(value):
            return whole, float(factor.const_value.numpy().astype(np.float64).item())
    return None


def _before_swap(keys: ir.Value) -> ir.Value | None:
    """What `keys` is with its last two axes swapped: at once, or with batch and heads folded, as torch does."""
    node = keys.producer()
    if node is not None and node.op_type == "Transpose":
        return node.inputs[0] if tuple(node.attributes["perm"].as_ints()) == SWAP_LAST else None
    chain: list[ir.Node] = []
    for kind in ("Reshape", "Transpose", "Reshape"):
        if node is None or node.op_type != kind or node.inputs[0] is None:
            return None
        chain.append(node)
        node = node.inputs[0].producer()
    unfold, transpose, fold = chain
    source, folded, sides = fold.inputs[0], fold.outputs[0], _sides(fold.inputs[0])
    if source is None or sides is None or folded.shape is None or "perm" not in transpose.attributes:
        return None
    is_fold = tuple(folded.shape) == (sides[0] * sides[1], *sides[2:])
    is_swap = tuple(transpose.attributes["perm"].as_ints()) == (0, 2, 1)
    is_unfold = _sides(unfold.outputs[0]) == tuple(sides[axis] for axis in SWAP_LAST)
    return source if is_fold and is_swap and is_unfold else None


def _remove_unused(graph: ir.Graph, node: ir.Node) -> None:
    """Remove a node whose outputs nobody reads, and what only it read."""
    if any(output.uses() or output.is_graph_output() for output in node.outputs):
        return
    inputs = [value for value in node.inputs if value is not None]
    graph.remove(node, safe=True)
    for value in inputs:
        producer = value.producer()
        if producer is not None and producer.graph is graph:
            _remove_unused(graph, producer)


def _only_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that reads the value, once; None when there are others or the graph returns it."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _is_last_axis(node: ir.Node) -> bool:
    sides = _sides(node.inputs[0])
    axis = node.attributes.get("axis")
    return sides is not None and (axis is None or axis.as_int() in (-1, len(sides) - 1))


def _sides(value: ir.Value | None) -> tuple[int, ...] | None:
    """The value's shape when it has rank 4 and every side is a number."""
    if value is None or value.shape is None or len(value.shape) != RANK:
        return None
    sides = tuple(side for side in value.shape if isinstance(side, int))
    return sides if len(sides) == RANK else None


def _like(value: ir.Value, name: str, permutation: tuple[int, ...]) -> ir.Value:
    sides = _sides(value)
    shape = ir.Shape([sides[axis] for axis in permutation]) if sides is not None else None
    return ir.Value(name=name, shape=shape, type=value.type)
