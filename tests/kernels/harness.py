"""Judges a kernel in the interpreter: what it computes against its reference, and what it does to memory.

The truth is the reference in float64. The yardstick is the reference in float32, rounded to the output's dtype: a
kernel's error may be twice that, over the whole output, in its worst element and in each of its rows. Outputs are
poisoned before the launch, inputs must come back unchanged, and every address lies in a tensor of the launch.
"""

import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from triton.runtime.errors import InterpreterError

from porting.errors import KernelError
from porting.kernel_library import Kernel, Variant, kernel_paths, load_kernel
from porting.kernel_library.interpreter import mend_interpreter
from porting.kernel_library.number_formats import POISON_BYTE

mend_interpreter()

BUDGET = 2.0
"""A kernel's error over the reference's own rounding."""
SHORT_ROW = 16
"""Below so many values, the rounding of a row is luck and no yardstick."""
WIDE = (torch.float16, torch.bfloat16, torch.float32)
"""What becomes float64 for the truth; block-scaled formats are what they are."""


def judge(kernel: Kernel, sizes: tuple[int, ...], variant: Variant, **tuning: int) -> list[str]:
    """What is wrong with one launch on one example, a sentence each; nothing is wrong if it is empty."""
    inputs = seeded_inputs(kernel, sizes, variant)
    before = [value.clone() if isinstance(value, Tensor) else value for value in inputs]
    try:
        outputs = launched(kernel, inputs, **tuning)
    except KernelError as error:
        return [str(error)]
    changed = [
        f"input {index} is changed by the launch"
        for index, (value, kept) in enumerate(zip(inputs, before, strict=True))
        if isinstance(value, Tensor) and not torch.equal(as_bits(value), as_bits(kept))
    ]
    truth, rounded = true_outputs(kernel, before), as_tuple(kernel.reference(*before))
    if not len(outputs) == len(truth) == len(rounded):
        return [*changed, f"launch returns {len(outputs)} tensors, the reference {len(truth)}"]
    complaints = changed
    for index, (output, exact, own) in enumerate(zip(outputs, truth, rounded, strict=True)):
        if kernel.dtypes and exact.is_floating_point() and exact.dtype != torch.float64:
            complaints.append(f"output {index}: the reference makes {exact.dtype} of float64")
        complaints += [f"output {index}: {words}" for words in compare(output, exact, own)]
    return complaints


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
    return isinstance(value, torch.dtype) and value in WIDE


def seeded_inputs(kernel: Kernel, sizes: tuple[int, ...], variant: Variant) -> tuple[Any, ...]:
    """The kernel's own example, the same in every run."""
    torch.manual_seed(zlib.crc32(f"{kernel.name} {sizes} {variant}".encode()))
    return kernel.inputs(sizes, variant)


def launched(kernel: Kernel, inputs: tuple[Any, ...], **tuning: int) -> tuple[Tensor, ...]:
    """The outputs of one interpreted launch whose allocations were poisoned.

    Raises:
        KernelError: the kernel did what is undefined on a device; anything else is a mistake in its source.
    """
    try:
        with poisoned_allocations():
            return as_tuple(kernel.launch(*inputs, **tuning))
    except InterpreterError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, KernelError):
                raise cause from error
            cause = cause.__cause__
        raise


@contextmanager
def poisoned_allocations() -> Iterator[None]:
    """torch.empty and its like give NaN, or far integers; memory that is not poison is refused."""

    def poisoning(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *args, **kwargs: poison(allocate(*args, **kwargs))

    def refusing(name: str) -> Callable[..., NoReturn]:
        def refuse(*args: object, **kwargs: object) -> NoReturn:
            raise KernelError(f"launch allocates with {name}; allocate with torch.empty, and let the kernel write it")

        return refuse

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch, "empty_strided"), (Tensor, "new_empty")):
            patch.setattr(owner, name, poisoning(getattr(owner, name)))
        for owner, name in ((torch, "zeros"), (torch, "zeros_like"), (torch, "full"), (Tensor, "new_zeros")):
            patch.setattr(owner, name, refusing(name))
        yield


def poison(tensor: Tensor) -> Tensor:
    """NaN where the dtype has one; of fp8, 0x7f and 0xff are NaN but in the fnuz formats, whose only one is 0x80."""
    if tensor.dtype.is_floating_point and tensor.element_size() > 1:
        return tensor.fill_(float("nan"))
    if tensor.numel():
        byte = 0x80 if "fnuz" in str(tensor.dtype) else 0xFF if "float8" in str(tensor.dtype) else POISON_BYTE
        tensor.view(torch.uint8).fill_(byte)
    return tensor


