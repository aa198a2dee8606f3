"""Whole compiles: what is written, that it is the same everywhere, and that only the request decides it."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import porting.kernel_compiler as compiler
from porting.kernel_compiler import compile_kernels, compile_requests, fill_cache, make_request, name_variants
from porting.kernel_compiler.request import KernelRequest
from porting.kernel_library import load_kernel
from tests.kernel_compiler.sources import ADD, ARCHITECTURES, compiled, read, write_kernel, write_product


def test_every_cell_is_a_binary_for_its_chip_or_has_a_reason() -> None:
    folder, records = compiled()
    assert len(records) == 2 * len(ARCHITECTURES) + 2
    for (kernel, variant, architecture), record in records.items():
        if (variant, architecture) == ("float8_e4m3fn", "cuda:80"):
            assert record.error is not None
            assert "fp8e4nv not supported in this architecture" in record.error
            assert (record.files, record.architecture_found, record.unsupported) == ((), None, False)
            continue
        assert record.error is None
        assert record.architecture_found == architecture
        chip = architecture.partition(":")[2] if architecture.startswith("hip") else f"sm_{architecture[5:]}"
        suffixes = (".hsaco", ".amdgcn") if architecture.startswith("hip") else (".cubin", ".ptx")
        assert record.files == tuple(f"{kernel}.{variant}.{chip}{suffix}" for suffix in (*suffixes, ".json"))
        assert all((folder / "out" / name).stat().st_size for name in record.files)
        assert read(record, suffixes[0])[:4] == b"\x7fELF"
        assert record.tensor_cores_claimed is (kernel == "product")
        if record.tensor_cores_claimed and (variant, architecture) != ("float8_e4m3fn", "hip:gfx942"):
            assert record.native_tensor_instructions
    written = {path.name for path in (folder / "out").iterdir()}
    assert written == {name for record in records.values() for name in record.files}


def test_metadata_says_how_to_launch() -> None:
    record = compiled()[1]["add", "float32", "cuda:90"]
    facts = json.loads(read(record, ".json"))
    assert facts["symbol"] == record.symbol == "kernel"
    assert facts["grid"] == [1024]
    assert record.programs == 1024
    assert (facts["warps"], facts["warp_size"], facts["shared_bytes"]) == (4, 32, 0)
    assert facts["tuning"] == {"BLOCK": 256, "num_warps": 4}
    assert [(argument["name"], argument["type"]) for argument in facts["arguments"]] == [
        ("x_ptr", "*fp32"),
        ("y_ptr", "*fp32"),
        ("out_ptr", "*fp32"),
        ("n", "i32"),
        # A size of 1 is compiled in.
        ("one", "constexpr"),
        ("half", "fp32"),
        ("BLOCK", "constexpr"),
    ]
    values = {argument["name"]: argument.get("value") for argument in facts["arguments"]}
    assert (values["one"], values["BLOCK"]) == (1, 256)
    aligned = {argument["name"]: argument["divisible_by"] for argument in facts["arguments"]}
    assert (aligned["x_ptr"], aligned["n"], aligned["half"]) == (16, 16, None)


def test_parameters_of_the_text_are_those_of_the_metadata() -> None:
    """Run-time arguments in order, and two pointers to scratch memory behind them."""
    for architecture, wanted in (("cuda:90", ".param"), ("hip:gfx942", ".offset:")):
        record = compiled()[1]["add", "float32", architecture]
        runtime = [a for a in json.loads(read(record, ".json"))["arguments"] if a["type"] != "constexpr"]
        suffix = ".ptx" if architecture.startswith("cuda") else ".amdgcn"
        lines = [line for line in read(record, suffix).decode().splitlines() if line.strip(" -\t").startswith(wanted)]
        assert len(lines) == len(runtime) + 2


def test_the_same_bytes_from_another_checkout_and_in_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("TRITON_ALWAYS_COMPILE", "1"),
        ("TRITON_DISABLE_LINE_INFO", "0"),
        ("TRITON_DEFAULT_FP_FUSION", "0"),
        ("DISABLE_PTXAS_OPT", "1"),
        ("TRITON_CACHE_DIR", str(tmp_path / "foreign")),
    ):
        monkeypatch.setenv(name, value)
    moved = write_product(tmp_path / "another checkout" / "kernels")
    kernel = load_kernel(moved)
    asked = [make_request(kernel, "bfloat16", architecture) for architecture in ("cuda:90", "cuda:107", "hip:gfx1250")]
    records = compile_requests(asked, tmp_path / "cache", 2, tmp_path / "out")
    for record in records:
        first = compiled()[1]["product", "bfloat16", record.architecture]
        assert record.files == first.files
        assert record.model_copy(update={"compile_seconds": None}) == first.model_copy(update={"compile_seconds": None})
        for name in record.files:
            data = (tmp_path / "out" / name).read_bytes()
            assert data == (compiled()[0] / "out" / name).read_bytes()
            assert str(tmp_path).encode() not in data
            assert str(compiled()[0]).encode() not in data
    assert not (tmp_path / "foreign").exists()


def test_a_variant_that_the_kernel_does_not_claim_is_no_record(tmp_path: Path) -> None:
    kernel = load_kernel(write_product(tmp_path))
    assert name_variants(kernel) == ("bfloat16", "float8_e4m3fn")
    assert name_variants(kernel, ("bfloat16", "float32", "nvfp4")) == ("bfloat16",)
    kernels = {"product": kernel}
    assert compile_kernels(kernels, "cuda:90", ("float64",), tmp_path / "out", tmp_path / "cache", 1) == ()


def test_what_the_file_excludes_is_not_compiled_and_its_old_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = '\nUNSUPPORTED = {"cuda:80 float8_e4m3fn": "sm_80 has no fp8", "hip:gfx942": "no reason to"}\n'
    kernels = {"product": load_kernel(write_product(tmp_path, more=more))}
    asked: list[KernelRequest] = []

    def compile_nothing(requests: Sequence[KernelRequest], jobs: int) -> Iterator[Any]:
        asked.extend(requests)
        raise InterruptedError

    monkeypatch.setattr(compiler, "answer_requests", compile_nothing)
    out = tmp_path / "out"
    out.mkdir()
    (out / "product.bfloat16.gfx942.hsaco").write_bytes(b"of an older version")
    (out / "product.bfloat16.gfx9420.hsaco").write_bytes(b"of another chip")
    with pytest.raises(InterruptedError):
        compile_kernels(kernels, "hip:gfx942", None, out, tmp_path / "cache", 1)
    assert asked == []
    with pytest.raises(InterruptedError):
        fill_cache(kernels, ("cuda:80", "hip:gfx942"), None, tmp_path / "cache", 1)
    assert [(request.variant, request.architecture) for request in asked] == [("bfloat16", "cuda:80")]


def test_an_excluded_kernel_is_a_record_with_the_files_own_reason(tmp_path: Path) -> None:
    more = '\nUNSUPPORTED = {"hip:gfx942": "no reason to"}\n'
    kernels = {"add": load_kernel(write_kernel(tmp_path, "add", ADD, more=more))}
    (record,) = compile_kernels(kernels, "hip:gfx942", None, tmp_path / "out", tmp_path / "cache", 1)
    assert (record.error, record.unsupported, record.files) == ("no reason to", True, ())


def test_a_second_run_reads_and_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, records = compiled()
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("compiles again"))
    kernels = {"product": load_kernel(folder / "source" / "product.py")}
    for architecture in ("cuda:100", "cuda:80"):
        again = compile_kernels(kernels, architecture, None, tmp_path, folder / "cache", 2)
        variants = name_variants(kernels["product"])
        assert list(again) == [records["product", variant, architecture] for variant in variants]
        for record in again:
            for name in record.files:
                assert (tmp_path / name).read_bytes() == (folder / "out" / name).read_bytes()


def test_a_file_that_changed_since_it_was_loaded_is_said_so(tmp_path: Path) -> None:
    path = write_kernel(tmp_path, "add", ADD)
    kernel = load_kernel(path)
    path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    (record,) = compile_kernels({"add": kernel}, "cuda:90", None, tmp_path / "out", tmp_path / "cache", 1)
    assert record.error is not None
    assert "was changed while it was compiled" in record.error
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert os.listdir(tmp_path / "out") == []
