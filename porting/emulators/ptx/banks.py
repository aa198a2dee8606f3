"""How many turns beyond the least a warp's access to shared memory takes, as 32 banks of four bytes serve it.

A warp's access of 4 bytes a thread or fewer is one turn, of 8 bytes two (16 threads each), of 16 bytes four (8 threads
each); within a turn, each further word of one bank is one turn more. What the hardware merges beyond that is not known.
"""

import numpy as np
import numpy.typing as npt

from porting.emulators.launch import Counts
from porting.emulators.ptx.active import WARP

_BANKS = 32


class Banks:
    """Counts into a launch's counts; the answer for a pattern of addresses is kept."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._known: dict[tuple[bytes, bytes, int], int] = {}

    def access(self, address: npt.NDArray[np.int64], warp: npt.NDArray[np.int64], extent: int) -> None:
        """Count one access of `extent` bytes a thread: (n,) addresses, and the warp of each."""
        # Moving all addresses by whole words turns the banks and changes no count.
        key = ((address - (address[0] & -4)).tobytes(), warp.tobytes(), extent)
        turns = self._known.get(key)
        if turns is None:
            turns = self._known[key] = extra_turns(address, warp, extent)
        self.counts.bank_conflicts += turns


def extra_turns(address: npt.NDArray[np.int64], warp: npt.NDArray[np.int64], extent: int) -> int:
    """Turns beyond the least, summed over the warps."""
    threads = max(1, WARP * 4 // max(extent, 4))
    words = max(1, extent // 4)
    extra = 0
    for one in np.unique(warp):
        lanes = address[warp == one]
        for start in range(0, len(lanes), threads):
            touched = np.unique((lanes[start : start + threads, None] >> 2) + np.arange(words))
            extra += int(np.bincount(touched % _BANKS).max()) - 1
    return extra
