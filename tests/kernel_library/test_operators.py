"""Operators: what computes them where, what torch is told of them, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from porting.errors import KernelError
from porting.kernel_library import Kernel, find_kernels, load_kernel
from porting.kernel_library.operators import (
    computing_by,
    interpreter_tuning,
    make_outputs,
    register_operators,
    registered_kernel,
)

SOURCE = '''
"""split = (x * factor, x as bytes), row by row. Shapes: x (rows, width), offset (width,) or None. Source: none."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def kernel(x_ptr, offset_ptr, y_ptr, bytes_ptr, width, factor, BLOCK_WIDTH: tl.constexpr):
    """One row a program."""
    row = tl.program_id(0).to(tl.int64)
    for start in range(0, width, BLOCK_WIDTH):
        column = start + tl.arange(0, BLOCK_WIDTH)
        inside = column < width
        x = tl.load(x_ptr + row * width + column, mask=inside, other=0.0).to(tl.float32)
        if offset_ptr is not None:
            x += tl.load(offset_ptr + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(y_ptr + row * width + column, (x * factor).to(y_ptr.dtype.element_ty), mask=inside)
        tl.store(bytes_ptr + row * width + column, tl.clamp(x, 0.0, 255.0).to(tl.uint8), mask=inside)


def reference(x: Tensor, offset: Tensor | None, factor: float) -> tuple[Tensor, Tensor]:
    """The same in PyTorch."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    wide = wide if offset is None else wide + offset
    return wide * factor, wide.clamp(0, 255).to(torch.uint8)


def launch(x: Tensor, offset: Tensor | None, factor: float, **tuning: int) -> tuple[Tensor, Tensor]:
    """Run the kernel on contiguous x."""
    if x.ndim != 2 or not x.is_contiguous():
        raise ValueError(f"x is {tuple(x.shape)} with strides {x.stride()}; give a contiguous matrix")
    y, as_bytes = torch.empty_like(x), make_bytes(x)
    kernel[(len(x),)](x, offset, y, as_bytes, x.shape[1], factor, **{**TUNABLES["default"], **tuning})
    return y, as_bytes


def make_bytes(x: Tensor) -> Tensor:
    """What the second output lies in."""
    return torch.empty(x.shape, dtype=torch.uint8, device=x.device)


DTYPES = (torch.float32, torch.float16)


def example(rows: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    """x with a constant row."""
    x = torch.rand(rows, width) * 200
    x[0] = 7
    return x.to(dtype), torch.rand(width), 0.5


EXAMPLES = ((3, 37),)
TYPICAL = (64, 256)
TENSOR_CORES = False
TUNABLES = {"default": {"BLOCK_WIDTH": 16, "num_warps": 1}, "cuda:90": {"BLOCK_WIDTH": 32}}
SEARCH = {"BLOCK_WIDTH": (16, 64), "num_warps": (1, 2)}
'''


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    return _load(tmp_path_factory.mktemp("kernels") / "operator_split.py", SOURCE)


def _load(path: Path, source: str) -> Kernel:
    path.write_text(source, encoding="utf-8")
    kernel = load_kernel(path)
    register_operators({kernel.name: kernel})
    return kernel


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        yield


def _as_tuple(made: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (made,) if isinstance(made, Tensor) else made


def _agree(found: Tensor, wanted: Tensor, unit: float) -> bool:
    """Equal but for the rounding of one value to the output's dtype."""
    if not found.is_floating_point():
        return bool(torch.equal(found, wanted))
    limit = unit * wanted.abs() + unit
    return bool(((found.double() - wanted.double()).abs() <= limit).all())


def test_every_kernel_of_the_project_has_an_operator_that_torch_finds_sound() -> None:
    kernels = register_operators()
    assert kernels.keys() == find_kernels().keys()
    for name, kernel in kernels.items():
        operator = getattr(torch.ops.worldport, name).default
        assert registered_kernel(operator) is kernel
        inputs = kernel.inputs(kernel.examples[0], kernel.variants[0])
        # Schema: nothing mutated, no output over an input. Fake: shapes, dtypes and strides are those of a real call.
        # torch's check of schemas multiplies what it is given, which fp8 cannot be.
        checks = ("test_schema", "test_faketensor") if kernel.dtypes else ("test_faketensor",)
        with computing_by("reference"):
            torch.library.opcheck(operator, inputs, test_utils=checks)
            made = _as_tuple(operator(*inputs))
        for output, allocated in zip(made, make_outputs(kernel, inputs), strict=True):
            assert (output.shape, output.dtype, output.stride()) == (
                allocated.shape,
                allocated.dtype,
                allocated.stride(),
            )


def test_the_reference_is_rounded_to_what_the_kernel_makes(split: Kernel) -> None:
    x, offset, factor = split.inputs((3, 37), torch.float16)
    with computing_by("reference"):
        y, as_bytes = torch.ops.worldport.operator_split(x, offset, factor)
    exact, exact_bytes = split.reference(x, offset, factor)
    assert exact.dtype == torch.float32
    assert y.dtype == torch.float16
    assert torch.equal(y, exact.half())
    assert torch.equal(as_bytes, exact_bytes)


def test_gold_stays_in_float64(split: Kernel) -> None:
    x = torch.rand(3, 5, dtype=torch.float64)
    with computing_by("reference"):
        y, _ = torch.ops.worldport.operator_split(x, None, 1 / 3)
    assert y.dtype == torch.float64
    assert torch.equal(y, x * (1 / 3))


def test_the_interpreter_runs_the_kernel_itself(tmp_path: Path) -> None:
    tripled = SOURCE.replace("(x * factor).to", "(x * factor * 3).to")
    kernel = _load(tmp_path / "operator_tripled.py", tripled)
    x, offset, factor = kernel.inputs((3, 37), torch.float16)
    y, as_bytes = torch.ops.worldport.operator_tripled(x, offset, factor)
    exact, exact_bytes = kernel.reference(x, offset, factor)
    assert _agree(y, exact * 3, 2.0**-11)
    assert torch.equal(as_bytes, exact_bytes)


def test_a_kernel_runs_on_what_is_not_contiguous(split: Kernel) -> None:
    x = torch.rand(37, 3).t()
    for route in ("reference", "launch"):
        with computing_by(route):
            y, _ = torch.ops.worldport.operator_split(x, None, 2.0)
        assert y.is_contiguous()
        assert torch.equal(y, x * 2)


def test_a_dtype_that_the_kernel_does_not_claim_is_not_launched(split: Kernel) -> None:
    with pytest.raises(KernelError, match=r"operator_split\.py: cannot run on torch\.float64; cast to one of"):
        torch.ops.worldport.operator_split(torch.rand(3, 5, dtype=torch.float64), None, 1.0)


def test_shapes_are_checked_as_by_the_launch_on_every_route(split: Kernel) -> None:
    for route in ("reference", "launch"):
        with computing_by(route), pytest.raises(ValueError, match="give a contiguous matrix"):
            torch.ops.worldport.operator_split(torch.rand(2, 3, 4), None, 1.0)


def test_the_interpreter_gets_the_largest_blocks(split: Kernel) -> None:
    assert interpreter_tuning(split) == {"BLOCK_WIDTH": 64, "num_warps": 1}
    assert split.tuning_for("cuda:90") == {"BLOCK_WIDTH": 32, "num_warps": 1}


def test_an_exported_module_keeps_the_operator_as_one_node(split: Kernel) -> None:
    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y, as_bytes = torch.ops.worldport.operator_split(x + 1, None, 2.0)
            return torch.add(y, as_bytes)

    program = torch.export.export(Doubled(), (torch.rand(2, 3),))
    kernels = [registered_kernel(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert kernels.count(split) == 1
    x = torch.rand(2, 3) * 9
    assert torch.allclose(program.module()(x), (x + 1) * 2 + (x + 1).floor())


def test_another_kernel_of_the_same_name_is_refused(split: Kernel, tmp_path: Path) -> None:
    register_operators({"operator_split": split})
    other = tmp_path / "operator_split.py"
    other.write_text(SOURCE.replace("* factor", "/ factor"), encoding="utf-8")
    with pytest.raises(KernelError, match=r"worldport::operator_split is the operator of .* give it a name of its own"):
        register_operators({"operator_split": load_kernel(other)})


def test_a_reference_of_another_shape_is_named(tmp_path: Path) -> None:
    source = SOURCE.replace("return wide * factor,", "return wide[:1] * factor,")
    _load(tmp_path / "operator_short.py", source)
    with (
        computing_by("reference"),
        pytest.raises(KernelError, match=r"reference makes \(1, 4\), launch \(3, 4\); make both the same"),
    ):
        torch.ops.worldport.operator_short(torch.rand(3, 4), None, 1.0)


def test_outputs_without_a_number_are_refused(tmp_path: Path) -> None:
    source = SOURCE.replace("-> tuple[Tensor, Tensor]", "-> tuple[Tensor, ...]")
    with pytest.raises(KernelError, match=r"operator_loose\.py: reference cannot be an operator"):
        _load(tmp_path / "operator_loose.py", source)


def test_what_is_no_kernel_has_none() -> None:
    assert registered_kernel(torch.ops.aten.relu.default) is None
    assert registered_kernel(len) is None
