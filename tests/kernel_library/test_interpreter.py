"""The mended interpreter: what the stock one gets wrong is right, what a device leaves undefined is refused."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
import triton
from torch import Tensor
from triton.runtime.errors import InterpreterError

from porting.errors import KernelError
from porting.kernel_library.interpreter import check_signature, mend_interpreter
from porting.kernel_library.interpreter_mends import MENDS
from tests.kernel_library import interpreted

mend_interpreter()

EVERY_BF16 = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16).view(torch.bfloat16)
BLOCK = 1 << 16


def shuffled(seed: int) -> Tensor:
    return EVERY_BF16[torch.randperm(BLOCK, generator=torch.Generator().manual_seed(seed))].contiguous()


def same(found: Tensor, expected: Tensor) -> bool:
    """Of one dtype, and equal with NaN equal to NaN."""
    return found.dtype == expected.dtype and torch.equal(
        torch.nan_to_num(found, 1234.0), torch.nan_to_num(expected, 1234.0)
    )


def cause_of(error: InterpreterError) -> str:
    """The message of the KernelError that ended a launch."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KernelError):
        cause = cause.__cause__
    assert cause is not None, error
    return str(cause)


BF16_OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "negate": lambda x, y: -x,
    "absolute": lambda x, y: x.abs(),
    "minimum": torch.minimum,
    # torch.fmax takes a signalling NaN for a number's better; devices take the number.
    "maximum": lambda x, y: torch.where(y.isnan(), x, torch.where(x.isnan(), y, torch.maximum(x, y))),
    "select": lambda x, y: torch.where(x > y, x, y),
    "multiply-add": lambda x, y: (x.double() * y.double() + x.double()).to(torch.bfloat16),
}


@pytest.mark.parametrize("operation", BF16_OPERATIONS)
def test_bf16_arithmetic_is_that_of_pytorch_on_every_pattern(operation: str) -> None:
    x, y = EVERY_BF16, shuffled(0)
    out = torch.empty_like(x)
    interpreted.arithmetic[(1,)](x, y, out, operation, BLOCK=BLOCK)
    assert same(out, BF16_OPERATIONS[operation](x, y))


def test_bf16_comparisons_are_those_of_pytorch_on_every_pattern() -> None:
    x, y = EVERY_BF16, shuffled(1)
    y[::3] = x[::3]
    out = torch.empty(4, BLOCK)
    interpreted.compare[(1,)](x, y, out, BLOCK=BLOCK)
    for row, expected in zip(out, (x < y, x <= y, x == y, x != y), strict=True):
        assert torch.equal(row, expected.float())


