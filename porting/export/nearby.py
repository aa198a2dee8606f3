"""Keeps onnxscript's search for patterns from growing with the square of a graph.

Of a pattern with several outputs (two slices of one tensor that a split replaces) onnxscript 0.7.2 holds every node
against a list of the whole graph, made anew, and every slice against every other. Nodes that such a pattern cannot
begin with need no list, and the others share an input. What is found stays what it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import _basics, _matcher


@dataclass(frozen=True)
class _Near:
    """The part of a graph in which the rest of a pattern is looked for."""

    graph: ir.Graph
    nodes: tuple[ir.Node, ...]

    def __iter__(self) -> Iterator[ir.Node]:
        return iter(self.nodes)


@contextmanager
def search_nearby() -> Iterator[None]:
    """Meanwhile patterns of several outputs are looked for among the readers of what they share; process-wide."""
    matcher: Any = _matcher.SimplePatternMatcher
    plain = matcher.match

    def match(self: Any, model: ir.Model, whole: Any, node: ir.Node, **options: Any) -> Any:
        if not self.pattern.has_single_output_node:
            whole = _narrow(self.pattern.output_nodes, whole, node)
        return plain(self, model, whole, node, **options)

    matcher.match = match
    try:
        yield
    finally:
        matcher.match = plain


def _narrow(patterns: list[Any], whole: Any, node: ir.Node) -> Any:
    """Where to look for the nodes of `patterns` when `node` is to be the first: everywhere, if they share no input."""
    first, *others = patterns
    graph = whole if isinstance(whole, ir.Graph) else whole.graph
    if not first.matches(node, _basics.MatchResult()):
        return _Near(graph, ())
    near: dict[ir.Node, None] = {}
    for other in others:
        shared = [index for index, one in enumerate(first.inputs) if one is not None and _is_among(one, other.inputs)]
        if not shared or shared[0] >= len(node.inputs):
            return whole
        value = node.inputs[shared[0]]
        near |= dict.fromkeys(use.node for use in value.uses()) if value is not None else {}
    return _Near(graph, tuple(near))


def _is_among(wanted: object, found: Any) -> bool:
    return any(one is wanted for one in found)
