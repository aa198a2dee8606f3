"""Where the threads of one program stand: ready at an instruction, waiting, or ended.

Threads that stand at one instruction execute it together. It knows nothing of what they execute.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


class Flow:
    """The threads of one program.

    Args:
        groups: masks that part the threads; the threads of one group run as far as they can before those of the next.
    """

    def __init__(self, groups: Sequence[Mask]) -> None:
        self.groups = tuple(groups)
        self.ready: list[dict[int, Mask]] = [{} for _ in self.groups]
        """Of each group: instruction -> the threads that are to execute it."""
        self.parked: dict[int, Mask] = {}
        """Instruction -> the threads that execute it once more when something has changed."""
        self.ended = np.zeros_like(self.groups[0])

    def start(self) -> None:
        """Every thread at the first instruction."""
        self.ended[:] = False
        self.parked.clear()
        for ready, group in zip(self.ready, self.groups, strict=True):
            ready.clear()
            ready[0] = group

    def resume(self, index: int, mask: Mask) -> None:
        """Let threads go on at an instruction."""
        if len(self.groups) == 1:
            _join(self.ready[0], index, mask)
            return
        for ready, group in zip(self.ready, self.groups, strict=True):
            part = mask & group
            if part.any():
                _join(ready, index, part)

    def park(self, index: int, mask: Mask) -> None:
        """Have threads execute an instruction anew after the next `wake`."""
        if mask.any():
            _join(self.parked, index, mask)

    def wake(self) -> None:
        """Something has changed that a parked thread may wait for."""
        if self.parked:
            parked, self.parked = self.parked, {}
            for index, mask in parked.items():
                self.resume(index, mask)

    def end(self, mask: Mask) -> None:
        """Threads have executed their last instruction."""
        self.ended |= mask

    @property
    def next_group(self) -> dict[int, Mask] | None:
        """What is ready of the first group that has anything; None if no thread can run."""
        return next((ready for ready in self.ready if ready), None)


def _join(table: dict[int, Mask], index: int, mask: Mask) -> None:
    there = table.get(index)
    table[index] = mask if there is None else there | mask
