"""Half precision inside, the program's types outside: what it computes, and what it must not lose."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import openvino as ov
import pytest
import torch

from porting.compilers.component_graph import load_graph, write_graph
from porting.compilers.retype import EAGER_ELEMENTS, retype_graph, to_half
from porting.errors import CompileError
from porting.tensor_spec import Precision
from tests.compilers.attention import ATTENTION_SPEC, Attend, attended, attention_folder, attention_inputs
from tests.compilers.graphs import check_graph, operators, read_graph, relative_error, run_graph
from tests.runners.artifacts import SPEC, components_folder, expected, make_inputs, make_request

HALF: list[Precision] = ["fp16", "bf16"]
TYPES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}


def small(precision: Precision) -> ir.Model:
    model = load_graph(make_request("tensorrt_rtx", Path()).model_copy(update={"components_dir": components_folder()}))
    retype_graph(model, precision, "small")
    return model


def attend(precision: Precision) -> ir.Model:
    request = make_request("tensorrt_rtx", Path()).model_copy(
        update={"component": ATTENTION_SPEC, "components_dir": attention_folder()}
    )
    model = load_graph(request)
    retype_graph(model, precision, "attend")
    return model


@pytest.mark.parametrize("precision", HALF)
def test_only_the_border_is_float32(precision: Precision, tmp_path: Path) -> None:
    model = small(precision)
    check_graph(model, tmp_path / "graph.onnx")
    assert [(v.name, v.dtype.name.lower()) for v in model.graph.inputs] == [  # type: ignore[union-attr]
        (t.name, "float" if t.dtype == "float32" else t.dtype) for t in SPEC.inputs
    ]
    assert [(v.name, v.dtype) for v in model.graph.outputs] == [(t.name, ir.DataType.FLOAT) for t in SPEC.outputs]
    border = {*model.graph.inputs, *model.graph.outputs}
    inside = {v for node in model.graph for v in (*node.inputs, *node.outputs) if v is not None} - border
    assert {v.dtype for v in inside} == {TYPES[precision], ir.DataType.INT64}
    assert {v.dtype for v in inside if v.const_value is not None and v.dtype != ir.DataType.INT64} == {TYPES[precision]}


def test_nothing_changes_at_fp32() -> None:
    assert operators(small("fp32")) == operators(
        load_graph(make_request("tensorrt_rtx", Path()).model_copy(update={"components_dir": components_folder()}))
    )


@pytest.mark.parametrize("seed", range(3))
def test_fp16_is_as_exact_as_torch_in_fp16(seed: int) -> None:
    inputs = attention_inputs(seed)
    wanted = attended(inputs)
    module = Attend().half().eval()
    with torch.no_grad():
        arrays = [torch.from_numpy(array) for array in inputs.values()]
        eager = module(*[a.half() if a.is_floating_point() else a for a in arrays]).float().numpy()
    error, own = relative_error(run_graph(attend("fp16"), inputs)["y"], wanted), relative_error(eager, wanted)
    assert 0 < error <= 2 * own


@pytest.mark.parametrize("seed", range(3))
def test_bf16_is_as_exact_as_torch_in_bf16(seed: int, tmp_path: Path) -> None:
    """OpenVINO computes it: ONNX Runtime has no bfloat16 products on the CPU."""
    inputs = attention_inputs(seed)
    wanted = attended(inputs)
    (path,) = write_graph(attend("bf16"), tmp_path / "attend.onnx")
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    module = Attend().bfloat16().eval()
    with torch.no_grad():
        arrays = [torch.from_numpy(array) for array in inputs.values()]
        eager = module(*[a.bfloat16() if a.is_floating_point() else a for a in arrays]).float().numpy()
    error, own = relative_error(compiled(inputs)[0], wanted), relative_error(eager, wanted)
    assert 0 < error <= 2 * own


def test_integers_and_gathers_by_them_are_untouched() -> None:
    inputs = make_inputs()
    found = run_graph(small("fp16"), inputs)
    for name, wanted in expected(inputs).items():
        assert relative_error(found[name], wanted) < 1e-3, name
    assert found["passed"].dtype == np.float32


def test_what_an_operator_has_in_float32_only_stays(tmp_path: Path) -> None:
    model = read_graph(
        """g (float[1, 2, 4, 4] x) => (float[1, 2, 8, 8] y, float[8] r) {
            empty = Constant <value = float[0] {}> ()
            scales = Constant <value = float[4] {1, 1, 2, 2}> ()
            y = Resize <mode = "nearest"> (x, empty, scales)
            start = Constant <value = float {0.0}> ()
            end = Constant <value = float {8.0}> ()
            step = Constant <value = float {1.0}> ()
            r = Range (start, end, step)
        }"""
    )
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    before = run_graph(model, {"x": x})
    done = retype_graph(model, "fp16", "g")
    check_graph(model, tmp_path / "graph.onnx")
    assert done.kept_float32 == 2
    kinds = {str(v.name): v.dtype for v in model.graph.initializers.values()}
    assert kinds["scales"] == kinds["start"] == ir.DataType.FLOAT
    after = run_graph(model, {"x": x})
    np.testing.assert_array_equal(after["r"], before["r"])
    np.testing.assert_allclose(after["y"], before["y"], atol=2e-3)


def test_a_constant_used_in_both_types_is_there_twice(tmp_path: Path) -> None:
    model = read_graph(
        """g (float[1, 1, 4, 4] x) => (float[1, 1, 8, 8] y) {
            empty = Constant <value = float[0] {}> ()
            four = Constant <value = float[4] {1, 1, 2, 2}> ()
            scaled = Mul (x, four)
            y = Resize <mode = "nearest"> (scaled, empty, four)
        }"""
    )
    retype_graph(model, "fp16", "g")
    check_graph(model, tmp_path / "graph.onnx")
    kinds = {str(v.name): v.dtype for v in model.graph.initializers.values()}
    assert kinds["four"] == ir.DataType.FLOAT16
    assert kinds["four_float32"] == ir.DataType.FLOAT
    assert run_graph(model, {"x": np.ones((1, 1, 4, 4), np.float32)})["y"].max() == 2


def test_types_that_nodes_name_themselves_change(tmp_path: Path) -> None:
    model = read_graph(
        """g (int64[4] n, float[4] x) => (float[4] y, float[4] z) {
            shape = Constant <value = int64[1] {4}> ()
            three = ConstantOfShape <value = float[1] {3.0}> (shape)
            nought = ConstantOfShape (shape)
            f = Cast <to = 1> (n)
            sum = Add (f, three)
            more = Add (sum, nought)
            y = Add (more, x)
            z = Identity (x)
        }"""
    )
    retype_graph(model, "bf16", "g")
    check_graph(model, tmp_path / "graph.onnx")
    assert {node.attributes["to"].as_int() for node in model.graph if node.op_type == "Cast"} == {1, 16}


@pytest.mark.parametrize("precision", HALF)
def test_masks_stay_finite_and_epsilons_stay(precision: Precision) -> None:
    """A mask that became infinite makes NaN of a row that is masked whole, an epsilon that became 0 divides by it."""
    lowest = float(np.finfo(np.float32).min)
    values = np.array([lowest, -np.inf, 1e-12, 0.0, 1.0], np.float32)
    dtype = TYPES[precision].numpy()
    kept, clamped, raised = to_half(values, dtype)
    assert kept.astype(np.float32)[0] == -float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    assert kept.astype(np.float32)[1] == -np.inf
    assert (clamped, raised) == (1, 0)
    lone, _, raised = to_half(np.array(1e-12 if precision == "fp16" else 1e-45, np.float32), dtype)
    assert float(lone.astype(np.float32)) > 0
    assert raised == 1


def test_clamped_constants_are_counted_when_they_are_written(tmp_path: Path) -> None:
    text = "g (float[4] x) => (float[4] y) { mask = Constant <value = float[4] {1, 2, 3, 4}> () y = Add (x, mask) }"
    model = read_graph(text)
    large = np.full((EAGER_ELEMENTS + 1,), -1e30, np.float32)
    value = model.graph.initializers["mask"]
    value.const_value, value.shape = ir.tensor(large, name="mask"), ir.Shape([len(large)])
    done = retype_graph(model, "fp16", "g")
    assert done.clamped == 0
    write_graph(model, tmp_path / "graph.onnx")
    assert done.clamped == len(large)


def test_a_quantised_graph_is_refused() -> None:
    text = """g (float[4] x) => (float[4] y) {
        scale = Constant <value = float {0.1}> ()
        q = QuantizeLinear (x, scale)
        y = DequantizeLinear (q, scale)
    }"""
    for precision in ("fp32", "fp16"):
        with pytest.raises(CompileError, match="quantised already \\(DequantizeLinear, QuantizeLinear\\)"):
            retype_graph(read_graph(text), precision, "g")


def test_statistics_of_a_normalisation_stay_float32(tmp_path: Path) -> None:
    model = read_graph(
        """g (float[2, 4] x) => (float[2, 4] y, float[2, 1] m) {
            one = Constant <value = float[4] {1, 1, 1, 1}> ()
            n, mean, deviation = LayerNormalization (x, one)
            y = Identity (n)
            m = Neg (mean)
        }"""
    )
    retype_graph(model, "fp16", "g")
    check_graph(model, tmp_path / "graph.onnx")
    (node,) = [node for node in model.graph if node.op_type == "LayerNormalization"]
    assert [v.dtype for v in node.outputs] == [ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.FLOAT]
