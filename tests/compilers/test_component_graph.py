"""A component's graph from its file and back: functions inlined, weights not copied, opsets raised only where safe."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from porting.compilers import component_graph
from porting.compilers.component_graph import load_graph, raise_opset, write_graph
from porting.compilers.retype import retype_graph
from porting.errors import CompileError
from tests.compilers.graphs import operators, read_graph, run_graph
from tests.runners.artifacts import make_request


def load(folder: Path) -> ir.Model:
    return load_graph(make_request("tensorrt_rtx", folder).model_copy(update={"components_dir": folder}))


def save(text: str, folder: Path) -> None:
    onnx.save(onnx.parser.parse_model(text), folder / "small.onnx")


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    save(
        """<ir_version: 10, opset_import: ["": 20, "wm": 1]>
        g (float[4] x) => (float[4] y) { y = wm.Twice (x) }
        <domain: "wm", opset_import: ["": 20]> Twice (a) => (b) { b = Add (a, a) }""",
        tmp_path,
    )
    assert operators(load(tmp_path)) == ["Add"]


def test_control_flow_is_refused(tmp_path: Path) -> None:
    save(
        """<ir_version: 10, opset_import: ["": 20]>
        g (bool c, float[4] x) => (float[4] y) {
            y = If (c) <then_branch = a () => (float[4] z) { z = Neg (x) },
                        else_branch = b () => (float[4] z) { z = Abs (x) }>
        }""",
        tmp_path,
    )
    with pytest.raises(CompileError, match=r"has control flow \(If\)"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 50, b"no graph at all"])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes(content)
    with pytest.raises(CompileError, match=r"small\.onnx is no ONNX graph"):
        load(tmp_path)


def test_many_weights_stay_outside_the_graph_and_are_converted_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(component_graph, "EXTERNAL_DATA_BYTES", 10_000)
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    model = read_graph("g (float[1, 64] x, float[64, 64] w) => (float[1, 64] y) { y = MatMul (x, w) }")
    model.graph.inputs.pop()
    (node,) = model.graph
    value = ir.Value(name="w", const_value=ir.tensor(weights, name="w"))
    value.shape, value.dtype = ir.Shape([64, 64]), ir.DataType.FLOAT
    model.graph.register_initializer(value)
    node.replace_input_with(1, value)
    files = write_graph(model, tmp_path / "small.onnx")
    assert [file.name for file in files] == ["small.onnx", "small.onnx.data"]
    assert files[1].stat().st_size >= weights.nbytes
    loaded = load(tmp_path)
    assert isinstance(loaded.graph.initializers["w"].const_value, ir.ExternalTensor)
    retype_graph(loaded, "fp16", "small")
    (tmp_path / "half").mkdir()
    monkeypatch.setattr(component_graph, "EXTERNAL_DATA_BYTES", 5_000)
    half = write_graph(loaded, tmp_path / "half" / "small.onnx")
    assert half[0].stat().st_size < 2_000
    assert weights.nbytes // 2 <= half[1].stat().st_size < weights.nbytes
    x = np.ones((1, 64), np.float32)
    np.testing.assert_allclose(run_graph(half[0], {"x": x})["y"], x @ weights, atol=0.05)


def test_constants_that_nobody_reads_are_left_out(tmp_path: Path) -> None:
    model = read_graph("g (float[4] x) => (float[4] y) { unused = Constant <value = float[1] {1}> () y = Neg (x) }")
    (file,) = write_graph(model, tmp_path / "graph.onnx")
    assert not ir.load(file).graph.initializers


def test_an_opset_is_raised_where_operators_mean_the_same() -> None:
    model = read_graph("g (float[1, 1, 4, 4] x, float[1, 1, 3, 3] w) => (float[1, 1, 2, 2] y) { y = Conv (x, w) }")
    raise_opset(model, 23, "g")
    assert model.opset_imports[""] == 23
    raise_opset(model, 20, "g")
    assert model.opset_imports[""] == 23


def test_an_operator_that_changed_its_meaning_stops_it() -> None:
    """Its scale and bias went from one number a group to one a channel in opset 21."""
    model = read_graph(
        "g (float[1, 4, 2] x, float[2] s, float[2] b) => (float[1, 4, 2] y)"
        " { y = GroupNormalization <num_groups = 2> (x, s, b) }",
        infer=False,
    )
    with pytest.raises(CompileError, match="GroupNormalization changed between opset 20 and 23; export at opset 23"):
        raise_opset(model, 23, "g")
    assert model.opset_imports[""] == 20
