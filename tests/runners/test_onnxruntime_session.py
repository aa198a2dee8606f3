"""ONNX Runtime's providers as runners: strict about where nodes run, and buffers that stay where they are."""

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from porting.errors import BackendMissingError, RunnerError
from porting.runners import migraphx, onnxruntime_cuda, onnxruntime_tensorrt, open_runner
from porting.runners.onnxruntime_session import CPU, OnnxRuntimeRunner, Placement, bind_device
from tests.runners.artifacts import SPEC, compiled, expected, make_inputs, make_outputs

STAND_IN = Placement(backend="stand-in", buffers="cpu")
"""The CPU's provider with the buffers of a device: what is bound is not the host's memory."""


def artifact() -> Path:
    folder, record = compiled("onnxruntime")
    assert record.path is not None
    return folder / record.path


@pytest.mark.parametrize("module", [onnxruntime_cuda, onnxruntime_tensorrt, migraphx], ids=lambda m: m.__name__)
def test_a_build_without_the_provider_says_what_to_install(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    placement: Placement = module.PLACEMENT  # type: ignore[attr-defined]
    folder, record = compiled("onnxruntime")
    renamed = record.model_copy(update={"backend": placement.backend})
    with pytest.raises(BackendMissingError, match=rf"has {CPU} and no {placement.provider}; pip install 'worldport\["):
        open_runner(placement.backend, folder, renamed, SPEC, threads=1)


def test_a_provider_that_does_not_start_is_this_hosts_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that this build does not know stands for one whose libraries are missing: both run on the CPU instead."""
    provider = "CUDAExecutionProvider"
    monkeypatch.setattr(ort, "get_available_providers", lambda: [provider, CPU])
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(BackendMissingError, match=rf"{provider} does not start on this host \(it would run on {CPU}\)"),
    ):
        OnnxRuntimeRunner(dataclasses.replace(STAND_IN, provider=provider), artifact(), SPEC, 1)


def test_nodes_on_the_cpu_are_the_artifacts_fault() -> None:
    """Azure's provider starts everywhere and takes no node."""
    if "AzureExecutionProvider" not in ort.get_available_providers():
        pytest.skip("this build of onnxruntime has no provider that takes no nodes")
    placement = dataclasses.replace(STAND_IN, provider="AzureExecutionProvider")
    with pytest.raises(RunnerError, match="explicitly disabled by the user") as caught:
        OnnxRuntimeRunner(placement, artifact(), SPEC, 1)
    assert not isinstance(caught.value, BackendMissingError)


def test_buffers_of_a_device_carry_values_both_ways() -> None:
    runner = OnnxRuntimeRunner(STAND_IN, artifact(), SPEC, 1)
    inputs, outputs = make_inputs(), make_outputs()
    call = runner.bind(inputs, outputs)
    assert all(np.isnan(array).all() for array in outputs.values())
    for seed in range(3):
        for name, array in make_inputs(seed).items():
            inputs[name][...] = array
        call()
        for name, wanted in expected(inputs).items():
            np.testing.assert_allclose(outputs[name], wanted, rtol=1e-5, atol=1e-5, err_msg=name)
    runner.close()
    with pytest.raises(RunnerError, match="closed"):
        call()


def test_each_bound_call_has_a_graph_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider replays the graph of that number, with the addresses that it was captured with."""
    session = ort.InferenceSession(artifact(), providers=[CPU])
    given: list[str] = []

    class Options(ort.RunOptions):  # type: ignore[misc]
        def add_run_config_entry(self, key: str, value: str) -> None:
            given.append(f"{key}={value}")

    monkeypatch.setattr(ort, "RunOptions", Options)
    for _ in range(2):
        bind_device(session, make_inputs(), make_outputs(), "cpu")
    assert len(set(given)) == 2
    assert all(entry.startswith("gpu_graph_id=") for entry in given)


def test_a_broken_file_is_the_artifacts_fault(tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes(b"no graph")
    with pytest.raises(RunnerError, match="compile the component again") as caught:
        OnnxRuntimeRunner(STAND_IN, tmp_path / "small.onnx", SPEC, 1)
    assert not isinstance(caught.value, BackendMissingError)


def test_the_cuda_runner_keeps_float32_whole() -> None:
    assert onnxruntime_cuda.PLACEMENT.options == {"use_tf32": "0", "enable_cuda_graph": "1"}
