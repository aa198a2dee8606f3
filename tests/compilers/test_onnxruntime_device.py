"""ONNX Runtime's device providers: nothing is written on a host without the device, and no node runs on the CPU unseen.

The CPU provider stands for a device's where a session has to run: all that is provider specific is a name.
"""

import dataclasses
import importlib
from pathlib import Path
from types import SimpleNamespace

import onnxruntime as ort
import pytest

from porting.compilers import (
    NEEDS_DEVICE,
    CompileRequest,
    compile_component,
    device_host,
    migraphx,
    onnxruntime_cuda,
    onnxruntime_device,
    onnxruntime_tensorrt,
)
from porting.compilers.base import BatchRange
from porting.compilers.onnxruntime_device import CPU, DeviceProvider, attest_profile, count_typed, write_typed
from porting.devices import Census, FoundDevice, find_devices
from porting.errors import CompileError
from porting.record import ArtifactRecord, Attestation
from tests.runners.artifacts import make_request

BACKENDS = {"onnxruntime_cuda": "sm_90", "onnxruntime_tensorrt": "sm_90", "migraphx": "gfx950", "tensorrt": "sm_90"}
STAND_IN = DeviceProvider(name=CPU, install="nothing", precisions=("fp32", "fp16"))


def request(backend: str, out_dir: Path, **changes: object) -> CompileRequest:
    asked = {"architecture": BACKENDS[backend], "precision": "fp16", **changes}
    return make_request(backend, out_dir).model_copy(update=asked)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_host_without_the_device_says_where_to_compile(backend: str, tmp_path: Path) -> None:
    found = {device.architecture for device in find_devices("cuda").devices}
    if backend in {"onnxruntime_cuda", "onnxruntime_tensorrt"} and BACKENDS[backend] in found:
        pytest.skip("this host has the device")
    record: ArtifactRecord = compile_component(request(backend, tmp_path))
    assert record.path is None
    assert record.attestation is None
    assert record.error is not None
    assert BACKENDS[backend] in record.error
    assert "run `worldport compile BUNDLE`" in record.error
    assert list(tmp_path.iterdir()) == []
    assert backend in NEEDS_DEVICE


@pytest.mark.parametrize("module", [onnxruntime_cuda, onnxruntime_tensorrt, migraphx], ids=lambda m: m.__name__)
def test_a_build_without_the_provider_says_what_to_install(
    module: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = module.__name__.rpartition(".")[2]
    device = FoundDevice("cuda", "fake", BACKENDS[backend])
    monkeypatch.setattr(device_host, "find_devices", lambda kind: Census(kind, (device,)))
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    with pytest.raises(CompileError, match=rf"has {CPU} and no {module.PROVIDER.name}; pip install 'worldport\["):
        module.compile_artifact(request(backend, tmp_path))


@pytest.mark.parametrize(
    ("backend", "changes", "words"),
    [
        ("onnxruntime_cuda", {"precision": "fp64"}, "ask for one of fp32, fp16, bf16"),
        ("onnxruntime_tensorrt", {"precision": "fp32"}, "ask for one of fp16, bf16"),
        ("migraphx", {"batch": BatchRange(usual=1, most=2)}, "compiles static shapes only"),
    ],
)
def test_what_a_provider_does_on_no_host_is_refused_first(
    backend: str, changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(CompileError, match=words):
        importlib.import_module(f"porting.compilers.{backend}").compile_artifact(request(backend, tmp_path, **changes))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "inductor"])
def test_a_batch_is_not_silently_ignored(backend: str, tmp_path: Path) -> None:
    asked = make_request(backend, tmp_path).model_copy(update={"batch": BatchRange(usual=1, most=2)})
    with pytest.raises(CompileError, match="compiles static shapes only"):
        importlib.import_module(f"porting.compilers.{backend}").compile_artifact(asked)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("architecture", ["sm_90", "gfx950"])
def test_a_cpus_artifact_does_not_pass_for_a_devices(backend: str, architecture: str, tmp_path: Path) -> None:
    asked = make_request(backend, tmp_path).model_copy(update={"architecture": architecture})
    with pytest.raises(CompileError, match=f"makes artifacts for a CPU, not for {architecture}"):
        importlib.import_module(f"porting.compilers.{backend}").compile_artifact(asked)


def typed(tmp_path: Path) -> tuple[CompileRequest, Path, dict[str, int]]:
    asked = request("onnxruntime_cuda", tmp_path)
    files, model = write_typed(asked)
    return asked, files[0], count_typed(model)


def test_what_ran_is_counted_by_place_and_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_device, "STRICT", {})  # the CPU is this stand-in's own device
    asked, artifact, typed_count = typed(tmp_path)
    found: Attestation = attest_profile(asked, STAND_IN, artifact)
    assert set(found.layers_by_backend) == {CPU}
    assert found.layers_by_precision["fp16"] > 0
    assert sum(found.layers_by_precision.values()) == found.layers_by_backend[CPU]
    assert found.detail["version"].startswith("onnxruntime")
    assert typed_count["fp16"] > 0
    assert set(typed_count) <= {"fp16", "integer"}
    assert {path.name for path in tmp_path.iterdir()} == {artifact.name}


def test_a_provider_that_does_not_start_is_refused(tmp_path: Path) -> None:
    """A name that this build does not know stands for one whose libraries are missing: both run on the CPU instead."""
    asked, artifact, _ = typed(tmp_path)
    absent = dataclasses.replace(STAND_IN, name="CUDAExecutionProvider")
    with pytest.warns(UserWarning, match="not in available provider names"), pytest.raises(CompileError) as caught:
        attest_profile(asked, absent, artifact)
    assert "does not start on this host, which would run it on CPUExecutionProvider" in str(caught.value)
    assert "explicitly disabled by the user" in str(caught.value)


def test_nodes_left_to_the_cpu_are_named(tmp_path: Path) -> None:
    """Azure's provider takes no node of any graph."""
    if "AzureExecutionProvider" not in ort.get_available_providers():
        pytest.skip("this build of onnxruntime has no provider that takes no nodes")
    asked, artifact, _ = typed(tmp_path)
    with pytest.raises(CompileError, match=r"AzureExecutionProvider leaves to the CPU: .*Conv 1.*use another backend"):
        attest_profile(asked, dataclasses.replace(STAND_IN, name="AzureExecutionProvider"), artifact)
