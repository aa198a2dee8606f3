"""The judge itself: what it refuses in outputs, in mutants and in what a launch does."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from triton.runtime.errors import InterpreterError

from porting.errors import KernelError
from porting.kernel_library import Kernel, load_kernel
from porting.kernel_library.judging import compare, true_outputs
from porting.kernel_library.poison import poisoned_allocations
from tests.kernels import harness
from tests.kernels.harness import complaint, judge, killed

SOURCE = '''"""Twice x. Shapes: x, y (rows, columns). Source: arithmetic."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def kernel(x_ptr, y_ptr, count, BLOCK: tl.constexpr):
    """One block."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place, mask=place < count, other=0.0).to(tl.float32)
    tl.store(y_ptr + place, (x * 2).to(y_ptr.dtype.element_ty), mask=place < count)


def reference(x: Tensor) -> Tensor:
    """The same in PyTorch."""
    return x.to(torch.promote_types(x.dtype, torch.float32)) * 2


def launch(x: Tensor, **tuning: int) -> Tensor:
    """Run the kernel."""
    y = torch.empty_like(x)
    options = {"BLOCK": 64, **tuning}
    kernel[(triton.cdiv(x.numel(), options["BLOCK"]),)](x, y, x.numel(), **options)
    return y


DTYPES = (torch.float32, torch.bfloat16)


def example(rows: int, columns: int, dtype: torch.dtype) -> tuple[Tensor]:
    """x."""
    return (torch.randn(rows, columns).to(dtype),)


EXAMPLES = ((2, 64), (3, 67))
TYPICAL = (1000, 1000)
TENSOR_CORES = False
TUNABLES = {"default": {"BLOCK": 64}}
SEARCH = {"BLOCK": (64, 128)}
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one kernel, which stands for the project's own."""
    (tmp_path / "twice.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.setattr(harness, "kernel_paths", lambda: {"twice": tmp_path / "twice.py"})
    return tmp_path


def changed(project: Path, old: str, new: str) -> Kernel:
    assert SOURCE.count(old) == 1
    path = project / "changed.py"
    path.write_text(SOURCE.replace(old, new), encoding="utf-8")
    return load_kernel(path)


def test_a_right_kernel_has_nothing_wrong(project: Path) -> None:
    kernel = load_kernel(project / "twice.py")
    assert [judge(kernel, sizes, variant) for sizes in kernel.examples for variant in kernel.variants] == 4 * [[]]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("(x * 2)", "(x * 2.0001)", "output 0: error is"),
        ("(x * 2)", "(tl.where(place == 5, x, x * 2))", "output 0: error is"),
        ("mask=place < count)\n\n", "mask=place < count - 1)\n\n", "1 of 128 values are not finite where"),
        ("mask=place < count)\n\n", "mask=place <= count)\n\n", "stores 1 of 10 elements outside its tensors"),
        ("tl.store(y_ptr + place, (x * 2)", "tl.store(x_ptr + place, (x * 3)", "input 0 is changed by the launch"),
        ("torch.empty_like(x)\n    options", "torch.zeros_like(x)\n    options", "launch allocates with zeros_like"),
        ("    return y\n", "    return y[:1]\n", "output 0: has shape (1, 64), the reference (2, 64)"),
        ("    return y\n", "    return y.int()\n", "output 0: is torch.int32, the reference torch.float32"),
        ("    return y\n", "    return y, y\n", "launch returns 2 tensors, the reference 1"),
        (
            "x.to(torch.promote_types(x.dtype, torch.float32))",
            "x.float()",
            "the reference makes torch.float32 of float64",
        ),
    ],
)
def test_what_is_wrong_is_said(project: Path, old: str, new: str, words: str) -> None:
    kernel = changed(project, old, new)
    problems = [words for sizes in kernel.examples for words in judge(kernel, sizes, torch.float32)]
    assert words in " | ".join(problems)


def test_a_mutant_is_killed_and_an_equal_program_survives(project: Path) -> None:
    assert killed("twice", "(x * 2)", "(x * 3)")
    assert not killed("twice", "(x * 2)", "(x + x)")
    assert "(2, 64) torch.float32: output 0: error is" in str(complaint("twice", "(x * 2)", "(x * 3)"))


@pytest.mark.parametrize(("old", "new"), [("x * 9", "x"), ("place < count", "place"), ("(x * 2)", "(x * 2)")])
def test_a_text_that_is_not_there_once_is_no_mutant(project: Path, old: str, new: str) -> None:
    with pytest.raises(ValueError, match="name a text that is there once"):
        killed("twice", old, new)


@pytest.mark.parametrize("new", ["(unknown * 2)", "(x * 2).nothing", "tl.unknown(x)"])
def test_a_mutant_that_does_not_run_is_a_mistake_and_not_killed(project: Path, new: str) -> None:
    with pytest.raises(InterpreterError):
        killed("twice", "(x * 2)", new)


def test_a_mutant_that_is_no_kernel_file_is_a_mistake(project: Path) -> None:
    with pytest.raises(KernelError, match="lacks TENSOR_CORES"):
        killed("twice", "TENSOR_CORES = False\n", "")


