"""Judges a kernel in the interpreter: what it computes against its reference, and what it does to memory.

Outputs are held against the reference as the library judges them and are poisoned before the launch, inputs must come
back unchanged, and every address lies in a tensor of the launch.
"""

import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from triton.runtime.errors import InterpreterError

from porting.errors import KernelError
from porting.kernel_library import Kernel, Variant, kernel_paths, load_kernel
from porting.kernel_library.interpreter import mend_interpreter
from porting.kernel_library.judging import as_bits, as_tuple, judge_outputs
from porting.kernel_library.poison import poisoned_allocations

mend_interpreter()


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
    judged = judge_outputs(kernel, before, outputs)
    return [
        *changed,
        *(f"output {index}: {words}" for index, output in enumerate(judged) for words in output.complaints),
    ]


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
