"""MIGraphX: what its driver prints of a compiled program, and AMD's devices by the kernel's own account."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from porting.compilers import device_host, migraphx
from porting.compilers.base import CompileRequest
from porting.devices import Census, FoundDevice
from porting.devices.census import Kind
from porting.errors import CompileError
from porting.record import Attestation
from tests.runners.artifacts import make_request

# As `migraphx-driver compile --gpu` prints it: release 2.15 of ROCm 7.2, whose form is public in several logs.
PROGRAM = """Running [ MIGraphX Version: 2.15.0 ]: migraphx-driver compile small.onnx --onnx --gpu
module: "main"
@0 = check_context::migraphx::gpu::context -> float_type, {}, {}
@1 = hip::hip_allocate_memory[shape=int8_type, {31360}, {1},id=main:scratch] -> int8_type, {31360}, {1}
@2 = hip::hip_copy_literal[id=main:@literal:0] -> half_type, {8, 4, 3, 3}, {36, 9, 3, 1} # node_conv
x = @param:x -> float_type, {1, 4, 8, 8}, {256, 64, 8, 1}
@4 = load[offset=6272,end=31360](@1) -> half_type, {1, 8, 8, 8}, {512, 64, 8, 1}
@5 = gpu::code_object[code_object=5632,symbol_name=convert_kernel,](x,@4) -> half_type, {1, 4, 8, 8}, {256, 64, 8, 1}
@6 = gpu::code_object[code_object=5384,symbol_name=mlir_convolution_add,](@5,@2,@4) -> half_type, {1, 8}, {8, 1} # node
age = @param:age -> int64_type, {5}, {1}
@8 = gpu::code_object[code_object=1,symbol_name=greater_kernel,global=5,local=5,](age) -> bool_type, {5}, {1}
main:#output_0 = @param:main:#output_0 -> float_type, {1, 8, 8, 8}, {512, 64, 8, 1}
@10 = gpu::gemm[alpha=1,beta=0](@6,@6,main:#output_0) -> float_type, {1, 8, 8, 8}, {512, 64, 8, 1}
"""


def census_of(architecture: str) -> Callable[[Kind], Census]:
    return lambda kind: Census(kind, (FoundDevice(kind, "fake", architecture),))


def test_instructions_on_the_device_count_as_the_coarsest_they_touch() -> None:
    assert migraphx.read_program(PROGRAM) == {"fp16": 3, "integer": 1}


@pytest.mark.parametrize(
    ("line", "precision"),
    [
        ("@1 = gpu::code_object[symbol_name=k,]() -> float_type, {4}, {1}", "fp32"),
        ("@1 = gpu::code_object[symbol_name=k,]() -> bf16_type, {4}, {1}", "bf16"),
        ("@1 = gpu::code_object[symbol_name=k,]() -> fp8e4m3fn_type, {4}, {1}", "fp8e4m3fn_type"),
    ],
)
def test_a_type_that_is_not_known_cannot_hide(line: str, precision: str) -> None:
    assert migraphx.read_program(line) == {precision: 1}


@pytest.mark.parametrize(
    "text", ["", "module: main", "@0 = check_context::migraphx::gpu::context -> float_type, {}, {}"]
)
def test_a_program_without_instructions_has_no_precision(text: str) -> None:
    assert migraphx.read_program(text) == {}


def driver(folder: Path, code: str) -> str:
    script = folder / "migraphx-driver"
    script.write_text(f"#!{sys.executable}\n{code}\n", encoding="utf-8")
    script.chmod(0o755)
    return str(script)


def request(out_dir: Path) -> CompileRequest:
    return make_request("migraphx", out_dir).model_copy(update={"architecture": "gfx950", "precision": "fp16"})


def test_the_driver_is_given_the_graph_and_its_words_are_read(tmp_path: Path) -> None:
    path = driver(
        tmp_path,
        f"import sys\nassert sys.argv[1] == 'compile' and sys.argv[3:] == ['--onnx', '--gpu']\nprint({PROGRAM!r})",
    )
    assert migraphx.read_program(migraphx.compile_program(request(tmp_path), path, tmp_path / "g.onnx"))["fp16"] == 3


def test_a_driver_that_fails_or_hangs_is_an_error(tmp_path: Path) -> None:
    asked = request(tmp_path)
    failing = driver(tmp_path, "import sys; sys.exit('Unknown operator: wm')")
    with pytest.raises(CompileError, match=r"migraphx-driver refuses g\.onnx \(Unknown operator: wm\)"):
        migraphx.compile_program(asked, failing, tmp_path / "g.onnx")
    hanging = driver(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(CompileError, match="does not run"):
        migraphx.compile_program(asked.model_copy(update={"timeout_seconds": 0.5}), hanging, tmp_path / "g.onnx")


@pytest.mark.parametrize("installed", [True, False])
def test_precision_comes_from_the_driver_where_there_is_one(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = Attestation(
        precision_asked="fp16",
        layers_by_precision={"fp32": 1},
        layers_by_backend={"MIGraphXExecutionProvider": 1},
        read_from="onnxruntime profile",
    )
    monkeypatch.setattr(device_host, "find_devices", census_of("gfx950"))
    monkeypatch.setattr(migraphx, "require_provider", lambda *_: None)
    monkeypatch.setattr(migraphx, "attest_profile", lambda *_: placed)
    path = driver(tmp_path, f"print({PROGRAM!r})") if installed else None
    monkeypatch.setattr(migraphx, "find_driver", lambda: path)
    (artifact,), found = migraphx.compile_artifact(request(tmp_path))
    assert artifact.name == "small.migraphx.onnx"
    assert found.layers_by_backend == placed.layers_by_backend
    if installed:
        assert found.layers_by_precision == {"fp16": 3, "integer": 1}
        assert found.read_from == "onnxruntime profile, migraphx-driver"
    else:
        assert set(found.layers_by_precision) <= {"fp16", "integer"}
        assert "migraphx-driver is not installed" in found.detail["precision"]


def test_the_driver_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migraphx, "ROCM_PROGRAMS", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert migraphx.find_driver() is None
    path = driver(tmp_path, "")
    assert migraphx.find_driver() == path


def test_another_device_is_refused_with_what_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device_host, "find_devices", census_of("gfx1201"))
    with pytest.raises(
        CompileError, match="needs the gfx950 device, and this host has gfx1201; run `worldport compile"
    ):
        device_host.require_device(request(tmp_path))
