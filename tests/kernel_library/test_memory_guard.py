"""Addresses held against the extents of tensors: gaps, views that overlap, neighbours, and nothing at all."""

import numpy as np
import pytest
import torch
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from porting.errors import KernelError
from porting.kernel_library.memory_guard import MemoryGuard


def touch(guard: MemoryGuard, tensor: Tensor, *elements: int, mask: bool = True) -> None:
    addresses = np.array([tensor.data_ptr() + element * tensor.element_size() for element in elements], dtype=np.uint64)
    guard.check(addresses, np.full(addresses.shape, mask), tensor.element_size(), "a test touches")


def test_every_element_of_a_tensor_may_be_touched_and_no_other() -> None:
    x = torch.empty(10)
    guard = MemoryGuard({"x": x, "n": 10})
    touch(guard, x, *range(10))
    touch(guard, x, -1, 10, 10**9, mask=False)
    with pytest.raises(
        KernelError, match=r"^a test touches 1 of 3 elements outside .* the first 0 elements after the end"
    ):
        touch(guard, x, 0, 9, 10)
    with pytest.raises(KernelError, match="the first 2 elements before x; correct"):
        touch(guard, x, -2)


def test_an_element_that_lies_half_inside_is_outside() -> None:
    x = torch.empty(10, dtype=torch.int16)
    guard = MemoryGuard({"x": x})
    with pytest.raises(KernelError, match="1 of 1 elements outside"):
        guard.check(np.array([x.data_ptr() + 18], np.uint64), np.array([True]), 4, "a test touches")


def test_a_view_is_its_own_extent() -> None:
    x = torch.empty(4, 10)
    guard = MemoryGuard({"row": x[1]})
    touch(guard, x, 10, 19)
    for element in (9, 20):
        with pytest.raises(KernelError, match="1 of 1 elements outside"):
            touch(guard, x, element)


def test_a_view_with_gaps_reaches_to_its_last_element() -> None:
    x = torch.empty(4, 10)
    guard = MemoryGuard({"column": x[:, 0]})
    touch(guard, x, 0, 30)
    with pytest.raises(KernelError, match="1 of 1 elements outside"):
        touch(guard, x, 31)


def test_views_that_overlap_are_one_and_are_both_named() -> None:
    x = torch.empty(10)
    guard = MemoryGuard({"first": x[:6], "second": x[4:]})
    touch(guard, x, *range(10))
    with pytest.raises(KernelError, match="after the end of first, second"):
        touch(guard, x, 10)


def test_descriptors_and_tuples_hold_tensors_too() -> None:
    x, y = torch.empty(16, 16), torch.empty(8)
    guard = MemoryGuard({"x": TensorDescriptor.from_tensor(x, [8, 8]), "pair": (y, 3)})
    touch(guard, x, 0, 255)
    with pytest.raises(KernelError, match=r"after the end of (x|pair\[0\])"):
        touch(guard, y, 8)


def test_without_tensors_nothing_may_be_touched() -> None:
    with pytest.raises(KernelError, match="where there is no tensor at all"):
        touch(MemoryGuard({"n": 1, "empty": torch.empty(0)}), torch.empty(1), 0)
