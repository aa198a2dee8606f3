"""TensorRT-RTX engines, really built: for which devices, in which precisions, and what became one kernel."""

import hashlib
import json
from pathlib import Path

import pytest
import tensorrt_rtx

from porting.adapters.registry import load_world_model
from porting.compilers import BatchRange, CompileRequest, compile_component
from porting.compilers import tensorrt_rtx as compiler
from porting.compilers.myelin_plan import PlanReading, read_plan
from porting.errors import CompileError
from porting.export import export_component
from porting.record import Attestation
from tests.compilers.attention import ATTENTION_SPEC, attention_folder
from tests.compilers.test_myelin_plan import CAST, FLOAT, plan
from tests.runners.artifacts import compiled, make_request


def request(out_dir: Path, **changes: object) -> CompileRequest:
    return make_request("tensorrt_rtx", out_dir).model_copy(update={"architecture": "sm_120", **changes})


def attention_request(out_dir: Path, **changes: object) -> CompileRequest:
    return request(out_dir, component=ATTENTION_SPEC, components_dir=attention_folder(), **changes)


@pytest.mark.parametrize("architecture", ["sm_120", "sm_121"])
def test_an_engine_comes_back_with_what_is_in_it(architecture: str) -> None:
    folder, record = compiled("tensorrt_rtx", architecture)
    assert record.error is None
    assert record.files == ("small.tensorrt_rtx.plan", "small.tensorrt_rtx.json")
    assert json.loads((folder / record.files[1]).read_text()) == {
        "architectures": [architecture],
        "backend": "tensorrt_rtx",
        "precision": "fp32",
        "version": tensorrt_rtx.__version__,
    }
    assert record.attestation is not None
    layers = record.attestation.layers_by_precision
    assert set(layers) <= {"fp32", "integer"}
    assert layers["fp32"] > 0
    assert sum(layers.values()) == sum(record.attestation.layers_by_backend.values())
    assert record.attestation.detail["TF32"] == "off"
    assert record.attestation.detail["architecture"] == architecture.replace("_", "")
    assert {path.name for path in folder.iterdir()} == set(record.files)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_is_in_every_kernel_and_attention_is_one(precision: str, tmp_path: Path) -> None:
    record = compile_component(attention_request(tmp_path, precision=precision))
    assert record.error is None
    assert record.attestation is not None
    assert set(record.attestation.layers_by_precision) <= {precision, "integer"}
    assert record.attestation.layers_by_backend["fused attention"] == 1
    assert record.attestation.detail["attention"].startswith("1 of 1 are one kernel")
    assert record.attestation.detail["change of types"].startswith("3 casts, 0 nodes with float32 operands")


def test_fp32_has_no_fused_attention_and_says_so(tmp_path: Path) -> None:
    _, attestation = compiler.compile_artifact(attention_request(tmp_path))
    assert attestation.detail["attention"] == "0 of 1 are one kernel (as exported)"
    assert "fused attention" not in attestation.layers_by_backend


def test_attention_as_one_operator_is_one_kernel_too(tmp_path: Path) -> None:
    built = compiler.build_engine(attention_request(tmp_path, precision="fp16"), rewrite=True)
    assert (built.fused, built.attentions) == (1, 1)
    with pytest.raises(CompileError, match="not supported by a dedicated kernel"):
        compiler.build_engine(attention_request(tmp_path), rewrite=True)
    assert list(tmp_path.iterdir()) == []


def test_a_range_of_batches_is_built_with_its_profile(tmp_path: Path) -> None:
    batch = BatchRange(least=1, usual=4, most=8)
    built = compiler.build_engine(attention_request(tmp_path, precision="bf16", batch=batch), rewrite=False)
    assert built.fused == 1
    assert {kernel.precision for kernel in built.reading.kernels} <= {"bf16", "integer"}
    static = compiler.build_engine(attention_request(tmp_path, precision="bf16"), rewrite=False)
    assert "computation of shapes" in built.reading.count("kind")
    assert "computation of shapes" not in static.reading.count("kind")


