"""A ring's clock: how many frames it holds, and how old each slot is."""

import numpy as np

from porting.program import RingSpec
from porting.runners.base import aligned_zeros


class RingClock:
    """How many frames one ring holds, and the age of each slot."""

    def __init__(self, spec: RingSpec) -> None:
        self.spec = spec
        self.committed = 0
        self.ages = aligned_zeros((spec.window,), np.dtype(np.int64))
        """Frames since each slot was written: 1 for the last one committed, 0 for a slot never written."""
        self._written = np.zeros(spec.window, np.int64)

    def advance(self) -> None:
        """One more frame was written, into slot `spec.slot(committed)`."""
        slot = self.spec.slot(self.committed)
        self.ages += self._written
        self.ages[slot] = self._written[slot] = 1
        self.committed += 1

    def seek(self, committed: int) -> None:
        """Ages as they are after `committed` frames, in exact integers."""
        self.committed = committed
        sink, period = self.spec.sink, self.spec.window - self.spec.sink
        for slot in range(self.spec.window):
            last = slot if slot < sink else committed - 1 - (committed - 1 - slot) % period
            self.ages[slot] = committed - last if slot <= last < committed else 0
        np.greater(self.ages, 0, out=self._written, casting="unsafe")
