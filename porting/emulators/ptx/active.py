"""Which threads execute an instruction, in the forms that executing it needs, each made once."""

from typing import Literal

import numpy as np
import numpy.typing as npt

WARP = 32
"""Threads of a warp."""


class Active:
    """The threads of one program that stand at one instruction.

    Args:
        mask: (threads,), not to be changed afterwards.
        full: whether every thread of the program is active, where the caller knows.
    """

    __slots__ = ("_index", "_pairs", "_warps", "count", "full", "mask", "where")

    def __init__(self, mask: npt.NDArray[np.bool_], full: bool | None = None) -> None:
        self.mask = mask
        self.count: int = len(mask) if full else int(np.count_nonzero(mask))
        """Active threads."""
        self.full = self.count == len(mask)
        self.where: Literal[True] | npt.NDArray[np.bool_] = True if self.full else mask
        """For a numpy function's `where`."""
        self._index: npt.NDArray[np.int64] | None = None
        self._warps: npt.NDArray[np.int64] | None = None
        self._pairs: npt.NDArray[np.bool_] | None = None

    @property
    def index(self) -> npt.NDArray[np.int64]:
        """The active threads, ascending."""
        if self._index is None:
            self._index = np.flatnonzero(self.mask)
        return self._index

    @property
    def pairs(self) -> Literal[True] | npt.NDArray[np.bool_]:
        """For a numpy function's `where` on rows of several elements a thread: (threads, 1)."""
        if self.full:
            return True
        if self._pairs is None:
            self._pairs = self.mask[:, None]
        return self._pairs

    @property
    def warps(self) -> npt.NDArray[np.int64]:
        """The warps with an active thread, ascending."""
        if self._warps is None:
            self._warps = np.flatnonzero(self.mask.reshape(-1, WARP).any(1))
        return self._warps

    @property
    def whole(self) -> bool:
        """Whether each of those warps is active with all its threads."""
        return self.full or self.count == WARP * len(self.warps)
