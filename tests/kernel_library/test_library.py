"""Kernel files by path: what is found, what is refused before and after it runs, and what a loaded kernel offers."""

import hashlib
import inspect
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from porting import content
from porting.errors import KernelError
from porting.kernel_library import find_kernels, kernel_paths, load_kernel
from porting.kernel_library.interpreter import mend_interpreter

SOURCE = '''"""Twice x, in float32. Shapes: x, y (n,). Source: arithmetic."""

import torch
import triton
import triton.language as tl
from torch import Tensor

DEFAULTS = {"BLOCK": 64}


@triton.jit
def kernel(x_ptr, y_ptr, n, factor, BLOCK: tl.constexpr):
    """One block."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place, mask=place < n, other=0.0)
    tl.store(y_ptr + place, x * factor, mask=place < n)


def reference(x: Tensor, factor: float) -> Tensor:
    """The same in PyTorch."""
    return x * factor


def launch(x: Tensor, factor: float, **tuning: int) -> Tensor:
    """Run the kernel."""
    y = torch.empty_like(x)
    options = {**DEFAULTS, **tuning}
    kernel[(triton.cdiv(x.numel(), options["BLOCK"]),)](x, y, x.numel(), factor, **options)
    return y


DTYPES = (torch.float32, torch.bfloat16)


def example(n: int, dtype: torch.dtype) -> tuple[Tensor, float]:
    """x and factor."""
    return torch.randn(n).to(dtype), 2.0


EXAMPLES = ((64,), (67,))
TYPICAL = (1000,)
TENSOR_CORES = False
TUNABLES = {"default": DEFAULTS, "cuda:100": {"BLOCK": 128, "num_warps": 8}, "hip:gfx950": {"BLOCK": 256}}
SEARCH = {"BLOCK": (64, 128, 256), "num_warps": (1, 2, 4, 8)}
UNSUPPORTED = {"cuda:75 bfloat16": "no bf16 arithmetic"}
'''


def write(folder: Path, source: str = SOURCE, name: str = "twice.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(source, encoding="utf-8")
    return path


def test_every_part_is_there_after_loading(tmp_path: Path) -> None:
    path = write(tmp_path)
    kernel = load_kernel(path)
    assert (kernel.name, kernel.path) == ("twice", path)
    assert kernel.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert kernel.docstring.startswith("Twice x")
    assert kernel.variants == kernel.dtypes == (torch.float32, torch.bfloat16)
    assert kernel.formats == ()
    assert kernel.examples == ((64,), (67,))
    x, factor = kernel.inputs((67,), torch.bfloat16)
    mend_interpreter()
    launched, expected = kernel.launch(x, factor), kernel.reference(x, factor)
    assert isinstance(launched, torch.Tensor)
    assert isinstance(expected, torch.Tensor)
    assert torch.equal(launched, expected)


def test_tuning_is_the_default_and_what_differs(tmp_path: Path) -> None:
    kernel = load_kernel(write(tmp_path))
    assert kernel.tuning_for("cuda:100") == {"BLOCK": 128, "num_warps": 8}
    assert kernel.tuning_for("cuda:107") == {"BLOCK": 64}
    with pytest.raises(KernelError, match=r"'sm_100' is no architecture; write it as 'cuda:100'"):
        kernel.tuning_for("sm_100")


def test_a_loaded_module_can_be_inspected_and_pickled(tmp_path: Path) -> None:
    kernel = load_kernel(write(tmp_path))
    assert "x * factor" in inspect.getsource(kernel.reference)
    assert pickle.loads(pickle.dumps(kernel.reference)) is kernel.reference


def test_the_same_file_is_one_module_and_a_changed_one_another(tmp_path: Path) -> None:
    path = write(tmp_path)
    first = load_kernel(path)
    assert load_kernel(path).module is first.module
    write(tmp_path, SOURCE.replace("Twice x", "Two times x"))
    second = load_kernel(path)
    assert second.module is not first.module
    assert second.digest != first.digest


def test_a_change_of_the_same_size_in_the_same_second_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path)
    stamp = path.stat().st_mtime
    assert load_kernel(path).typical == (1000,)
    write(tmp_path, SOURCE.replace("TYPICAL = (1000,)", "TYPICAL = (2000,)"))
    os.utime(path, (stamp, stamp))
    assert load_kernel(path).typical == (2000,)
    assert [entry.name for entry in tmp_path.iterdir()] == ["twice.py"]