def compare(output: Tensor, truth: Tensor, own: Tensor) -> list[str]:
    """What is wrong with one output, given the reference in float64 and in float32."""
    if output.shape != truth.shape or not output.numel():
        return [f"has shape {tuple(output.shape)}, the reference {tuple(truth.shape)}"]
    if not own.is_floating_point() or own.element_size() == 1:
        return compare_codes(output, truth, own)
    if not output.is_floating_point():
        return [f"is {output.dtype}, the reference {own.dtype}"]
    own = own.to(output.dtype)
    finite = torch.isfinite(own)
    if not torch.equal(torch.isfinite(output), finite) or not torch.equal(
        torch.nan_to_num(output.double()[~finite]), torch.nan_to_num(own.double()[~finite])
    ):
        wrong = int((torch.isfinite(output) != finite).sum())
        return [f"{wrong} of {output.numel()} values are not finite where the reference's are, or the reverse"]
    if not finite.any():
        return ["the reference is nowhere finite; give an example that is"]
    zero = torch.zeros((), dtype=torch.float64)
    exact = torch.where(finite, truth.double(), zero)
    error = torch.where(finite, output.double(), zero) - exact
    yardstick = torch.where(finite, own.double(), zero) - exact
    return compare_errors(error, yardstick, exact, output.dtype)


def compare_errors(error: Tensor, yardstick: Tensor, exact: Tensor, dtype: torch.dtype) -> list[str]:
    """The three limits, absolute figures; what is exact by luck is taken to have some rounding of its own.

    In float32 that is half a unit in the last place, as the order of a sum is free; narrower outputs are made from
    float32, so there it is an eighth.
    """
    rounding = torch.finfo(dtype).eps / (2 if dtype == torch.float32 else 8)
    complaints = []
    measures: dict[str, Callable[[Tensor], float]] = {
        "error": lambda x: float(x.norm()),
        "worst element": lambda x: float(x.abs().max()),
    }
    for name, size in measures.items():
        figures = f"{size(error):.3g}, the reference's own {size(yardstick):.3g}, the whole {size(exact):.3g}"
        if size(error) > BUDGET * max(size(yardstick), size(exact) * rounding):
            complaints.append(f"{name} is {figures}")
    if exact.ndim and exact.shape[-1] >= SHORT_ROW:
        by_row = [x.reshape(-1, exact.shape[-1]).norm(dim=1) for x in (error, yardstick, exact)]
        over = by_row[0] > BUDGET * (by_row[1] + 2 * rounding * by_row[2])
        if over.any():
            row = int(over.nonzero()[0])
            errors = [f"{float(sizes[row]):.3g}" for sizes in by_row]
            figures = f"{errors[0]}, the reference's own {errors[1]}, the whole {errors[2]}"
            complaints.append(f"{int(over.sum())} of {len(over)} rows are wrong: row {row} by {figures}")
    return complaints


def compare_codes(output: Tensor, truth: Tensor, own: Tensor) -> list[str]:
    """Whole numbers and fp8 codes are exact; halfway between two, the float64 or the float32 reference decides."""
    if output.dtype != own.dtype:
        return [f"is {output.dtype}, the reference {own.dtype}"]
    wrong = (as_bits(output) != as_bits(own)) & (as_bits(output) != as_bits(truth.to(own.dtype)))
    count = int(wrong.any(dim=1).sum())
    return [f"{count} of {output.numel()} values are not the reference's"] if count else []


def widened(value: Any) -> Any:
    """Floats as float64; everything else as it is."""
    return value.double() if isinstance(value, Tensor) and value.dtype in WIDE else value


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def as_bits(tensor: Tensor) -> Tensor:
    """Unsigned bytes (..., n); NaN equals NaN."""
    return tensor.contiguous().flatten().view(torch.uint8).view(tensor.numel(), -1)


def cases() -> Iterator[Any]:
    """Every file x example x variant; a file that does not load is one case, which says why."""
    for name, path in kernel_paths().items():
        try:
            kernel = load_kernel(path)
        except KernelError:
            yield pytest.param(path, None, None, id=f"{name}-loads")
            continue
        for sizes in kernel.examples:
            for variant in kernel.variants:
                short = str(variant).removeprefix("torch.")
                yield pytest.param(path, sizes, variant, id=f"{name}-{'x'.join(map(str, sizes))}-{short}")


def killed(kernel_name: str, old: str, new: str) -> bool:
    """Whether the project's kernel, with that text replaced in its source, is refused on one of its examples.

    Raises:
        ValueError: the text is not in the source exactly once.
        KernelError: the mutant is no kernel file.
        InterpreterError: the mutant does not run at all; a mistake is no mutant.
    """
    return complaint(kernel_name, old, new) is not None


def complaint(kernel_name: str, old: str, new: str) -> str | None:
    """What `killed` finds first, or None for a mutant that survives."""
    source = kernel_paths()[kernel_name].read_text(encoding="utf-8")
    if source.count(old) != 1 or old == new:
        raise ValueError(f"{kernel_name}: {old!r} is there {source.count(old)} times; name a text that is there once")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{kernel_name}.py"
        path.write_text(source.replace(old, new), encoding="utf-8")
        mutant = load_kernel(path)
        try:
            for sizes in mutant.examples:
                for variant in mutant.variants:
                    if found := judge(mutant, sizes, variant):
                        return f"{sizes} {variant}: {found[0]}"
        finally:
            del sys.modules[mutant.module.__name__]
    return None
