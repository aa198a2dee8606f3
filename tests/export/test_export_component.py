"""Exports for real: what is written, what the record says, and what is refused."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from porting.adapters.gwm.config import MINI
from porting.adapters.gwm.world_model import random_world_model
from porting.errors import BackendMissingError, ExportError, StateContractError
from porting.export import component, export_component, graph
from porting.export.feeds import draw_example
from porting.export.probe import call_module
from porting.record import ComponentRecord
from tests.export.small import WINDOW, Step, big_model, small_model

TINY = MINI.model_copy(
    update={
        "frame_height": 16,
        "frame_width": 16,
        "autoencoder": MINI.autoencoder.model_copy(update={"widths": (8, 8)}),
        "denoiser": MINI.denoiser.model_copy(
            update={"width": 16, "heads": 2, "depth": 1, "mlp_width": 16, "stem_width": 8, "window": 4}
        ),
    }
)
Exported = tuple[Path, ComponentRecord]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("step") / "components"
    return folder, export_component(small_model(Step()), "step", folder, 20)


def test_the_files_are_the_graph_and_the_program(exported: Exported) -> None:
    folder, record = exported
    assert sorted(path.name for path in folder.iterdir()) == ["step.onnx", "step.pt2"]
    assert record.path == "components/step.onnx"
    onnx.checker.check_model(onnx.load(folder / "step.onnx"), full_check=True)
    inputs = draw_example(small_model(Step()).program, small_model(Step()).program.component("step"), 3)
    reference = Step()(*map(torch.from_numpy, inputs.values()))
    loaded = torch.export.load(folder / "step.pt2").module()(*map(torch.from_numpy, inputs.values()))
    session = onnxruntime.InferenceSession(folder / "step.onnx", providers=["CPUExecutionProvider"])
    for expected, program, array in zip(reference, loaded, session.run(None, inputs), strict=True):
        torch.testing.assert_close(program, expected)
        np.testing.assert_allclose(array, expected.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_the_record_says_what_was_written_and_exercised(exported: Exported) -> None:
    folder, record = exported
    written = onnx.load(folder / "step.onnx")
    assert record.nodes == len(written.graph.node) == sum(record.operators.values())
    assert {node.op_type for node in written.graph.node} == record.operators.keys()
    assert (record.parameters, record.weight_bytes) == (40, 160)
    assert record.opset == 20
    assert record.contract.states_in == record.contract.states_out == ("memory", "ring")
    assert {"wrap-around", "sink", "reset", "aliasing", "repeated calls"} <= set(record.contract.exercised)
    assert 0 < record.contract.max_relative_error < 1e-5


def test_the_graph_has_the_programs_names_and_static_shapes(exported: Exported) -> None:
    folder, _ = exported
    model = ir.load(folder / "step.onnx")
    assert [(v.name, tuple(v.shape or ())) for v in model.graph.inputs] == [
        ("action", (1, 4)),
        ("memory", (1, 4)),
        ("age", (WINDOW,)),
        ("ring", (1, WINDOW, 4)),
    ]
    assert [value.name for value in model.graph.outputs] == ["frame", "next_memory", "new_ring"]
    scopes = [node.metadata_props.get("pkg.torch.onnx.name_scopes", "") for node in model.graph]
    assert any("'mixer.query'" in scope for scope in scopes)


def test_no_path_of_this_machine_is_in_the_files(exported: Exported, project_root: Path) -> None:
    folder, _ = exported
    for path in folder.iterdir():
        content = path.read_bytes()
        for trace in (str(project_root), str(Path.home()), str(folder), "small.py", "stack_trace"):
            assert trace.encode() not in content, f"{path.name} holds {trace}"


def test_another_process_and_folder_give_the_same_bytes(exported: Exported, project_root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from porting.export import export_component;"
        "from tests.export.small import Step, small_model;"
        "export_component(small_model(Step()), 'step', Path(sys.argv[1]), 20)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "other")],
        cwd=project_root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    folder, _ = exported
    for path in folder.iterdir():
        assert _digest(tmp_path / "other" / path.name) == _digest(path), path.name


@pytest.mark.parametrize("opset", [20, 23])
def test_the_gwm_denoiser_is_proved_at_either_opset(opset: int, tmp_path: Path) -> None:
    record = export_component(random_world_model(TINY), "denoiser", tmp_path, opset)
    assert record.opset == opset
    assert record.contract.states_in == ("history", "key_0", "value_0")
    assert record.contract.states_out == ("history", "key_0", "value_0")
    assert {"wrap-around", "sink"} <= set(record.contract.exercised)
    assert record.contract.max_relative_error < 1e-4
    assert ("Attention" in record.operators) == (opset == 23)


@pytest.mark.parametrize(
    ("name", "states_in"),
    [("encoder", ()), ("decoder_first", ()), ("decoder", ("cache_0", "cache_1", "cache_2"))],
)
def test_the_gwm_autoencoder_is_proved(name: str, states_in: tuple[str, ...], tmp_path: Path) -> None:
    record = export_component(random_world_model(TINY), name, tmp_path, 20)
    assert record.contract.states_in == states_in
    assert "reset" in record.contract.exercised
    assert record.contract.max_relative_error < 1e-4


def test_an_export_is_quiet_and_replaces_a_larger_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("step.onnx", "step.onnx.data", "step.pt2", "other.onnx.data"):
        (tmp_path / name).write_text("old")
    export_component(big_model(1, 4), "step", tmp_path, 20)
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.onnx.data", "step.onnx", "step.pt2"]
    onnx.checker.check_model(tmp_path / "step.onnx")


def test_large_weights_go_to_a_file_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "EXTERNAL_DATA_BYTES", 1000)
    model = big_model(layers=2, width=32)
    record = export_component(model, "step", tmp_path, 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step.onnx", "step.onnx.data", "step.pt2"]
    assert (tmp_path / "step.onnx.data").stat().st_size >= record.weight_bytes == 2 * 32 * 32 * 4
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx", providers=["CPUExecutionProvider"])
    inputs = draw_example(model.program, model.program.component("step"), 3)
    expected = call_module(model.modules["step"], model.program.component("step"), inputs)
    for array, tensor in zip(session.run(None, inputs), expected.values(), strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-5)


def test_a_weight_that_was_written_wrongly_is_noticed(tmp_path: Path) -> None:
    weights = ir.tensor(np.arange(1024, dtype=np.float32), name="w")
    value = ir.Value(name="w", const_value=weights, shape=ir.Shape([1024]), type=ir.TensorType(ir.DataType.FLOAT))
    model = ir.Model(ir.Graph([], [], nodes=[], initializers=[value], opset_imports={"": 20}), ir_version=10)
    path, data = tmp_path / "a.onnx", tmp_path / "a.onnx.data"
    ir.save(model, path, external_data=data.name, size_threshold_bytes=16)
    graph._check_data(path, data, {"w": weights})
    content = bytearray(data.read_bytes())
    content[2000] ^= 1
    data.write_bytes(content)
    with pytest.raises(ExportError, match="weight 'w' was written wrongly"):
        graph._check_data(path, data, {"w": weights})


class PassesThrough(Step):
    def forward(self, action: Tensor, memory: Tensor, age: Tensor, ring: Tensor) -> tuple[Tensor, ...]:
        _, kept, _ = super().forward(action, memory, age, ring)
        return kept, memory, action


def test_an_output_that_is_an_input_is_a_copy_in_the_graph(tmp_path: Path) -> None:
    record = export_component(small_model(PassesThrough()), "step", tmp_path, 20)
    model = ir.load(tmp_path / "step.onnx")
    assert [value.name for value in model.graph.outputs] == ["frame", "next_memory", "new_ring"]
    assert record.operators["Identity"] == 2
    assert "aliasing" in record.contract.exercised


class ReturnsTwo(Step):
    def forward(self, action: Tensor, memory: Tensor, age: Tensor, ring: Tensor) -> tuple[Tensor, ...]:
        return super().forward(action, memory, age, ring)[:2]


class ReturnsWide(Step):
    def forward(self, action: Tensor, memory: Tensor, age: Tensor, ring: Tensor) -> tuple[Tensor, ...]:
        frame, kept, new = super().forward(action, memory, age, ring)
        return frame, kept.repeat(1, 2), new


class ReturnsDouble(Step):
    def forward(self, action: Tensor, memory: Tensor, age: Tensor, ring: Tensor) -> tuple[Tensor, ...]:
        frame, kept, new = super().forward(action, memory, age, ring)
        return frame.double(), kept, new


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (ReturnsTwo(), "returned 2 tensors, not the 3 of ['frame', 'next_memory', 'new_ring']"),
        (ReturnsWide(), "step.next_memory: forward returned ((1, 8), 'float32')"),
        (ReturnsDouble(), "step.frame: forward returned ((1, 4), 'float64')"),
    ],
    ids=["count", "shape", "dtype"],
)
def test_outputs_other_than_declared_are_refused(module: nn.Module, words: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=re.escape(words)):
        export_component(small_model(module), "step", tmp_path, 20)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_component_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no component 'stepp'"):
        export_component(small_model(Step()), "stepp", tmp_path, 20)


def test_outputs_that_the_exporter_swapped_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swap(model: ir.Model, path: Path) -> list[Path]:
        frame, memory, _ = model.graph.outputs
        frame.name, memory.name = "swapping", "frame"
        frame.name = "next_memory"
        return graph.write_graph(model, path)

    monkeypatch.setattr(component, "write_graph", swap)
    with pytest.raises(StateContractError, match="output `frame` of the exported graph is off by"):
        export_component(small_model(Step()), "step", tmp_path, 20)
    assert list(tmp_path.iterdir()) == []


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_without_onnxruntime_the_contract_is_not_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "porting.export.session", raising=False)
    model = small_model(Step())
    spec = model.program.component("step")
    with pytest.raises(BackendMissingError, match="onnxruntime is not installed; pip install"):
        component.prove_graph(model.program, spec, model.modules["step"], tmp_path / "step.onnx")