def test_a_file_that_does_not_load_is_one_case_that_fails(project: Path) -> None:
    assert len(list(harness.cases())) == 4
    (project / "twice.py").write_text(SOURCE.replace("TENSOR_CORES", "OTHER"), encoding="utf-8")
    (case,) = harness.cases()
    assert case.id == "twice-loads"
    with pytest.raises(KernelError):
        load_kernel(case.values[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2fnuz])
def test_allocations_are_nan_inside_and_untouched_outside(dtype: torch.dtype) -> None:
    with poisoned_allocations():
        x = torch.empty(3, 5, dtype=dtype)
        assert x.float().isnan().all()
        assert torch.empty_like(x).float().isnan().all()
        assert x.new_empty(2).float().isnan().all()
        assert (torch.empty(3, dtype=torch.int32) == 0x5A5A5A5A).all()
        with pytest.raises(KernelError, match="launch allocates with zeros; allocate with"):
            torch.zeros(3)
    assert torch.zeros(3).tolist() == [0.0] * 3


EXACT = torch.linspace(-3, 5, 640, dtype=torch.float64).view(20, 32)
OWN = EXACT.float()


def words(output: Tensor, truth: Tensor = EXACT, own: Tensor = OWN) -> str:
    return " | ".join(compare(output, truth, own).complaints)


def test_own_rounding_and_twice_of_it_pass() -> None:
    assert words(OWN) == ""
    assert words(OWN.to(torch.bfloat16)) == ""
    assert words((EXACT + 1.5 * (OWN.double() - EXACT)).float()) == ""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_single_wrong_element_is_noticed(dtype: torch.dtype) -> None:
    output = OWN.to(dtype, copy=True)
    output[3, 7] += 0.1
    assert "worst element is 0." in words(output)


def test_a_wrong_row_is_noticed_beside_a_huge_one() -> None:
    exact = EXACT.clone()
    exact[0] *= 1e6
    output = exact.float()
    output[4] *= 1 + 1e-5
    found = words(output, exact, exact.float())
    assert "1 of 20 rows are wrong: row 4 by" in found
    assert "worst" not in found


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_wrong_unless_the_reference_says_the_same(value: float) -> None:
    output = OWN.clone()
    output[0, 0] = value
    assert "1 of 640 values are not finite where" in words(output)
    truth = EXACT.clone()
    truth[0, 0] = value
    assert words(output, truth, truth.float()) == ""
    assert "not finite where" in words(OWN, truth, truth.float())
    other = OWN.clone()
    other[0, 0] = -1.0 if value != value else -value
    assert "not finite where" in words(other, truth, truth.float())


def test_nothing_passes_by_absence() -> None:
    empty = torch.empty(0)
    assert "has shape (0,), the reference (0,)" in words(empty, empty.double(), empty)
    nowhere = torch.full((3, 4), float("nan"))
    assert "the reference is nowhere finite" in words(nowhere, nowhere.double(), nowhere)


def test_whole_numbers_are_exact() -> None:
    truth = torch.arange(4000).view(40, 100) % 256
    own = truth.to(torch.uint8)
    output = own.clone()
    assert words(output, truth, own) == ""
    output[3, 5] += 1
    assert "1 of 4000 values are not the reference's" in words(output, truth, own)
    assert "is torch.int32, the reference torch.uint8" in words(output.int(), truth, own)


def test_fp8_is_compared_code_by_code() -> None:
    own = torch.linspace(-3, 3, 64).to(torch.float8_e4m3fn)
    output = own.clone()
    assert words(output, own.double(), own) == ""
    output.view(torch.uint8)[7] += 1
    assert "1 of 64 values are not the reference's" in words(output, own.double(), own)


def test_either_side_of_a_tie_is_right() -> None:
    own, truth = torch.tensor([[2, 3]], dtype=torch.uint8), torch.tensor([[2, 4]], dtype=torch.uint8)
    for value in (3, 4):
        assert words(torch.tensor([[2, value]], dtype=torch.uint8), truth, own) == ""
    assert words(torch.tensor([[2, 5]], dtype=torch.uint8), truth, own) != ""


def test_a_block_scaled_reference_is_computed_in_float64() -> None:
    seen: list[Any] = []

    def reference(x: Tensor, codes: Tensor) -> Tensor:
        table = torch.tensor([0.0, 1.0, 3.0])
        scale = (codes.to(torch.int32) << 23).view(torch.float32)
        seen.append((table.dtype, scale.dtype, x.to(torch.float32).dtype))
        return (x.float() * scale / table[1:2].exp()).to(torch.bfloat16)

    class Fake:
        dtypes = ()

        def reference(self, x: Tensor, codes: Tensor) -> Tensor:
            return reference(x, codes)

    x, codes = torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn), torch.tensor([127, 128], dtype=torch.uint8)
    fake: Any = Fake()
    (made,) = true_outputs(fake, (x, codes))
    assert seen == [(torch.float64, torch.float64, torch.float64)]
    assert made.tolist() == pytest.approx([1 / torch.e, 4 / torch.e], rel=1e-15)
    assert re.match("torch.bfloat16", str(reference(x, codes).dtype))
