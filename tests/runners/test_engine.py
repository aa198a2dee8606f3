"""The runner of TensorRT's engines, on a fake device and fake bindings: copies, graphs, refusals, what is released."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx

from porting.compilers.base import BatchRange
from porting.errors import BackendMissingError, RunnerError
from porting.record import ArtifactRecord
from porting.runners import device, open_runner
from porting.runners.engine import EngineRunner
from porting.tensor_spec import Precision
from tests.compilers.attention import ATTENTION_SPEC, attended, attention_folder, attention_inputs
from tests.runners import fake_tensorrt
from tests.runners.artifacts import SPEC, compiled, expected, make_inputs, make_outputs, make_request
from tests.runners.fake_cuda import CudaError, FakeCuda
from tests.runners.fake_tensorrt import ProfilingVerbosity, World, install

Opener = Callable[..., EngineRunner]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, world: World) -> tuple[ModuleType, ModuleType]:
    return install(monkeypatch, world)


@pytest.fixture
def open_small(modules: tuple[ModuleType, ModuleType], tmp_path: Path) -> Opener:
    """Compile the small component and open it."""

    def open_it(precision: Precision = "fp32", **changes: object) -> EngineRunner:
        compiler, runner = modules
        request = make_request("tensorrt", tmp_path).model_copy(
            update={"architecture": "sm_120", "precision": precision, **changes}
        )
        files, _ = compiler.compile_artifact(request)
        opened: EngineRunner = runner.open_artifact(files[0], request.component, 1, precision)
        return opened

    return open_it


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 1e-2)])
def test_outputs_are_the_modules(open_small: Opener, world: World, precision: Precision, tolerance: float) -> None:
    runner = open_small(precision)
    inputs, outputs = make_inputs(), make_outputs()
    call = runner.bind(inputs, outputs)
    assert all(np.isnan(array).all() for array in outputs.values()), "binding showed a result"
    for seed in (0, 1, 2):
        for name, array in make_inputs(seed).items():
            inputs[name][...] = array
        call()
        for name, wanted in expected(inputs).items():
            np.testing.assert_allclose(outputs[name], wanted, rtol=tolerance, atol=tolerance, err_msg=name)
    assert world.cuda.calls.count("graph") == 3
    assert world.contexts[0].nvtx_verbosity == ProfilingVerbosity.NONE


def test_what_cannot_be_captured_is_launched(open_small: Opener, world: World) -> None:
    runner = open_small()
    world.cuda.capturable = False
    inputs, outputs = make_inputs(), make_outputs()
    call: Any = runner.bind(inputs, outputs)
    assert not call.captured
    call()
    np.testing.assert_allclose(outputs["y"], expected(inputs)["y"], rtol=1e-5, atol=1e-5)
    assert "graph" not in world.cuda.calls


def test_two_bindings_do_not_meet(open_small: Opener, world: World) -> None:
    runner = open_small()
    bound = [(make_inputs(seed), make_outputs()) for seed in range(2)]
    calls = [runner.bind(*buffers) for buffers in bound]
    calls[0]()
    assert np.isnan(bound[1][1]["y"]).all()
    calls[1]()
    for inputs, outputs in bound:
        np.testing.assert_allclose(outputs["y"], expected(inputs)["y"], rtol=1e-5, atol=1e-5)
    assert len(world.contexts) == 2


def test_closing_releases_the_device(open_small: Opener, world: World) -> None:
    runner = open_small()
    call = runner.bind(make_inputs(), make_outputs())
    assert len(world.cuda.live) > 6
    runner.close()
    assert world.cuda.live == {}
    with pytest.raises(RunnerError, match="closed"):
        call()
    with pytest.raises(RunnerError, match="closed"):
        runner.bind(make_inputs(), make_outputs())


def test_a_device_that_is_full_is_an_error_that_holds_nothing(open_small: Opener, world: World) -> None:
    runner = open_small()
    world.cuda.memory_bytes = 2000
    with pytest.raises(RunnerError, match="cudaErrorMemoryAllocation"):
        runner.bind(make_inputs(), make_outputs())
    runner.close()
    assert world.cuda.live == {}


def test_buffers_that_do_not_fit_are_refused(open_small: Opener) -> None:
    runner = open_small()
    with pytest.raises(RunnerError, match=r"small\.x: is"):
        runner.bind({**make_inputs(), "x": np.zeros((1, 4, 8, 9), np.float32)}, make_outputs())


def test_another_components_engine_is_refused(
    modules: tuple[ModuleType, ModuleType], open_small: Opener, tmp_path: Path
) -> None:
    open_small().close()
    other = SPEC.model_copy(update={"outputs": SPEC.outputs[:2]})
    with pytest.raises(RunnerError, match="passed"):
        modules[1].open_artifact(tmp_path / "small.tensorrt.plan", other, 1, "fp32")


def test_an_engine_with_an_open_batch_runs_one_world(modules: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    compiler, runner = modules
    request = make_request("tensorrt", tmp_path).model_copy(
        update={
            "component": ATTENTION_SPEC,
            "components_dir": attention_folder(),
            "architecture": "sm_120",
            "batch": BatchRange(usual=2, most=4),
        }
    )
    files, _ = compiler.compile_artifact(request)
    opened = runner.open_artifact(files[0], ATTENTION_SPEC, 1, "fp32")
    inputs, outputs = attention_inputs(), {"y": np.full((1, 6, 32), np.nan, np.float32)}
    opened.bind(inputs, outputs)()
    np.testing.assert_allclose(outputs["y"], attended(inputs), rtol=1e-5, atol=1e-5)


def edit_facts(folder: Path, **changes: object) -> Path:
    path = folder / "small.tensorrt.plan"
    file = path.with_suffix(".json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return path


@pytest.mark.parametrize(
    ("facts", "error", "words"),
    [
        ({"architectures": ["sm_90"]}, BackendMissingError, r"built for sm_90, and device 0 \(sm_120\) is another"),
        ({"architectures": ["sm_121"], "newer_architectures": True}, BackendMissingError, "built for sm_121"),
        ({"surprise": 1}, RunnerError, "does not say what it is for"),
    ],
)
def test_what_an_engine_is_for_is_held_against_the_device(
    modules: tuple[ModuleType, ModuleType],
    open_small: Opener,
    tmp_path: Path,
    facts: dict[str, object],
    error: type[Exception],
    words: str,
) -> None:
    open_small().close()
    with pytest.raises(error, match=words):
        modules[1].open_artifact(edit_facts(tmp_path, **facts), SPEC, 1, "fp32")


def test_an_engine_for_newer_devices_runs_on_one(
    modules: tuple[ModuleType, ModuleType], open_small: Opener, tmp_path: Path
) -> None:
    open_small().close()
    path = edit_facts(tmp_path, architectures=["sm_90"], newer_architectures=True)
    modules[1].open_artifact(path, SPEC, 1, "fp32").close()


def test_an_engine_that_does_not_load_says_by_whom_it_was_built(
    modules: tuple[ModuleType, ModuleType], open_small: Opener, world: World, tmp_path: Path
) -> None:
    open_small().close()
    world.loads = False
    with pytest.raises(RunnerError, match=r"built by tensorrt 10\.9\.0, cannot be loaded by 11\.4.*Serialization"):
        modules[1].open_artifact(edit_facts(tmp_path, version="10.9.0"), SPEC, 1, "fp32")
    assert world.cuda.live == {}


@pytest.mark.parametrize("architecture", ["sm_120", "sm_121"])
def test_a_real_engine_waits_for_its_device(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT-RTX's own bindings: no driver, then another device; the artifact is not to blame for either."""
    record = compiled_rtx(architecture)
    monkeypatch.setitem(sys.modules, device.BINDINGS, FakeCuda((9, 0)))
    with pytest.raises(BackendMissingError, match=f"built for {architecture}, and device 0 .sm_90. is another"):
        open_runner("tensorrt_rtx", *record, SPEC, threads=1)
    missing = FakeCuda()
    missing.status = CudaError.cudaErrorInsufficientDriver
    monkeypatch.setitem(sys.modules, device.BINDINGS, missing)
    monkeypatch.setattr(device, "ctypes", SimpleNamespace(CDLL=lambda name: None))
    with pytest.raises(BackendMissingError, match="cudaErrorInsufficientDriver"):
        open_runner("tensorrt_rtx", *record, SPEC, threads=1)


def compiled_rtx(architecture: str) -> tuple[Path, ArtifactRecord]:
    return compiled("tensorrt_rtx", architecture)


def test_the_rtx_runner_uses_what_the_installed_bindings_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its context is made from the engine's runtime configuration; every name is the bindings' own."""
    from porting.runners import tensorrt_rtx as runner

    made: list[object] = []
    config = SimpleNamespace(dynamic_shapes_kernel_specialization_strategy=None)
    engine = SimpleNamespace(create_runtime_config=lambda: config, create_execution_context=made.append)
    runner.make_context(engine)
    assert made == [config]
    assert vars(config).keys() <= set(dir(tensorrt_rtx.IRuntimeConfig))
    assert vars(engine).keys() <= set(dir(tensorrt_rtx.ICudaEngine))
    strategies = tensorrt_rtx.DynamicShapesKernelSpecializationStrategy
    assert config.dynamic_shapes_kernel_specialization_strategy == strategies.EAGER


def test_every_type_of_a_program_has_a_name() -> None:
    from porting.runners.engine import DTYPES

    assert DTYPES.keys() <= tensorrt_rtx.DataType.__members__.keys()
    assert DTYPES.keys() == set(fake_tensorrt.DataType.__members__) - {"INT8"}