def converted(x: Tensor, dtype: torch.dtype, rounding: str | None = None) -> Tensor:
    out = torch.empty(x.shape, dtype=dtype)
    interpreted.convert[(1,)](x, out, rounding, BLOCK=x.numel())
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_every_bf16_is_cast_as_pytorch_casts(dtype: torch.dtype) -> None:
    assert same(converted(EVERY_BF16, dtype), EVERY_BF16.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_a_cast_to_bf16_rounds_as_pytorch_rounds(dtype: torch.dtype) -> None:
    x = (torch.randn(BLOCK, generator=torch.Generator().manual_seed(2)) * 3).to(dtype)
    assert same(converted(x, torch.bfloat16), x.to(torch.bfloat16))


FP8 = {
    torch.float8_e4m3fn: ml_dtypes.float8_e4m3fn,
    torch.float8_e5m2: ml_dtypes.float8_e5m2,
    torch.float8_e4m3fnuz: ml_dtypes.float8_e4m3fnuz,
    torch.float8_e5m2fnuz: ml_dtypes.float8_e5m2fnuz,
}


@pytest.mark.parametrize("dtype", FP8, ids=str)
@pytest.mark.parametrize("wide", [torch.float32, torch.float16, torch.bfloat16])
def test_a_cast_to_fp8_and_back_saturates_and_keeps_nan(dtype: torch.dtype, wide: torch.dtype) -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    back = converted(codes.view(dtype), wide)
    assert same(back, torch.from_numpy(codes.numpy().view(FP8[dtype]).astype(np.float32)).to(wide))
    largest = float(ml_dtypes.finfo(FP8[dtype]).max)  # type: ignore[no-untyped-call]
    x = torch.tensor([float("inf"), -float("inf"), float("nan"), 1.0], dtype=wide)
    assert same(converted(x, dtype).float(), torch.tensor([largest, -largest, float("nan"), 1.0]))


def test_a_cast_can_be_told_to_cut() -> None:
    x = torch.tensor([1 + 2**-8 + 2**-9, -1 - 2**-8 - 2**-9, 70000.0, 3.0])
    assert converted(x, torch.bfloat16).tolist() == [1 + 2**-7, -1 - 2**-7, 70144.0, 3.0]
    assert converted(x, torch.bfloat16, "rtz").tolist() == [1.0, -1.0, 69632.0, 3.0]
    assert converted(x, torch.float16, "rtz").tolist()[2] == 65504.0


@pytest.mark.parametrize("value", [256.0, -1.0, float("nan"), float("inf")])
def test_a_float_that_no_integer_holds_is_refused(value: float) -> None:
    assert converted(torch.tensor([255.9, 0.0]), torch.uint8).tolist() == [255, 0]
    with pytest.raises(InterpreterError) as caught:
        converted(torch.tensor([0.0, value]), torch.uint8)
    assert f"converts {value} to uint8, which is undefined on a device; clamp it first" in cause_of(caught.value)


def product(a: Tensor, b: Tensor, precision: str | None = None) -> Tensor:
    out = torch.empty(a.shape)
    interpreted.multiply[(1,)](a, b, out, precision, SIZE=a.shape[0])
    return out.double()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, *FP8], ids=str)
def test_a_narrow_dot_is_exact_up_to_its_fp32_sum(dtype: torch.dtype) -> None:
    a, b = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(3)).to(dtype).unbind()
    exact = a.double() @ b.double()
    assert (product(a, b) - exact).norm() / exact.norm() < 3e-7


def test_an_fp32_dot_is_only_as_exact_as_its_input_precision() -> None:
    a, b = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(4)).unbind()
    exact = a.double() @ b.double()
    error = {name: float((product(a, b, name) - exact).norm() / exact.norm()) for name in ("ieee", "tf32", "tf32x3")}
    assert error["ieee"] < 3e-7
    assert error["tf32x3"] < 3e-6
    assert 1e-4 < error["tf32"] < 1e-3
    assert torch.equal(product(a, b), product(a, b, "tf32"))


def scale_values(codes: Tensor) -> Tensor:
    return torch.exp2(codes.double() - 127) if codes.dtype == torch.uint8 else codes.double()