def test_the_same_request_gives_the_same_bytes_from_any_folder(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "another"):
        record = compile_component(request(tmp_path / name))
        assert record.path is not None
        data = (tmp_path / name / record.path).read_bytes()
        assert str(tmp_path).encode() not in data
        digests.add(hashlib.sha256(data).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("architecture", ["sm_90", "sm_100", "sm_103", "sm_107", "gfx950"])
def test_a_device_that_is_not_offered_is_refused_with_those_that_are(architecture: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError) as caught:
        compiler.compile_artifact(request(tmp_path, architecture=architecture))
    offered = ", ".join(compiler.list_architectures())
    assert f"builds for {offered}, not for {architecture}" in str(caught.value)
    assert "sm_120, sm_121" in offered


def test_an_architecture_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"no architecture was named; set device\.architecture"):
        compiler.compile_artifact(request(tmp_path, architecture=None))


def test_a_precision_that_it_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="ask for one of fp32, fp16, bf16"):
        compiler.compile_artifact(request(tmp_path, precision="fp64"))


def attest(data: bytes, **changes: object) -> Attestation:
    return compiler.attest(request(Path(), **changes), read_plan(data), {})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (plan(CAST, version=6), r"plans of format \(6,\), which this version of worldport cannot read"),
        (b"", "plans of format unknown"),
        (plan(FLOAT, architectures="sm121"), "the plan is for sm121"),
        (plan(FLOAT, architectures="sm121 sm120"), "the plan is for sm120, sm121"),
        (plan(FLOAT, tf32=1), "allows TF32, which is coarser"),
    ],
)
def test_a_plan_that_is_not_what_was_asked_for_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(CompileError, match=words):
        attest(data)


def test_a_plan_that_is_passes() -> None:
    assert attest(plan(FLOAT)).layers_by_precision == {"fp32": 1}
    assert attest(plan(CAST, tf32=1), precision="fp16").detail["TF32"] == "allowed"


def test_without_clearing_the_flag_the_plan_would_allow_tf32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the plan is read for: TensorRT's default."""
    readings: list[PlanReading] = []
    original = tensorrt_rtx.IBuilderConfig.clear_flag
    for clear in (original, lambda config, flag: None):
        monkeypatch.setattr(tensorrt_rtx.IBuilderConfig, "clear_flag", clear)
        readings.append(compiler.build_engine(request(tmp_path), rewrite=False).reading)
    assert [reading.tf32 for reading in readings] == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_bundled_denoiser(precision: str, bundled: tuple[Path, CompileRequest], tmp_path: Path) -> None:
    _, asked = bundled
    record = compile_component(asked.model_copy(update={"precision": precision, "out_dir": tmp_path}))
    assert record.error is None
    assert record.attestation is not None
    fused = 0 if precision == "fp32" else 3
    assert record.attestation.detail["attention"] == f"{fused} of 3 are one kernel (as exported)"
    assert set(record.attestation.layers_by_precision) == {precision}


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompileRequest]:
    folder = tmp_path_factory.mktemp("bundled")
    model = load_world_model("bundled:gwm-mini-worlds")
    record = export_component(model, "denoiser", folder, 20)
    asked = request(folder / "out", component=model.program.component("denoiser"), components_dir=folder)
    assert record.name == "denoiser"
    return folder, asked


def test_the_bundled_denoiser_in_bf16_for_gb10(bundled: tuple[Path, CompileRequest], tmp_path: Path) -> None:
    _, asked = bundled
    changes = {"precision": "bf16", "architecture": "sm_121", "out_dir": tmp_path}
    record = compile_component(asked.model_copy(update=changes))
    assert record.error is None
    assert record.attestation is not None
    assert record.attestation.layers_by_backend["fused attention"] == 3
