"""The narrowed search finds what onnxscript's own finds, and looks at no more of a graph than it must."""

import onnx_ir as ir
import pytest
from onnxscript.optimizer import optimize_ir
from onnxscript.rewriter import _matcher

from porting.export import nearby
from porting.export.nearby import search_nearby

LAYER = """
  high_{0} = Slice(x_{0}, four, eight, last)
  low_{0} = Slice(x_{0}, zero, four, last)
  back_{0} = Neg(high_{0})
  turned_{0} = Concat<axis = -1>(back_{0}, low_{0})
  rest_{0} = Slice(turned_{0}, three, eight, last)
  part_{0} = Slice(turned_{0}, zero, three, last)
  bent_{0} = Relu(rest_{0})
  x_{1} = Concat<axis = -1>(part_{0}, bent_{0})
"""
"""Cuts a tensor into halves, which a split replaces, and then not into halves, which stays."""


def make_graph(layers: int) -> ir.Model:
    numbers = {"zero": 0, "three": 3, "four": 4, "eight": 8, "last": -1}
    constants = ", ".join(f"int64[1] {name} = {{{number}}}" for name, number in numbers.items())
    body = "".join(LAYER.format(layer, layer + 1) for layer in range(layers))
    head = f'<ir_version: 10, opset_import: ["" : 20]> g (float[2, 8] x_0) => (float[2, 8] x_{layers}) <{constants}>'
    return ir.from_onnx_text(f"{head} {{{body}}}")


def optimize(layers: int) -> ir.Model:
    model = make_graph(layers)
    optimize_ir(model)
    return model


def describe(model: ir.Model) -> list[tuple[str, list[str | None], list[str | None]]]:
    return [
        (node.op_type, [None if v is None else v.name for v in node.inputs], [v.name for v in node.outputs])
        for node in model.graph
    ]


def test_graphs_are_those_of_the_whole_search() -> None:
    plain = describe(optimize(4))
    with search_nearby():
        assert describe(optimize(4)) == plain
    operators = [operator for operator, _, _ in plain]
    assert operators.count("Split") == 4
    assert operators.count("Slice") == 8


def test_what_is_looked_at_does_not_grow_with_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    narrow = nearby._narrow

    def count(*given: object) -> object:
        found = narrow(*given)  # type: ignore[arg-type]
        sizes.append(len(list(found)))
        return found

    monkeypatch.setattr(nearby, "_narrow", count)
    largest = {}
    for layers in (1, 8):
        with search_nearby():
            optimize(layers)
        largest[layers] = max(sizes)
        sizes.clear()
    assert largest == {1: 2, 8: 2}


def test_the_librarys_own_search_is_back_afterwards() -> None:
    plain = _matcher.SimplePatternMatcher.match
    with search_nearby():
        assert _matcher.SimplePatternMatcher.match is not plain
    assert _matcher.SimplePatternMatcher.match is plain
