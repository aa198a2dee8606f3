"""Counts of small graphs whose work was worked out by hand."""

from pathlib import Path

import onnx_ir as ir
import pytest

from porting.errors import ExportError
from porting.record.limit import ComponentWork
from porting.roofline.graph import count_graph

F32 = ir.DataType.FLOAT


def value(name: str, *shape: int | str, dtype: ir.DataType = F32) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))


def weight(name: str, *shape: int) -> ir.Value:
    made = value(name, *shape)
    made.const_value = ir.LazyTensor(
        lambda: pytest.fail("a weight was read"), dtype=F32, shape=ir.Shape(shape), name=name
    )
    return made


def count(
    nodes: list[ir.Node],
    inputs: list[ir.Value],
    outputs: list[ir.Value],
    weights: tuple[ir.Value, ...] = (),
    **options: object,
) -> ComponentWork:
    graph = ir.Graph(inputs, outputs, nodes=nodes, initializers=weights, opset_imports={"": 24})
    return count_graph(ir.Model(graph, ir_version=10), "part", **options)  # type: ignore[arg-type]


def one(op: str, inputs: list[ir.Value | None], *shape: int, **attributes: object) -> ComponentWork:
    node = ir.node(op, inputs, attributes=attributes, outputs=[value("out", *shape)])  # type: ignore[arg-type]
    given = [tensor for tensor in inputs if tensor is not None and tensor.const_value is None]
    weights = tuple(tensor for tensor in inputs if tensor is not None and tensor.const_value is not None)
    return count([node], given, list(node.outputs), weights)


def test_a_matrix_product_multiplies_and_adds_and_reads_its_weight_once() -> None:
    found = one("MatMul", [value("x", 2, 5, 8), weight("w", 8, 3)], 2, 5, 3)
    assert found.matrix_flops == 2 * (2 * 5) * 8 * 3
    assert found.vector_flops == 0
    assert (found.weight_bytes, found.input_bytes, found.output_bytes) == (4 * 24, 4 * 80, 4 * 30)
    assert found.unfused_bytes == found.compulsory_bytes


@pytest.mark.parametrize(("transposed", "shape"), [(0, (5, 8)), (1, (8, 5))])
def test_gemm_sums_over_the_inner_axis_and_adds_its_bias(transposed: int, shape: tuple[int, int]) -> None:
    found = one("Gemm", [value("x", *shape), weight("w", 8, 3), weight("b", 3)], 5, 3, transA=transposed)
    assert (found.matrix_flops, found.vector_flops) == (2 * 5 * 8 * 3, 15)


def test_a_grouped_convolution_sees_only_its_groups_channels() -> None:
    found = one("Conv", [value("x", 1, 6, 10, 10), weight("w", 4, 3, 3, 3), weight("b", 4)], 1, 4, 10, 10, group=2)
    assert (found.matrix_flops, found.vector_flops) == (2 * 400 * 3 * 9, 400)


def test_a_transposed_convolution_spreads_each_input() -> None:
    found = one("ConvTranspose", [value("x", 1, 6, 5, 5), weight("w", 6, 4, 2, 2)], 1, 4, 10, 10, strides=[2, 2])
    assert found.matrix_flops == 2 * (6 * 25) * 4 * 4


def test_attention_counts_past_and_new_keys() -> None:
    query, key, past = value("q", 1, 3, 16, 32), value("k", 1, 3, 16, 32), value("pk", 1, 3, 128, 32)
    inputs: list[ir.Value | None] = [query, key, value("v", 1, 3, 16, 32), None, past, value("pv", 1, 3, 128, 32)]
    found = one("Attention", inputs, 1, 3, 16, 32)
    scores = 3 * 16 * 144
    assert (found.matrix_flops, found.vector_flops) == (2 * scores * 64, 5 * scores)


def test_attention_in_three_axes_divides_by_its_heads() -> None:
    inputs: list[ir.Value | None] = [value("q", 2, 16, 96), value("k", 2, 20, 96), value("v", 2, 20, 96)]
    found = one("Attention", inputs, 2, 16, 96, q_num_heads=3, kv_num_heads=3)
    assert found.matrix_flops == 2 * (2 * 3 * 16 * 20) * 64


@pytest.mark.parametrize(("op", "each"), [("Add", 1), ("Sigmoid", 4), ("Softmax", 5), ("LayerNormalization", 8)])
def test_operations_an_element(op: str, each: int) -> None:
    inputs: list[ir.Value | None] = [value("x", 4, 8), weight("w", 8)] if op != "Sigmoid" else [value("x", 4, 8)]
    assert one(op, inputs, 4, 8).vector_flops == each * 32


