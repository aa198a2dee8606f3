"""TensorRT with kernels as plugins, over a fake of the bindings: what the parser gets, and what is refused by name."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from porting.compilers import CompileRequest
from porting.compilers.base import check_attestation
from porting.compilers.plugins import NAMESPACE as REGISTERED_NAMESPACE
from porting.errors import CompileError
from porting.export.local_functions import DOMAIN as EXPORTED_DOMAIN
from porting.record import ArtifactRecord
from porting.runners import open_runner
from porting.runners.base import aligned_zeros
from porting.tensor_spec import TensorSpec
from tests.runners.artifacts import make_request
from tests.runners.fake_tensorrt import World, install

FLOAT = ir.TensorType(ir.DataType.FLOAT)
PLUGINS = "import tensorrt.plugin as trtp\nPLUGINS = ('double_1',)\ntrtp.register('worldport::double_1')(PLUGINS)\n"


def _value(name: str) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape((2, 3)), type=FLOAT)


def _function(name: str) -> ir.Function:
    x = _value("x")
    node = ir.Node("", "Add", [x, x], outputs=[_value("y")])
    graph = ir.Graph([x], list(node.outputs), nodes=[node], opset_imports={"": 20})
    return ir.Function(EXPORTED_DOMAIN, name, graph=graph, attributes=[])


@pytest.fixture
def components(tmp_path: Path) -> Path:
    """A graph that calls two functions: x -> double -> (in standard operators) -> triple."""
    x = _value("x")
    first = ir.Node(EXPORTED_DOMAIN, "double_1", [x], outputs=[_value("a")], name="first")
    middle = ir.Node("", "Neg", list(first.outputs), outputs=[_value("b")], name="middle")
    last = ir.Node(EXPORTED_DOMAIN, "refused_2", list(middle.outputs), outputs=[_value("y")], name="last")
    functions = [_function("double_1"), _function("refused_2")]
    graph = ir.Graph(
        [x], list(last.outputs), nodes=[first, middle, last], opset_imports={"": 20, EXPORTED_DOMAIN: 1}, name="g"
    )
    folder = tmp_path / "components"
    folder.mkdir()
    ir.save(ir.Model(graph, ir_version=10, functions=functions), folder / "small.kernels.onnx")
    return folder


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    install(monkeypatch, world)
    return world


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Plugins that a file has registered; the module is there as `tensorrt.plugin`."""
    plugin: Any = ModuleType("tensorrt.plugin")
    names: list[str] = []

    def register(identity: str) -> Any:
        names.append(identity)
        return lambda function: function

    plugin.register = register
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", plugin)
    return names


@pytest.fixture
def compiler(world: World, registered: list[str], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return install(monkeypatch, world, "tensorrt_plugins", of="tensorrt")[0]


def request(tmp_path: Path, components: Path, plugins: str | None = PLUGINS, **changes: Any) -> CompileRequest:
    path = tmp_path / "small.triton.plugins.py"
    if plugins is not None:
        path.write_text(plugins)
    asked = make_request("tensorrt_plugins", tmp_path)
    tensors = {side: (TensorSpec(name=name, shape=(2, 3), dtype="float32"),) for side, name in SIDES.items()}
    given = {"architecture": "sm_120", "components_dir": components, "plugins": path, **changes}
    return asked.model_copy(update={"component": asked.component.model_copy(update=tensors), **given})


SIDES = {"inputs": "x", "outputs": "y"}


def test_names_are_those_of_the_export_and_of_the_plugins(compiler: ModuleType) -> None:
    assert compiler.DOMAIN == EXPORTED_DOMAIN
    assert compiler.NAMESPACE == REGISTERED_NAMESPACE


def test_a_call_of_a_plugin_is_a_node_that_the_parser_can_take_for_nothing_else(
    compiler: ModuleType, world: World, registered: list[str], components: Path, tmp_path: Path
) -> None:
    asked = request(tmp_path, components)
    files, attestation = compiler.compile_artifact(asked)
    check_attestation(asked, attestation)
    assert registered == ["worldport::double_1"]
    assert [file.name for file in files] == ["small.tensorrt_plugins.plan", "small.tensorrt_plugins.json"]
    assert attestation.detail["plugins"] == "double_1 1"
    (build,) = world.builds
    # The one that is no plugin is inlined, the other has no function that the parser could silently take instead.
    assert build["operators"] == ["double_1", "Neg", "Add"]
    assert build["functions"] == []
    assert build["plugins"] == {"double_1": {"plugin_namespace": "worldport", "plugin_version": "1"}}
    assert json.loads(files[1].read_text())["backend"] == "tensorrt_plugins"


@pytest.mark.parametrize(
    ("plugins", "words"),
    [
        (None, "there are no plugins; name triton in the profile's backends too"),
        ("PLUGINS = ('other_3',)\n", "calls none of the plugins; use backend tensorrt"),
        ("import tensorrt.plugin\ntensorrt.plugin.aot_impl\n", "does not take the plugins of small.triton.plugins.py"),
        ("def broken(:\n", "does not take the plugins of small.triton.plugins.py"),
    ],
)
def test_without_plugins_there_is_no_artifact(
    compiler: ModuleType, world: World, components: Path, plugins: str | None, words: str, tmp_path: Path
) -> None:
    with pytest.raises(CompileError, match=words):
        compiler.compile_artifact(request(tmp_path, components, plugins))
    assert world.builds == []


def test_the_graph_and_the_device_must_be_there(compiler: ModuleType, components: Path, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="needs the sm_90 device, and this host has sm_120"):
        compiler.compile_artifact(request(tmp_path, components, architecture="sm_90"))
    (components / "small.kernels.onnx").write_bytes(b"no graph")
    with pytest.raises(CompileError, match=r"small\.kernels\.onnx is no ONNX graph"):
        compiler.compile_artifact(request(tmp_path, components))
    (components / "small.kernels.onnx").unlink()
    with pytest.raises(CompileError, match=r"small\.kernels\.onnx is not there; export the component first"):
        compiler.compile_artifact(request(tmp_path, components))


def test_the_engine_runs_without_the_plugins_file(
    compiler: ModuleType, world: World, components: Path, tmp_path: Path
) -> None:
    """Their code is in the engine; the fake computes a plugin as the sum of its input with itself."""
    asked = request(tmp_path, components)
    files, _ = compiler.compile_artifact(asked)
    (tmp_path / "small.triton.plugins.py").unlink()
    record = ArtifactRecord(component="small", backend="tensorrt_plugins", precision="fp32", path=files[0].name)
    runner = open_runner("tensorrt_plugins", tmp_path, record, asked.component, 1)
    x, y = (aligned_zeros((2, 3), np.dtype(np.float32)) for _ in range(2))
    call = runner.bind({"x": x}, {"y": y})
    x[:] = 1.5
    call()
    assert (y == -6.0).all()
    runner.close()
