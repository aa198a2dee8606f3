"""Compiles in a child process: what comes back, what is attested, and how each kind of failure reads."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import onnx_ir as ir
import psutil
import pytest

from porting.compilers import CompileRequest, compile_component
from porting.compilers.base import check_attestation
from porting.errors import CompileError
from porting.record import Attestation
from tests.runners.artifacts import BACKENDS, SPEC, compiled, components_folder, make_request

SUFFIXES = {"onnxruntime": [".onnx"], "openvino": [".xml", ".bin"], "inductor": [".pt2"]}
QUICK = ("onnxruntime", "openvino")


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_artifact_and_its_attestation_come_back(backend: str) -> None:
    folder, record = compiled(backend)
    assert record.error is None
    assert record.files == tuple(f"small.{backend}{suffix}" for suffix in SUFFIXES[backend])
    assert record.path == record.files[0]
    assert all((folder / name).stat().st_size for name in record.files)
    assert record.compile_seconds is not None
    assert record.attestation is not None
    layers = record.attestation.layers_by_precision
    assert layers["fp32"] > 0
    assert set(layers) <= {"fp32", "integer"}
    assert sum(record.attestation.layers_by_backend.values()) == sum(layers.values())
    assert record.attestation.detail["version"]


def test_only_the_artifacts_are_left() -> None:
    folders = {compiled(backend)[0] for backend in QUICK}
    (folder,) = folders
    expected = {f"small.{backend}{suffix}" for backend in BACKENDS for suffix in SUFFIXES[backend]}
    assert {path.name for path in folder.iterdir()} <= expected


@pytest.mark.parametrize("backend", QUICK)
def test_the_same_component_gives_the_same_bytes_without_paths(backend: str, tmp_path: Path) -> None:
    moved = tmp_path / "another checkout"
    shutil.copytree(components_folder(), moved, ignore=shutil.ignore_patterns("artifacts"))
    request = make_request(backend, tmp_path / "out").model_copy(update={"components_dir": moved})
    record = compile_component(request)
    assert record.error is None
    for name in record.files:
        data = (tmp_path / "out" / name).read_bytes()
        assert hashlib.sha256(data).digest() == hashlib.sha256((compiled(backend)[0] / name).read_bytes()).digest()
        assert str(tmp_path).encode() not in data
        assert str(components_folder()).encode() not in data


def test_an_artifact_is_smaller_work_than_the_graph() -> None:
    """The saved graph was optimised: silu's two nodes are one."""
    folder, record = compiled("onnxruntime")
    operators = [node.op_type for node in ir.load(folder / record.files[0]).graph]
    assert "Sigmoid" in [node.op_type for node in ir.load(components_folder() / "small.onnx").graph]
    assert "Sigmoid" not in operators


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backend": "tensorflow"}, "no such backend; there are inductor, migraphx, onnxruntime, "),
        ({"components_dir": Path("/nowhere")}, "is not there; export the component first"),
        ({"precision": "fp16"}, "small for onnxruntime fp16: not supported; ask for one of fp32"),
    ],
)
def test_a_wrong_request_is_a_record_with_the_error(change: dict[str, object], words: str, tmp_path: Path) -> None:
    record = compile_component(make_request("onnxruntime", tmp_path).model_copy(update=change))
    assert record.error is not None
    assert words in record.error
    assert (record.path, record.files, record.attestation) == (None, (), None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", QUICK)
def test_a_damaged_graph_is_a_record_with_the_error(backend: str, tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes((components_folder() / "small.onnx").read_bytes()[:200])
    record = compile_component(make_request(backend, tmp_path / "out").model_copy(update={"components_dir": tmp_path}))
    assert record.error is not None
    assert f"small for {backend} fp32: {backend} refuses small.onnx" in record.error


def test_a_missing_cpp_compiler_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    record = compile_component(make_request("inductor", tmp_path))
    assert record.error == (
        "small for inductor fp32: needs a C++ compiler and finds no no-such-compiler; install g++ or set CXX"
    )


def run_instead(code: str, monkeypatch: pytest.MonkeyPatch, folder: Path, timeout: float = 60.0) -> str:
    """The error of a compile whose child runs this instead of the worker."""
    script = folder / "python"
    script.write_text(f"#!{sys.executable}\n{code}\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    request = make_request("onnxruntime", folder / "out").model_copy(update={"timeout_seconds": timeout})
    record = compile_component(request)
    assert record.path is None
    assert record.error is not None
    assert list((folder / "out").iterdir()) == []
    return record.error


def test_a_crash_is_named_with_the_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, signal; os.write(2, b'LLVM ERROR: oh dear'); os.kill(os.getpid(), signal.SIGSEGV)"
    error = run_instead(code, monkeypatch, tmp_path)
    assert "ended by SIGSEGV; its last words: LLVM ERROR: oh dear" in error


def test_a_traceback_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = run_instead("raise KeyError('weights')", monkeypatch, tmp_path)
    assert "exited with 1" in error
    assert "KeyError: 'weights'" in error


def test_a_child_that_says_nothing_has_not_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "left no answer" in run_instead("pass", monkeypatch, tmp_path)


def test_files_that_were_not_written_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "open('answer.json', 'w').write('{\"files\": [\"small.onnxruntime.onnx\"], \"attestation\": {}}')"
    assert "did not write ['small.onnxruntime.onnx']" in run_instead(code, monkeypatch, tmp_path)


def test_a_compile_that_hangs_ends_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    assert "took longer than 5 s" in run_instead(code, monkeypatch, tmp_path, timeout=5.0)
    child = psutil.Process(int(pid_file.read_text())) if psutil.pid_exists(int(pid_file.read_text())) else None
    if child is not None and child.status() != psutil.STATUS_ZOMBIE:
        child.wait(timeout=30)


def test_the_child_sees_a_clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_LOGS", "OV_CPU_DEBUG", "OMP_NUM_THREADS", "TRITON_INTERPRET"):
        monkeypatch.setenv(name, "1")
    error = run_instead("import os; raise SystemExit(repr(sorted(os.environ)))", monkeypatch, tmp_path)
    assert "'PATH'" in error
    for name in ("TORCH_LOGS", "OV_CPU_DEBUG", "OMP_NUM_THREADS", "TRITON_INTERPRET"):
        assert os.environ[name] == "1"
        assert name not in error


def attest(layers: dict[str, int]) -> Attestation:
    return Attestation(precision_asked="fp32", layers_by_precision=layers, layers_by_backend={}, read_from="a test")


@pytest.mark.parametrize("layers", [{"fp32": 4}, {"fp32": 1, "integer": 9}, {"fp32": 2, "fp64": 1}])
def test_an_attestation_with_the_precision_passes(layers: dict[str, int]) -> None:
    check_attestation(make_request("openvino", Path()), attest(layers))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ({}, "no layer computes in it"),
        ({"integer": 9}, "no layer computes in it"),
        ({"fp32": 0, "bf16": 3}, "no layer computes in it"),
        ({"fp32": 8, "bf16": 1}, "silently computes layers in {'bf16': 1}"),
        ({"fp32": 8, "int8": 2}, "silently computes layers in {'int8': 2}"),
    ],
)
def test_a_silent_fallback_is_refused(layers: dict[str, int], words: str) -> None:
    with pytest.raises(CompileError) as caught:
        check_attestation(make_request("openvino", Path()), attest(layers))
    assert words in str(caught.value)


def test_a_request_survives_json() -> None:
    request = make_request("openvino", Path("out"))
    assert CompileRequest.model_validate_json(request.model_dump_json()) == request
    assert request.component == SPEC