def test_a_reduction_costs_what_it_reads() -> None:
    assert one("ReduceMean", [value("x", 4, 8)], 4, 1).vector_flops == 32


def test_moved_data_is_a_copy_and_a_view_is_nothing() -> None:
    x, y = value("x", 4, 8), value("y", 4, 8)
    joined = ir.node("Concat", [x, y], attributes={"axis": 0}, outputs=[value("j", 8, 8)])
    seen = ir.node("Squeeze", [joined.outputs[0]], outputs=[value("s", 64)])
    found = count([joined, seen], [x, y], list(seen.outputs))
    assert found.copy_bytes == found.unfused_bytes == 2 * 64 * 4
    assert found.flops == 0
    assert found.operators == {"Concat": 1, "Squeeze": 1}


def test_of_a_table_that_is_looked_up_only_the_rows_taken_are_read() -> None:
    found = one("Gather", [weight("table", 1000, 8), value("i", 3, dtype=ir.DataType.INT64)], 3, 8)
    assert found.weight_bytes == 3 * 8 * 4
    assert found.input_bytes == 3 * 8


def test_an_unused_weight_is_not_read() -> None:
    x = value("x", 4)
    node = ir.node("Neg", [x], outputs=[value("y", 4)])
    assert count([node], [x], list(node.outputs), (weight("idle", 100),)).weight_bytes == 0


def test_what_is_not_known_is_listed_with_its_count() -> None:
    x = value("x", 4)
    first = ir.Node("elsewhere", "Magic", [x], outputs=[value("a", 4)])
    second = ir.Node("elsewhere", "Magic", list(first.outputs), outputs=[value("b", 4)])
    third = ir.node("Det", list(second.outputs), outputs=[value("c", 1)])
    found = count([first, second, third], [x], list(third.outputs))
    assert found.uncounted == {"Det": 1, "elsewhere::Magic": 2}
    assert found.operators == {}


def test_a_loop_is_not_counted_as_nothing() -> None:
    x, condition = value("x", 4), value("c", dtype=ir.DataType.BOOL)
    inside = ir.node("Neg", [x], outputs=[value("n", 4)])
    branch = ir.Graph([], list(inside.outputs), nodes=[inside], opset_imports={"": 24})
    same = ir.node("Abs", [x], outputs=[value("m", 4)])
    other = ir.Graph([], list(same.outputs), nodes=[same], opset_imports={"": 24})
    node = ir.node("If", [condition], {"then_branch": branch, "else_branch": other}, outputs=[value("y", 4)])
    assert count([node], [x, condition], list(node.outputs)).uncounted == {"If": 1}


def test_a_symbolic_side_is_not_guessed() -> None:
    x = value("x", "rows", 8)
    node = ir.node("MatMul", [x, weight("w", 8, 3)], outputs=[value("y", "rows", 3)])
    found = count([node], [x], list(node.outputs), (node.inputs[1],))  # type: ignore[arg-type]
    assert found.uncounted["MatMul (shape unknown)"] == 1
    assert found.matrix_flops == 0


def test_a_local_function_is_counted_by_its_body_and_the_model_stays_as_it_was() -> None:
    a, b = ir.Value(name="a"), ir.Value(name="b")
    product = ir.node("MatMul", [a, b], outputs=[ir.Value(name="p")])
    body = ir.Graph([a, b], list(product.outputs), nodes=[product], opset_imports={"": 20})
    function = ir.Function("own", "Fused", graph=body, attributes=[])
    x, w = value("x", 4, 8), value("w", 8, 2)
    call = ir.Node("own", "Fused", [x, w], outputs=[value("y", 4, 2)])
    graph = ir.Graph([x, w], list(call.outputs), nodes=[call], opset_imports={"": 20, "own": 1})
    model = ir.Model(graph, ir_version=10, functions=[function])
    found = count_graph(model, "part")
    assert found.matrix_flops == 2 * 4 * 8 * 2
    assert found.uncounted == {}
    assert [node.op_type for node in model.graph] == ["Fused"]


def test_a_precision_changes_bytes_of_floats_alone() -> None:
    x, i = value("x", 4, 8), value("i", 3, dtype=ir.DataType.INT64)
    node = ir.node("Gather", [x, i], outputs=[value("y", 3, 8)])
    found = count([node], [x, i], list(node.outputs), precision="bf16")
    assert (found.input_bytes, found.output_bytes) == (3 * 8 * 2 + 3 * 8, 3 * 8 * 2)


def test_what_is_no_graph_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "part.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(ExportError, match="is not an ONNX graph"):
        count_graph(tmp_path / "part.onnx", "part")
