"""Every kernel file on every example in every dtype or format that it claims, in the mended interpreter."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from porting.errors import KernelError
from porting.kernel_library import Kernel, Variant, kernel_paths, load_kernel
from porting.kernel_library.judging import as_bits, judge_outputs
from tests.kernels.harness import cases, judge, launched, seeded_inputs

PATHS = [pytest.param(path, id=name) for name, path in kernel_paths().items()]
TYPICAL_BYTES = 300e6


def test_there_are_kernels() -> None:
    assert PATHS


@pytest.mark.parametrize(("path", "sizes", "variant"), list(cases()))
def test_it_is_as_exact_as_its_reference(path: Path, sizes: tuple[int, ...], variant: Variant) -> None:
    assert judge(load_kernel(path), sizes, variant) == []


@pytest.mark.parametrize("path", PATHS)
def test_every_tuning_computes_the_same_function(path: Path) -> None:
    kernel = load_kernel(path)
    # Each in the first variant that it is used for: another's rounding is not its business.
    architectures = {name.partition(" ")[0] for name in kernel.tunables if name != "default"}
    tunings: dict[tuple[tuple[str, int], ...], Variant] = {}
    for architecture in sorted(architectures):
        for variant in kernel.variants:
            tunings.setdefault(tuple(sorted(kernel.tuning_for(architecture, variant).items())), variant)
    for tuning, variant in tunings.items():
        if dict(tuning) != kernel.tunables["default"]:
            assert judge(kernel, odd_example(kernel), variant, **dict(tuning)) == []


@pytest.mark.parametrize("path", PATHS)
def test_two_launches_give_the_same_bits(path: Path) -> None:
    kernel = load_kernel(path)
    inputs = seeded_inputs(kernel, odd_example(kernel), kernel.variants[-1])
    for first, second in zip(launched(kernel, inputs), launched(kernel, inputs), strict=True):
        assert torch.equal(as_bits(first), as_bits(second))


@pytest.mark.parametrize("path", PATHS)
def test_a_tensor_with_gaps_is_refused_or_read_rightly(path: Path) -> None:
    kernel = load_kernel(path)
    inputs = seeded_inputs(kernel, odd_example(kernel), kernel.variants[0])
    expected = launched(kernel, inputs)
    tried = 0
    for index, value in enumerate(inputs):
        if isinstance(value, Tensor) and value.numel() > 1:
            with_gaps = torch.stack([value, value], dim=-1)[..., 0]
            tried += 1
            try:
                outputs = launched(kernel, (*inputs[:index], with_gaps, *inputs[index + 1 :]))
            except ValueError:
                continue
            for output, wanted in zip(outputs, expected, strict=True):
                assert torch.equal(as_bits(output), as_bits(wanted)), f"input {index}"
    assert tried


@pytest.mark.parametrize("path", PATHS)
def test_shapes_that_do_not_fit_together_are_refused(path: Path) -> None:
    """One input is a step shorter on one axis: launch refuses it, or it fits and is computed rightly."""
    kernel = load_kernel(path)
    inputs = seeded_inputs(kernel, odd_example(kernel), kernel.variants[0])
    for index, value in enumerate(inputs):
        for axis in range(value.ndim if isinstance(value, Tensor) else 0):
            if value.shape[axis] > 1:
                shorter = value.narrow(axis, 0, value.shape[axis] - 1).contiguous()
                changed = (*inputs[:index], shorter, *inputs[index + 1 :])
                problems = refusal_or_errors(kernel, changed)
                assert problems == [], f"input {index} of {tuple(shorter.shape)}"


def refusal_or_errors(kernel: Kernel, inputs: tuple[Any, ...]) -> list[str]:
    try:
        outputs = launched(kernel, inputs)
    except ValueError:
        return []
    except KernelError as error:
        return [str(error)]
    return [words for judged in judge_outputs(kernel, inputs, outputs) for words in judged.complaints]


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_the_typical_sizes_fit_into_memory(path: Path) -> None:
    kernel = load_kernel(path)
    inputs = seeded_inputs(kernel, kernel.typical, kernel.variants[0])
    assert sum(value.nbytes for value in inputs if isinstance(value, Tensor)) < TYPICAL_BYTES


def odd_example(kernel: Kernel) -> tuple[int, ...]:
    """The smallest example that has a size other than a power of two."""
    odd = [sizes for sizes in kernel.examples if any(size & (size - 1) for size in sizes)]
    return min(odd, key=lambda sizes: sum(sizes))