@pytest.mark.parametrize(("name", "group"), [("nvfp4", 16), ("mxfp4", 32), ("mxfp8 e4m3", 32), ("mxfp8 e5m2", 32)])
def test_block_scaled_products_are_those_of_the_dequantized_matrices(name: str, group: int) -> None:
    generator = torch.Generator().manual_seed(5)
    if name.endswith("fp4"):
        form = "e2m1"
        codes = torch.randint(0, 256, (2, 32, 64), generator=generator, dtype=torch.uint8)
        packed = codes.numpy()
        nibbles = np.stack([packed & 15, packed >> 4], -1).reshape(2, 32, 128).view(ml_dtypes.float4_e2m1fn)
        values = torch.from_numpy(nibbles.astype(np.float64))
    else:
        form = name.split()[1]
        dtype = torch.float8_e4m3fn if form == "e4m3" else torch.float8_e5m2
        codes = torch.randn(2, 32, 128, generator=generator).to(dtype)
        values = codes.double()
    if name == "nvfp4":
        scales = torch.rand(2, 32, 128 // group, generator=generator).to(torch.float8_e4m3fn)
    else:
        scales = torch.randint(120, 134, (2, 32, 128 // group), generator=generator, dtype=torch.uint8)
    out = torch.empty(32, 32)
    interpreted.scaled[(1,)](codes[0], scales[0], codes[1], scales[1], out, form, group, K=128)
    a, b = values * scale_values(scales).repeat_interleave(group, dim=-1)
    assert (out.double() - a @ b.T).norm() / (a @ b.T).norm() < 3e-7


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_narrow_sum_is_rounded_at_every_step(dtype: torch.dtype) -> None:
    x = torch.ones(1024).to(dtype)
    x[0] = 2048.0  # 2049 is not in fp16 and not in bf16, so the first step loses a one
    total, extrema = torch.empty(1, dtype=dtype), torch.empty(3, dtype=dtype)
    interpreted.reduce[(1,)](x, total, extrema, COUNT=1024)
    tree = x.clone()
    while tree.numel() > 1:
        tree = tree[: tree.numel() // 2] + tree[tree.numel() // 2 :]
    assert total.item() == tree.item() == extrema[2].item()
    assert tree.item() != x.float().sum().to(dtype).item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_reductions_pass_over_nan_where_they_look_for_an_extremum(dtype: torch.dtype) -> None:
    x = torch.randn(256, generator=torch.Generator().manual_seed(6)).to(dtype)
    total, extrema = torch.empty(1), torch.empty(3)
    interpreted.reduce[(1,)](x, total, extrema, COUNT=256)
    assert total.item() == pytest.approx(x.double().sum().item(), rel=8 * torch.finfo(dtype).eps)
    assert extrema[:2].tolist() == [x.max().item(), x.min().item()]
    x[7] = float("nan")
    interpreted.reduce[(1,)](x, total, extrema, COUNT=256)
    numbers = x[~x.isnan()]
    assert extrema[:2].tolist() == [numbers.max().item(), numbers.min().item()]
    assert total.isnan()
    interpreted.reduce[(1,)](x.new_full((256,), float("nan")), total, extrema, COUNT=256)
    assert extrema.isnan().all()


def test_a_float_argument_is_fp32_and_a_literal_takes_the_tensor_s_type() -> None:
    x = torch.tensor([1.0, 256.0], dtype=torch.bfloat16)
    out = torch.empty(2, 2)
    interpreted.add_parameter[(1,)](x, out, 0.001, literal=0.001, BLOCK=2)
    assert out[0].tolist() == (x.float() + 0.001).tolist()
    assert out[1].tolist() == (x + torch.tensor(0.001, dtype=torch.bfloat16)).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_a_masked_load_without_other_is_undefined(dtype: torch.dtype) -> None:
    out = torch.empty(8, dtype=dtype)
    interpreted.load_masked[(1,)](torch.ones(5).to(dtype), out, 5, BLOCK=8)
    assert out.float()[:5].tolist() == [1.0] * 5
    assert out.float()[5:].isnan().all()


def test_a_masked_load_of_whole_numbers_without_other_is_far_from_zero() -> None:
    out = torch.empty(8, dtype=torch.int32)
    interpreted.load_masked[(1,)](torch.ones(5, dtype=torch.int32), out, 5, BLOCK=8)
    assert out[5:].tolist() == [0x5A5A5A5A] * 3


@pytest.mark.parametrize(
    ("shift", "n", "words"),
    [
        (
            1,
            12,
            "program (1, 0, 0): loads 1 of 4 elements outside its tensors, the first 0 elements after the end of x",
        ),
        (-3, 12, "program (0, 0, 0): loads 3 of 8 elements outside its tensors, the first"),
        (0, 13, "program (1, 0, 0): loads 1 of 5 elements outside its tensors, the first 0 elements after the end of"),
    ],
)
def test_an_address_outside_the_tensors_is_refused(shift: int, n: int, words: str) -> None:
    x, out = torch.randn(12), torch.empty(12)
    interpreted.copy[(2,)](x, out, 0, 12, BLOCK=8)
    assert torch.equal(x, out)
    with pytest.raises(InterpreterError) as caught:
        interpreted.copy[(2,)](x, out, shift, n, BLOCK=8)
    assert words in cause_of(caught.value)


def test_a_store_outside_the_tensors_is_refused() -> None:
    with pytest.raises(InterpreterError) as caught:
        interpreted.copy[(2,)](torch.randn(13), torch.empty(12), 0, 13, BLOCK=8)
    assert "stores 1 of 5 elements outside its tensors, the first 0 elements after the end of out" in cause_of(
        caught.value
    )


def test_atomics_add_every_lane_and_stay_inside() -> None:
    index = torch.tensor([0, 2, 2, 2])
    out = torch.zeros(3)
    interpreted.count[(5,)](index, out, BLOCK=4)
    assert out.tolist() == [5.0, 0.0, 15.0]
    with pytest.raises(InterpreterError) as caught:
        interpreted.count[(1,)](index + 1, out, BLOCK=4)
    assert "changes 3 of 4 elements outside its tensors" in cause_of(caught.value)
    with pytest.raises(InterpreterError) as caught:
        interpreted.count[(1,)](index, out.to(torch.bfloat16), BLOCK=4)
    assert "accumulate in fp32" in cause_of(caught.value)


def test_infinities_are_no_warnings_and_device_functions_are_called() -> None:
    out = torch.empty(4)
    interpreted.exponential[(1,)](torch.tensor([500.0, -500.0, 0.0, float("nan")]), out, BLOCK=4)
    assert out[:3].tolist() == [0.0, float("inf"), 1.0]
    assert out[3].isnan()


def test_whole_numbers_divide_toward_zero_and_wrap_around() -> None:
    x, y = torch.tensor([7, -7, 2**31 - 1, -5], dtype=torch.int32), torch.tensor([2, 2, 2, -3], dtype=torch.int32)
    out = torch.empty(3, 4, dtype=torch.int32)
    interpreted.integers[(1,)](x, y, out, BLOCK=4)
    assert out.tolist() == [[3, -3, 2**30 - 1, 1], [1, -1, 1, -2], [14, -14, -2, 15]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_clamping_keeps_nan_only_when_asked(dtype: torch.dtype) -> None:
    out = torch.empty(2, 4, dtype=dtype)
    interpreted.clamped[(1,)](torch.tensor([-3.0, 0.5, 3.0, float("nan")], dtype=dtype), out, BLOCK=4)
    assert out[:, :3].tolist() == 2 * [[-1.0, 0.5, 1.0]]
    assert out[0, 3].item() == -1.0
    assert out[1, 3].isnan()


def test_a_format_that_is_not_known_is_refused() -> None:
    with pytest.raises(InterpreterError) as caught:
        interpreted.old_format[(1,)](torch.ones(4), torch.empty(4), BLOCK=4)
    assert "float8e4b15" in cause_of(caught.value)


def test_mending_twice_changes_nothing() -> None:
    before = [getattr(mend.owner, mend.name) for mend in MENDS]
    mend_interpreter()
    assert before == [mend.replacement for mend in MENDS]


@pytest.mark.parametrize("version", ["3.8.0", "3.9.1", "3.10.0"])
def test_an_unknown_version_of_triton_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton.__version__", version)
    with pytest.raises(KernelError, match=rf"triton {version} is not one whose interpreter is known here; install"):
        mend_interpreter()


def test_every_replaced_part_has_the_known_signature() -> None:
    """In a process of its own, where nothing is replaced yet."""
    code = (
        "from porting.kernel_library.interpreter import check_signature\n"
        "from porting.kernel_library.interpreter_mends import MENDS\n"
        "for mend in MENDS: check_signature(mend.owner, mend.name, mend.signature)\n"
        "print(len(MENDS))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert child.stdout.split() == [str(len(MENDS))]


@pytest.mark.parametrize(("value", "words"), [(None, "is missing"), (lambda x: x, r"is \(x\), known is \(arg\)")])
def test_changed_internals_are_refused(monkeypatch: pytest.MonkeyPatch, value: Any, words: str) -> None:
    monkeypatch.setattr("triton.runtime.interpreter._implicit_cvt", value)
    with pytest.raises(KernelError, match=words):
        check_signature(triton.runtime.interpreter, "_implicit_cvt", "(arg)")


@pytest.mark.parametrize("code", ["import triton", "import triton, os; os.environ['TRITON_INTERPRET'] = '1'"])
def test_a_process_that_compiles_is_not_mended(code: str) -> None:
    code += "; from porting.kernel_library.interpreter import mend_interpreter; mend_interpreter()"
    child = subprocess.run(
        [sys.executable, "-c", code], env={}, capture_output=True, text=True, timeout=120, check=False
    )
    assert child.returncode == 1
    assert "set TRITON_INTERPRET=1 before it is imported" in child.stderr