def test_the_name_of_the_module_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    one, other = (load_kernel(write(tmp_path / name)).module for name in ("here", "there"))
    assert one is not other
    assert one.__name__ == other.__name__


def test_the_project_s_own_kernels_are_found_without_torch_and_triton() -> None:
    code = (
        "import sys; from porting.kernel_library import kernel_paths; names = list(kernel_paths());"
        "assert not {'torch', 'triton'} & sys.modules.keys(); print(*names)"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    expected = sorted(path.stem for path in content.folder("kernels").glob("*.py"))
    assert listed.stdout.split() == list(kernel_paths()) == expected
    assert "adaln" in expected


def test_a_user_s_own_folder_stands_beside_the_project_s(tmp_path: Path) -> None:
    write(tmp_path)
    paths = kernel_paths([content.folder("kernels"), tmp_path])
    assert paths["twice"] == tmp_path / "twice.py"
    assert "adaln" in paths
    assert list(find_kernels([tmp_path])) == ["twice"]


def test_two_files_of_one_name_are_refused_and_both_are_named(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    with pytest.raises(KernelError, match="has the same name") as caught:
        kernel_paths([first.parent, second.parent])
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)
    assert kernel_paths([first.parent, first.parent]) == {"twice": first}


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="no such folder of kernels"):
        find_kernels([tmp_path / "nowhere"])


def test_a_package_is_no_folder_of_kernels(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "", "__init__.py")
    with pytest.raises(KernelError, match="is no package; remove the file"):
        find_kernels([tmp_path])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("select.py", "is named like the module select"),
        ("torch.py", "is named like the module torch"),
        ("two-times.py", "its name is no Python name"),
        ("twice.txt", "its name is no Python name"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(KernelError, match=words):
        load_kernel(write(tmp_path, name=name))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="cannot be read"):
        load_kernel(tmp_path / "twice.py")


