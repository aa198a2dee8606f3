"""Many worlds in one call: what comes out is each world's own, or the graph is refused by the name of a node."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from porting.compilers.attention import fuse_attention
from porting.compilers.batch import open_batch
from porting.compilers.component_graph import load_graph
from porting.errors import CompileError
from tests.compilers.attention import ATTENTION_SPEC, attention_folder, attention_inputs
from tests.compilers.graphs import Arrays, check_graph, read_graph, run_graph
from tests.runners.artifacts import make_request

WORLDS = 3


def assert_worlds_apart(static: ir.Model, opened: ir.Model, shared: tuple[str, ...] = ()) -> None:
    """Run three worlds one by one, and at once."""
    random, inputs = np.random.default_rng(0), list[Arrays]()
    common: Arrays = {}
    for _ in range(WORLDS):
        inputs.append({})
        for value in static.graph.inputs:
            shape = tuple(side for side in value.shape or () if isinstance(side, int))
            array = random.integers(0, 2, shape) if value.dtype == ir.DataType.INT64 else random.standard_normal(shape)
            dtype = value.dtype.numpy() if value.dtype is not None else np.float32
            name = str(value.name)
            batched = shape[:1] == (1,) and name not in shared
            inputs[-1][name] = array.astype(dtype) if batched else common.setdefault(name, array.astype(dtype))
    alone = [run_graph(static, one) for one in inputs]
    joined = {n: a if n in common else np.concatenate([one[n] for one in inputs]) for n, a in inputs[0].items()}
    together = run_graph(opened, joined)
    for name, array in together.items():
        wanted = np.concatenate([one[name] for one in alone])
        np.testing.assert_allclose(array, wanted, rtol=1e-5, atol=1e-6, err_msg=name)


GRAPHS = {
    "elementwise with what is shared": "g (float[1, 3] x, float[3] w) => (float[1, 3] y) { y = Mul (x, w) }",
    "where": """g (float[1, 3] x, float[3] w, bool[1, 3] c) => (float[1, 3] y) { y = Where (c, x, w) }""",
    "heads folded into the batch": """g (float[1, 4, 6] x) => (float[1, 4, 6] y) {
        s1 = Constant <value = int64[4] {1, 4, 2, 3}> ()
        a = Reshape (x, s1)
        b = Transpose <perm = [0, 2, 1, 3]> (a)
        s2 = Constant <value = int64[3] {2, 4, 3}> ()
        c = Reshape (b, s2)
        d = Softmax <axis = 1> (c)
        s3 = Constant <value = int64[4] {1, 2, 4, 3}> ()
        e = Reshape (d, s3)
        f = Transpose <perm = [0, 2, 1, 3]> (e)
        s4 = Constant <value = int64[3] {1, 4, 6}> ()
        y = Reshape (f, s4)
    }""",
    "parts of a projection in front": """g (float[1, 2, 6] x) => (float[1, 2, 3] y) {
        s1 = Constant <value = int64[4] {1, 2, 2, 3}> ()
        a = Reshape (x, s1)
        b = Transpose <perm = [2, 0, 1, 3]> (a)
        nought = Constant <value = int64 {0}> ()
        one = Constant <value = int64 {1}> ()
        p = Gather <axis = 0> (b, nought)
        q = Gather <axis = 0> (b, one)
        y = Add (p, q)
    }""",
    "convolution, pooling, shuffle": """g (float[1, 4, 4, 4] x, float[4, 4, 3, 3] w) => (float[1, 1, 4, 4] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w)
        b = DepthToSpace <blocksize = 2> (a)
        y = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (b)
    }""",
    "products": """g (float[1, 3] x, float[3, 4] w, float[4] b, float[4, 4] v) => (float[1, 4] y) {
        a = Gemm (x, w, b)
        y = MatMul (a, v)
    }""",
    "products of worlds": """g (float[1, 2, 3, 4] x, float[1, 2, 4, 3] z) => (float[1, 2, 3, 3] y) {
        y = MatMul (x, z)
    }""",
    "reduced, squeezed, put back": """g (float[1, 3, 4] x) => (float[1, 4] y) {
        axis = Constant <value = int64[1] {1}> ()
        a = ReduceMean <keepdims = 0> (x, axis)
        b = Unsqueeze (a, axis)
        c = Squeeze (b, axis)
        d = LayerNormalization <axis = -1> (c, c1)
        y = Identity (d)
    }""".replace("g (", "g (float[4] c1, "),
    "joined, cut, sliced, repeated": """g (float[1, 2, 4] x) => (float[1, 4, 4] y) {
        a = Concat <axis = 1> (x, x)
        p, q = Split <axis = 1, num_outputs = 2> (a)
        start = Constant <value = int64[1] {1}> ()
        end = Constant <value = int64[1] {2}> ()
        b = Slice (q, start, end, start)
        times = Constant <value = int64[3] {1, 4, 1}> ()
        y = Tile (b, times)
    }""",
    "expanded and padded": """g (float[1, 1, 4] x) => (float[1, 2, 5] y) {
        shape = Constant <value = int64[3] {1, 2, 4}> ()
        a = Expand (x, shape)
        pads = Constant <value = int64[6] {0, 0, 1, 0, 0, 0}> ()
        y = Pad (a, pads)
    }""",
    "a table read by each world": """g (int64[1, 3] x, float[5, 2] t) => (float[1, 3, 2] y) {
        y = Gather <axis = 0> (t, x)
    }""",
    "enlarged": """g (float[1, 2, 3, 3] x) => (float[1, 2, 6, 6] y) {
        empty = Constant <value = float[0] {}> ()
        scales = Constant <value = float[4] {1, 1, 2, 2}> ()
        y = Resize <mode = "nearest"> (x, empty, scales)
    }""",
}


@pytest.mark.parametrize("text", GRAPHS.values(), ids=GRAPHS)
def test_worlds_stay_apart(text: str, tmp_path: Path) -> None:
    static, opened = read_graph(text), read_graph(text)
    open_batch(opened, "g")
    check_graph(opened, tmp_path / "graph.onnx")
    assert_worlds_apart(static, opened)


REFUSED = {
    "a sum over worlds": ("axis = Constant <value = int64[1] {0}> () y = ReduceSum (x, axis)", "ReduceSum"),
    "a sum over everything": ("y = ReduceSum (x)", "ReduceSum"),
    "a softmax over worlds": ("y = Softmax <axis = 0> (x)", "Softmax"),
    "worlds joined": ("y = Concat <axis = 0> (x, x)", "Concat"),
    "worlds joined with what they share": ("y = Concat <axis = 1> (x, one)", "Concat"),
    "worlds cut": ("p = Constant <value = int64[1] {0}> () q = Constant <value = int64[1] {1}> () "
                   "y = Slice (x, p, q, p)", "Slice"),
    "worlds multiplied": ("t = Transpose <perm = [1, 0]> (x) y = MatMul (t, x)", "MatMul"),
    "worlds as the contracted axis": ("t = Transpose <perm = [1, 0]> (x) y = MatMul (t, one)", "MatMul"),
    "worlds aligned with rows": ("t = Transpose <perm = [1, 0]> (x) y = Add (t, x)", "Add"),
    "an operand that has three rows": ("y = Add (x, three)", "Add"),
    "worlds repeated": ("n = Constant <value = int64[2] {2, 1}> () y = Tile (x, n)", "Tile"),
    "worlds expanded": ("n = Constant <value = int64[2] {2, 4}> () y = Expand (x, n)", "Expand"),
    "worlds padded": ("n = Constant <value = int64[4] {1, 0, 0, 0}> () y = Pad (x, n)", "Pad"),
    "axes in front, cut across": ("t = Transpose <perm = [1, 0]> (x) n = Constant <value = int64[2] {2, 2}> () "
                                  "y = Reshape (t, n)", "Reshape"),
    "a shape that is computed": ("n = Shape (x) y = Reshape (x, n)", "Shape"),
    "an operator that is not known": ("y = CumSum (x, zero)", "CumSum"),
    "parameters of each world": ("y = LayerNormalization (one, x)", "LayerNormalization"),
    "worlds looked up by worlds": ("i = Cast <to = 7> (x) y = Gather (x, i)", "Gather"),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "operator"), REFUSED.values(), ids=REFUSED)
def test_what_would_mix_worlds_is_refused(nodes: str, operator: str) -> None:
    model = read_graph(
        f"g (float[1, 4] x) => (float[y0, y1] y) {{ zero = Constant <value = int64 {{0}}> ()"
        f" start = Constant <value = float[4] {{1, 1, 1, 1}}> () shape = Constant <value = int64[2] {{1, 4}}> ()"
        f" one = Reshape (start, shape) three = Concat <axis = 0> (one, one, one) {nodes} }}"
    )
    # Constants stay nodes of the graph: they belong to no world.
    with pytest.raises(CompileError, match=rf"g: .*\({operator}\) .*leave the batch out"):
        open_batch(model, "g")


def test_an_output_that_is_not_a_row_for_each_world_is_refused() -> None:
    folded = """g (float[1, 4] x) => (float[2, 2] y) {
        s = Constant <value = int64[2] {2, 2}> ()
        y = Reshape (x, s)
    }"""
    shared = "g (float[1, 4] x, float[4] w) => (float[1, 4] y, float[4] z) { y = Neg (x) z = Neg (w) }"
    for text, name in ((folded, "y"), (shared, "z")):
        with pytest.raises(CompileError, match=f"output '{name}' is not one row for each world"):
            open_batch(read_graph(text), "g")


def test_a_graph_without_a_batch_is_refused() -> None:
    with pytest.raises(CompileError, match="no input has a first side of 1"):
        open_batch(read_graph("g (float[4] x) => (float[4] y) { y = Neg (x) }"), "g")


def test_what_all_worlds_share_must_be_named() -> None:
    text = "g (float[1, 4] x, float[1] level) => (float[1, 4] y) { y = Mul (x, level) }"
    with pytest.raises(CompileError, match=r"\(Mul\) aligns the worlds' axis with another one"):
        open_batch(read_graph(text), "g")
    static, opened = read_graph(text), read_graph(text)
    open_batch(opened, "g", shared=("level",))
    assert_worlds_apart(static, opened, shared=("level",))


@pytest.mark.parametrize("rewrite", [False, True])
def test_an_exported_attention_serves_many_worlds(rewrite: bool) -> None:
    models: list[ir.Model] = []
    for _ in range(2):
        request = make_request("tensorrt_rtx", Path()).model_copy(
            update={"component": ATTENTION_SPEC, "components_dir": attention_folder()}
        )
        models.append(load_graph(request))
        if rewrite:
            assert fuse_attention(models[-1], "attend") == 1
    open_batch(models[1], "attend")
    assert attention_inputs()["age"].shape != (1,)  # the ages are shared without being named
    assert_worlds_apart(models[0], models[1])
