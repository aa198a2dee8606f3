"""Holds what a launch of a kernel wrote against its reference, by the reference's own rounding.

The truth is the reference in float64. The yardstick is the reference in float32, rounded to the output's dtype: a
kernel's error may be twice that, over the whole output, in its worst element and in each of its rows. It does not know
how the kernel was run.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from porting.kernel_library.library import Kernel

BUDGET = 2.0
"""A kernel's error over the reference's own rounding."""
SHORT_ROW = 16
"""Below so many values, the rounding of a row is luck and no yardstick."""
WIDE = (torch.float16, torch.bfloat16, torch.float32)
"""What becomes float64 for the truth; block-scaled formats are what they are."""


@dataclass(frozen=True)
class OutputJudgement:
    """What one output of a launch came to."""

    ratio: float
    """Its error over the reference's own rounding, the larger of the whole output's and the worst element's; 0 where
    every code is the reference's, infinite where the two cannot be held against each other."""
    complaints: tuple[str, ...]
    """What is wrong with it, a sentence each."""


def judge_outputs(kernel: Kernel, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> tuple[OutputJudgement, ...]:
    """One judgement an output.

    Args:
        kernel: whose reference is the truth.
        inputs: of the launch, as they were before it.
        outputs: what it returned.
    """
    truth, own = true_outputs(kernel, inputs), as_tuple(kernel.reference(*inputs))
    if not len(outputs) == len(truth) == len(own):
        words = f"launch returns {len(outputs)} tensors, the reference {len(truth)}"
        return (OutputJudgement(float("inf"), (words,)),)
    return tuple(
        _refuse(f"the reference makes {exact.dtype} of float64")
        if kernel.dtypes and exact.is_floating_point() and exact.dtype != torch.float64
        else compare(output, exact, rounded)
        for output, exact, rounded in zip(outputs, truth, own, strict=True)
    )


def true_outputs(kernel: Kernel, inputs: Sequence[Any]) -> tuple[Tensor, ...]:
    """The reference in float64. Codes of a block-scaled format stay what they are; what is made of them does not."""
    with nullcontext() if kernel.dtypes else InFloat64():
        return as_tuple(kernel.reference(*map(widened, inputs)))


class InFloat64(TorchFunctionMode):
    """Whatever torch makes in float32 or less, or is told to round to it, is float64; bits are those of float32."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func is Tensor.view and isinstance(args[1], torch.dtype):
            made = func(args[0].float() if args[0].dtype == torch.float64 else args[0], *args[1:], **named)
        elif func is Tensor.float:
            made = args[0].double()
        else:
            args = [torch.float64 if is_wide(value) else value for value in args]
            made = func(*args, **{name: torch.float64 if is_wide(value) else value for name, value in named.items()})
        return made.double() if isinstance(made, Tensor) and is_wide(made.dtype) else made


def is_wide(value: object) -> bool:
    """Whether it is one of the dtypes that become float64."""
    return isinstance(value, torch.dtype) and value in WIDE


def compare(output: Tensor, truth: Tensor, own: Tensor) -> OutputJudgement:
    """One output, given the reference in float64 and in float32."""
    if output.shape != truth.shape or not output.numel():
        return _refuse(f"has shape {tuple(output.shape)}, the reference {tuple(truth.shape)}")
    if not own.is_floating_point() or own.element_size() == 1:
        return _compare_codes(output, truth, own)
    if not output.is_floating_point():
        return _refuse(f"is {output.dtype}, the reference {own.dtype}")
    own = own.to(output.dtype)
    finite = torch.isfinite(own)
    if not torch.equal(torch.isfinite(output), finite) or not torch.equal(
        torch.nan_to_num(output.double()[~finite]), torch.nan_to_num(own.double()[~finite])
    ):
        wrong = int((torch.isfinite(output) != finite).sum())
        return _refuse(f"{wrong} of {output.numel()} values are not finite where the reference's are, or the reverse")
    if not finite.any():
        return _refuse("the reference is nowhere finite; give an example that is")
    zero = torch.zeros((), dtype=torch.float64)
    exact = torch.where(finite, truth.double(), zero)
    error = torch.where(finite, output.double(), zero) - exact
    yardstick = torch.where(finite, own.double(), zero) - exact
    return _compare_errors(error, yardstick, exact, output.dtype)


def _compare_errors(error: Tensor, yardstick: Tensor, exact: Tensor, dtype: torch.dtype) -> OutputJudgement:
    """The three limits, absolute figures; what is exact by luck is taken to have some rounding of its own.

    In float32 that is half a unit in the last place, as the order of a sum is free; narrower outputs are made from
    float32, so there it is an eighth.
    """
    rounding = torch.finfo(dtype).eps / (2 if dtype == torch.float32 else 8)
    complaints, ratios = [], []
    measures: dict[str, Callable[[Tensor], float]] = {
        "error": lambda x: float(x.norm()),
        "worst element": lambda x: float(x.abs().max()),
    }
    for name, size in measures.items():
        figures = f"{size(error):.3g}, the reference's own {size(yardstick):.3g}, the whole {size(exact):.3g}"
        allowed = max(size(yardstick), size(exact) * rounding)
        ratios.append(size(error) / allowed if allowed else float("inf") if size(error) else 0.0)
        if size(error) > BUDGET * allowed:
            complaints.append(f"{name} is {figures}")
    if exact.ndim and exact.shape[-1] >= SHORT_ROW:
        by_row = [x.reshape(-1, exact.shape[-1]).norm(dim=1) for x in (error, yardstick, exact)]
        # A row's own rounding is one draw, which may be lucky: what the whole's is of that row counts too.
        usual = by_row[2] * (yardstick.norm() / exact.norm().clamp(min=torch.finfo(torch.float64).tiny))
        over = by_row[0] > BUDGET * (torch.maximum(by_row[1], usual) + 2 * rounding * by_row[2])
        if over.any():
            row = int(over.nonzero()[0])
            errors = [f"{float(sizes[row]):.3g}" for sizes in by_row]
            figures = f"{errors[0]}, the reference's own {errors[1]}, the whole {errors[2]}"
            complaints.append(f"{int(over.sum())} of {len(over)} rows are wrong: row {row} by {figures}")
    return OutputJudgement(max(ratios), tuple(complaints))


def _compare_codes(output: Tensor, truth: Tensor, own: Tensor) -> OutputJudgement:
    """Whole numbers and fp8 codes are exact; halfway between two, the float64 or the float32 reference decides."""
    if output.dtype != own.dtype:
        return _refuse(f"is {output.dtype}, the reference {own.dtype}")
    wrong = (as_bits(output) != as_bits(own)) & (as_bits(output) != as_bits(truth.to(own.dtype)))
    count = int(wrong.any(dim=1).sum())
    return _refuse(f"{count} of {output.numel()} values are not the reference's") if count else OutputJudgement(0.0, ())


def _refuse(words: str) -> OutputJudgement:
    return OutputJudgement(float("inf"), (words,))


def widened(value: Any) -> Any:
    """Floats as float64; everything else as it is."""
    return value.double() if isinstance(value, Tensor) and value.dtype in WIDE else value


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a launch or a reference returned, one or many."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def as_bits(tensor: Tensor) -> Tensor:
    """Unsigned bytes (..., n); NaN equals NaN."""
    return tensor.contiguous().flatten().view(torch.uint8).view(tensor.numel(), -1)
