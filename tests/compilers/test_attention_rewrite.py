"""Attention as one operator: the same numbers, and hands off what is not exactly attention."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from porting.compilers.attention import count_attention, fuse_attention
from porting.compilers.component_graph import load_graph
from porting.compilers.retype import retype_graph
from tests.compilers.attention import ATTENTION_SPEC, attended, attention_folder, attention_inputs
from tests.compilers.graphs import check_graph, operators, read_graph, relative_error, run_graph
from tests.runners.artifacts import make_request

PLAIN = """g (float[1, 2, 3, 4] q, float[1, 2, 4, 5] k, float[1, 2, 5, 4] v, {mask_type} mask) => ({outputs}) {{
    root = Constant <value = float {{0.5}}> ()
    {before}
    scores = MatMul ({query}, {keys})
    masked = Add (scores, mask)
    weights = Softmax <axis = {axis}> (masked)
    y = MatMul (weights, v)
    {after}
}}"""
DEFAULTS = {
    "mask_type": "float[1, 1, 3, 5]",
    "outputs": "float[1, 2, 3, 4] y",
    "before": "",
    "query": "q",
    "keys": "k",
    "axis": "-1",
    "after": "",
}


def spelled_out(**changes: str) -> ir.Model:
    return read_graph(PLAIN.format(**{**DEFAULTS, **changes}))


def inputs(mask: tuple[int, ...] = (1, 1, 3, 5)) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"q": (1, 2, 3, 4), "k": (1, 2, 4, 5), "v": (1, 2, 5, 4), "mask": mask}
    made = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    made["mask"][..., 1] = -np.inf
    return made


@pytest.mark.parametrize(
    ("changes", "scale", "transposes"),
    [
        ({}, 1.0, 1),
        ({"axis": "3"}, 1.0, 1),
        ({"mask_type": "float[1, 2, 3, 5]"}, 1.0, 1),
        ({"before": "qs = Mul (q, root) ks = Mul (root, k)", "query": "qs", "keys": "ks"}, 0.25, 1),
        ({"before": "qs = Mul (q, root)", "query": "qs"}, 1.0, 1),
    ],
)
def test_the_operator_makes_the_same_numbers(
    changes: dict[str, str], scale: float, transposes: int, tmp_path: Path
) -> None:
    model = spelled_out(**changes)
    mask = (1, 2, 3, 5) if "mask_type" in changes else (1, 1, 3, 5)
    before = run_graph(model, inputs(mask))["y"]
    assert count_attention(model) == 1
    assert fuse_attention(model, "g") == 1
    check_graph(model, tmp_path / "graph.onnx")
    (node,) = [node for node in model.graph if node.op_type == "Attention"]
    assert node.attributes["scale"].as_float() == scale
    assert operators(model).count("Transpose") == transposes
    assert not {"Softmax", "MatMul", "Add"} & set(operators(model))
    np.testing.assert_allclose(run_graph(model, inputs(mask))["y"], before, rtol=1e-5, atol=1e-6)
    assert count_attention(model) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"axis": "2"},
        {"mask_type": "float[1, 1, 1, 5]"},
        {"mask_type": "float[1, 1, 3, 1]"},
        {"mask_type": "float[3, 5]"},
        {"outputs": "float[1, 2, 3, 4] y, float[1, 2, 3, 5] weights"},
        {"outputs": "float[1, 2, 3, 4] y, float[1, 2, 3, 5] z", "after": "z = Neg (scores)"},
        {"outputs": "float[1, 2, 3, 4] y, float[1, 2, 3, 5] z", "after": "z = Neg (masked)"},
        {"before": "k1 = Constant <value = int64[1] {0}> () kb = ReduceMean (k, k1)", "keys": "kb"},
    ],
    ids=lambda changes: str(changes),
)
def test_what_is_not_exactly_attention_stays(changes: dict[str, str]) -> None:
    model = spelled_out(**changes)
    if changes.get("keys") == "kb":  # one batch of keys for all: rank 4 still, but shapes that are known to differ
        model.graph.inputs[1].shape = ir.Shape([2, 2, 4, 5])
        for node in model.graph:
            if node.op_type == "ReduceMean":
                node.outputs[0].shape = ir.Shape([1, 1, 4, 5])
    untouched = operators(model)
    assert count_attention(model) == 0
    assert fuse_attention(model, "g") == 0
    assert operators(model) == untouched
    assert model.opset_imports[""] == 20


def exported() -> ir.Model:
    return load_graph(
        make_request("tensorrt_rtx", Path()).model_copy(
            update={"component": ATTENTION_SPEC, "components_dir": attention_folder()}
        )
    )


def test_torchs_export_is_recognised_with_its_scale_and_without_copies(tmp_path: Path) -> None:
    model = exported()
    transposes = operators(model).count("Transpose")
    assert fuse_attention(model, "attend") == 1
    check_graph(model, tmp_path / "graph.onnx")
    (node,) = [node for node in model.graph if node.op_type == "Attention"]
    assert node.attributes["scale"].as_float() == pytest.approx(16**-0.5)
    assert operators(model).count("Transpose") < transposes
    for seed in range(3):
        data = attention_inputs(seed)
        assert relative_error(run_graph(model, data)["y"], attended(data)) < 1e-6


def test_a_retyped_attention_is_as_exact_as_the_spelled_out_one() -> None:
    data = attention_inputs()
    wanted, errors = attended(data), []
    for rewrite in (False, True):
        model = exported()
        if rewrite:
            fuse_attention(model, "attend")
        retype_graph(model, "fp16", "attend")
        errors.append(relative_error(run_graph(model, data)["y"], wanted))
    assert errors[1] <= 2 * errors[0]
