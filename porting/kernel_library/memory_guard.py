"""Holds every address that an interpreted kernel touches against the tensors that it was given.

A device reads and writes past the end of a tensor without a word; here it is an error that names program and tensor.
Knows addresses only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from triton.runtime.jit import TensorWrapper
from triton.tools.tensor_descriptor import TensorDescriptor

from porting.errors import KernelError

Addresses = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Extent:
    """The bytes [start, end) that belong to one argument."""

    name: str
    start: int
    end: int


class MemoryGuard:
    """The extents of one launch's arguments, sorted; overlapping views of one tensor count as one."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        found = sorted(_extents(arguments), key=lambda extent: extent.start)
        merged: list[Extent] = []
        for extent in found:
            if merged and extent.start < merged[-1].end:
                last = merged.pop()
                extent = Extent(f"{last.name}, {extent.name}", last.start, max(last.end, extent.end))
            merged.append(extent)
        self.extents = merged
        self._starts = np.array([extent.start for extent in merged], dtype=np.uint64)
        self._ends = np.array([extent.end for extent in merged], dtype=np.uint64)

    def check(self, addresses: Addresses, mask: npt.NDArray[np.bool_], nbytes: int, what: str) -> None:
        """Every unmasked element of that many bytes lies in one argument.

        Args:
            addresses: of the elements.
            mask: which of them are touched; of the same shape.
            nbytes: of one element.
            what: who does what, for the message.

        Raises:
            KernelError: an element lies outside; the message names the nearest argument below it.
        """
        touched = addresses[mask]
        if not touched.size:
            return
        index = np.searchsorted(self._starts, touched, side="right").astype(np.int64) - 1
        inside = index >= 0
        if self.extents:
            inside &= touched + np.uint64(nbytes) <= self._ends[np.maximum(index, 0)]
        if inside.all():
            return
        first = int(np.argmin(inside))
        raise KernelError(
            f"{what} {np.count_nonzero(~inside)} of {touched.size} elements outside its tensors, the first"
            f" {self._place(int(touched[first]), int(index[first]), nbytes)}; correct the mask or the addressing"
        )

    def _place(self, address: int, index: int, nbytes: int) -> str:
        if not self.extents:
            return "where there is no tensor at all"
        if index < 0:
            return f"{(self.extents[0].start - address) // nbytes} elements before {self.extents[0].name}"
        return f"{(address - self.extents[index].end) // nbytes} elements after the end of {self.extents[index].name}"


def _extents(arguments: dict[str, Any]) -> Iterator[Extent]:
    for name, argument in arguments.items():
        match argument:
            case tuple():
                yield from _extents({f"{name}[{index}]": part for index, part in enumerate(argument)})
            case TensorDescriptor(base=base) | TensorWrapper(base=base):
                yield from _extents({name: base})
            case Tensor() if argument.numel():
                elements = 1 + sum(
                    (size - 1) * stride for size, stride in zip(argument.shape, argument.stride(), strict=True)
                )
                start = argument.data_ptr()
                yield Extent(name, start, start + elements * argument.element_size())
