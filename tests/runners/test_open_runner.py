"""Every backend's runner: right, bound without a copy, and strict about what it is bound to."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from porting.errors import BackendMissingError, RunnerError
from porting.runners import open_runner
from porting.runners.base import Buffer, Runner
from tests.runners.artifacts import BACKENDS, SPEC, compiled, expected, make_inputs, make_outputs


@pytest.fixture(params=BACKENDS)
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    folder, record = compiled(request.param)
    assert record.error is None
    opened = open_runner(request.param, folder, record, SPEC, threads=1)
    yield opened
    opened.close()


def assert_right(inputs: dict[str, Buffer], outputs: dict[str, Buffer]) -> None:
    for name, wanted in expected(inputs).items():
        np.testing.assert_allclose(outputs[name], wanted, rtol=1e-5, atol=1e-5, err_msg=name)


def test_outputs_are_the_modules_and_buffers_are_shared(runner: Runner) -> None:
    inputs, outputs = make_inputs(), make_outputs()
    addresses = {name: array.ctypes.data for name, array in outputs.items()}
    call = runner.bind(inputs, outputs)
    call()
    assert_right(inputs, outputs)
    for seed in (1, 2):
        for name, array in make_inputs(seed).items():
            inputs[name][...] = array
        call()
        assert_right(inputs, outputs)
    assert {name: array.ctypes.data for name, array in outputs.items()} == addresses


def test_two_bindings_of_one_artifact_do_not_meet(runner: Runner) -> None:
    bindings = [(make_inputs(seed), make_outputs()) for seed in range(2)]
    calls = [runner.bind(*buffers) for buffers in bindings]
    calls[0]()
    assert np.isnan(bindings[1][1]["y"]).all()
    calls[1]()
    for inputs, outputs in bindings:
        assert_right(inputs, outputs)


def test_a_call_keeps_its_buffers_alive(runner: Runner) -> None:
    outputs = make_outputs()
    call = runner.bind(make_inputs(3), outputs)  # the inputs have no other owner
    rubbish = [np.full((1, 4, 8, 8), np.nan, np.float32) for _ in range(64)]
    call()
    assert len(rubbish) == 64
    assert_right(make_inputs(3), outputs)


def change(name: str, array: Buffer | None) -> tuple[dict[str, Buffer], dict[str, Buffer]]:
    inputs, outputs = make_inputs(), make_outputs()
    side = outputs if name in outputs else inputs
    if array is None:
        del side[name]
    else:
        side[name] = array
    return inputs, outputs


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("x", np.zeros((1, 4, 8, 9), np.float32), "small.x: is (1, 4, 8, 9)"),
        ("x", np.zeros((1, 4, 8, 8), np.float64), "float64"),
        ("age", np.zeros(5, np.int32), "small.age: is (5,) int32"),
        ("age", None, "lacks ['age']"),
        ("noise", np.zeros(1, np.float32), "does not know ['noise']"),
        ("total", np.zeros((5, 1), np.float32), "small.total: is (5, 1)"),
        ("y", None, "lacks ['y']"),
        ("x", np.zeros((8, 8, 4, 1), np.float32).T, "C-contiguous"),
    ],
)
def test_buffers_that_do_not_fit_are_refused(runner: Runner, name: str, array: Buffer | None, words: str) -> None:
    with pytest.raises(RunnerError) as caught:
        runner.bind(*change(name, array))
    assert words in str(caught.value)


def test_an_output_over_an_input_is_refused(runner: Runner) -> None:
    inputs, outputs = make_inputs(), make_outputs()
    with pytest.raises(RunnerError, match="'passed' lies over input 'x'"):
        runner.bind(inputs, {**outputs, "passed": inputs["x"]})


def test_a_closed_runner_says_so(runner: Runner) -> None:
    call = runner.bind(make_inputs(), make_outputs())
    runner.close()
    with pytest.raises(RunnerError, match="closed"):
        call()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("index", [0, 1])
def test_another_components_artifact_is_refused(backend: str, index: int) -> None:
    folder, record = compiled(backend)
    wrong = SPEC.inputs[index].model_copy(update={"shape": (7,)})
    spec = SPEC.model_copy(update={"inputs": (*SPEC.inputs[:index], wrong, *SPEC.inputs[index + 1 :])})
    with pytest.raises(RunnerError, match=wrong.name):
        open_runner(backend, folder, record, spec, threads=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_artifact_with_another_output_is_refused(backend: str) -> None:
    folder, record = compiled(backend)
    renamed = SPEC.outputs[0].model_copy(update={"name": "other"})
    spec = SPEC.model_copy(update={"outputs": (renamed, *SPEC.outputs[1:])})
    with pytest.raises(RunnerError, match="other"):
        open_runner(backend, folder, record, spec, threads=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_damaged_file_is_refused(backend: str, tmp_path: Path) -> None:
    folder, record = compiled(backend)
    for name in record.files:
        (tmp_path / name).write_bytes((folder / name).read_bytes()[:100])
    with pytest.raises(RunnerError, match="small"):
        open_runner(backend, tmp_path, record, SPEC, threads=1)


def test_a_record_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    folder, record = compiled("onnxruntime")
    failed = record.model_copy(update={"path": None, "error": "no g++"})
    for opened, backend, words in (
        (failed, "onnxruntime", r"did not compile \(no g\+\+\)"),
        (record, "openvino", "artifact is small's on onnxruntime"),
        (record, "tensorflow", "no such backend; there are inductor, migraphx, onnxruntime, "),
    ):
        with pytest.raises(RunnerError, match=words):
            open_runner(backend, folder, opened, SPEC, threads=1)
    with pytest.raises(RunnerError, match="is not there"):
        open_runner("onnxruntime", tmp_path, record, SPEC, threads=1)
    with pytest.raises(RunnerError, match="on 0 threads"):
        open_runner("onnxruntime", folder, record, SPEC, threads=0)


@pytest.mark.parametrize(
    ("backend", "package"), [("onnxruntime", "onnxruntime"), ("openvino", "openvino"), ("inductor", "torch")]
)
def test_a_missing_backend_says_what_to_install(backend: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, record = compiled("onnxruntime")
    record = record.model_copy(update={"backend": backend})
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendMissingError, match=rf"{package}.*pip install 'worldport\["):
        open_runner(backend, folder, record, SPEC, threads=1)


def test_importing_the_runners_imports_no_backend() -> None:
    code = "import json, sys; import porting.runners, porting.rollout; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    assert not {"torch", "onnxruntime", "openvino"} & set(loaded)
