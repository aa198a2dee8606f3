"""Happens-before of a program's warps over shared memory."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class Shadow:
    """What orders accesses."""

    def __init__(self, warps: int, shared_bytes: int) -> None:
        self.warps, self.shared_bytes = warps, shared_bytes

    def reset(self) -> None:
        """A program begins."""

    def shared_read(self, address: Integers, extent: int, warp: Integers) -> None:
        """Threads of those warps read `extent` bytes at each address."""

    def shared_write(self, address: Integers, extent: int, warp: Integers) -> None:
        """Threads of those warps write `extent` bytes at each address."""

    def meet(self, arrived: Sequence[int], waited: Sequence[int]) -> None:
        """All that the arrived warps did comes before what the waited ones do next."""