BROKEN = [
    ('"""Twice x, in float32. Shapes: x, y (n,). Source: arithmetic."""', "", "has no docstring"),
    ("import torch\n", "import torch\nimport numpy\n", "twice.py:4: imports numpy"),
    ("import torch\n", "import torch\nfrom porting import record\n", "imports porting"),
    ("import torch\n", "import torch\nfrom . import other\n", "imports .; a kernel file"),
    ("import torch\n", "import torch\nimport triton.nothing\n", "imports triton.nothing, which is not installed"),
    ("DEFAULTS = ", "DEFAULTS = unknown or ", "cannot be executed (NameError"),
    ("def launch(", "def launch((", "is not Python"),
    ("@triton.jit\n", "", "kernel is function; decorate"),
    ("@triton.jit\n", "@triton.autotune([triton.Config({})], key=[])\n@triton.jit\n", "kernel is Autotuner"),
    ("def kernel(", "def other(", "lacks kernel;"),
    ("def reference(", "def other(", "lacks reference;"),
    ("def example(", "def other(", "lacks example;"),
    ("TYPICAL = (1000,)\n", "", "lacks TYPICAL;"),
    ("DTYPES = ", "OTHER = ", "lacks DTYPES or FORMATS (one of the two)"),
    ("DTYPES = ", 'FORMATS = ("fp8",)\nDTYPES = ', "lacks DTYPES or FORMATS (one of the two)"),
    ("DTYPES = (torch.float32, torch.bfloat16)", "DTYPES = ()", "DTYPES is ()"),
    ("DTYPES = (torch.float32, torch.bfloat16)", 'DTYPES = ("float32",)', "DTYPES is ('float32',)"),
    ("DTYPES = (torch.float32, torch.bfloat16)", 'FORMATS = ("fp9",)', "FORMATS is ('fp9',)"),
    ('    """Run the kernel."""\n', "", "launch has no docstring"),
    ('    """One block."""\n', "", "kernel has no docstring"),
    ("def reference(x: Tensor, factor: float)", "def reference(x: Tensor)", "give both the same inputs"),
    (
        "def reference(x: Tensor, factor: float)",
        "def reference(factor: float, x: Tensor)",
        "(factor: float, x: Tensor)",
    ),
    ("def reference(x: Tensor, factor: float)", "def reference(x: Tensor, factor: int)", "give both the same inputs"),
    ("def reference(x: Tensor, factor: float)", "def reference(x: Tensor, factor)", "factor as None; annotate"),
    ("def reference(x: Tensor, factor: float)", "def reference(x: Tensor, factor: float = 2.0)", "has a default for"),
    ("launch(x: Tensor, factor: float,", "launch(factor: float, x: Tensor,", "give both the same inputs"),
    ("factor: float, **tuning: int", "factor: float", "end its parameters with **tuning: int"),
    ("**tuning: int) -> Tensor", "**tuning: int) -> tuple[Tensor, ...]", "annotate both with the same"),
    ("def example(n: int, dtype: torch.dtype)", "def example(n: int, format: str)", "make it sizes and then dtype"),
    ("EXAMPLES = ((64,), (67,))", "EXAMPLES = ()", "at least one tuple of sizes"),
    ("EXAMPLES = ((64,), (67,))", "EXAMPLES = ((64,), (1,), (128,))", "powers of two only"),
    ("EXAMPLES = ((64,), (67,))", "EXAMPLES = ((64, 2), (67,))", "EXAMPLES has (64, 2); example wants"),
    ("EXAMPLES = ((64,), (67,))", "EXAMPLES = ((64.0,), (67,))", "EXAMPLES has (64.0,)"),
    ("TYPICAL = (1000,)", "TYPICAL = (1000, 1)", "TYPICAL has (1000, 1)"),
    ("TENSOR_CORES = False", "TENSOR_CORES = 0", "TENSOR_CORES is 0"),
    ('TUNABLES = {"default": DEFAULTS, ', "TUNABLES = {", 'lacks "default"'),
    ('"cuda:100": {', '"cuda:sm_100": {', "'cuda:sm_100' is no architecture"),
    ('"hip:gfx950": {', '"gfx950": {', "'gfx950' is no architecture"),
    ('"BLOCK": 128,', '"BLOCK": 128.0,', "make it names and whole numbers"),
    ('"BLOCK": 128,', '"BLOK": 128,', "TUNABLES has BLOK; neither the kernel nor Triton takes that"),
    ('SEARCH = {"BLOCK"', 'SEARCH = {"BLOK"', "SEARCH has BLOK"),
    ('"BLOCK": (64, 128, 256)', '"BLOCK": ()', "values worth trying"),
    ("cuda:75 bfloat16", "cuda:75 float16", "the kernel's own are bfloat16, float32"),
    ("cuda:75 bfloat16", "turing", "'turing' is no architecture"),
    ('"no bf16 arithmetic"', '" "', "has no reason"),
]


@pytest.mark.parametrize(("old", "new", "words"), BROKEN, ids=[f"{new[:40]!r}" for _, new, _ in BROKEN])
def test_a_part_that_does_not_fit_is_named_with_the_file(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert SOURCE.count(old) == 1
    path = write(tmp_path, SOURCE.replace(old, new))
    with pytest.raises(KernelError, match=re.escape(words)) as caught:
        load_kernel(path)
    assert str(caught.value).startswith(str(path))


def test_what_does_not_load_is_not_left_behind(tmp_path: Path) -> None:
    before = set(sys.modules)
    with pytest.raises(KernelError):
        load_kernel(write(tmp_path, SOURCE.replace("DEFAULTS = ", "DEFAULTS = unknown or ")))
    assert not {name for name in set(sys.modules) - before if name.startswith("worldport_kernel_")}
