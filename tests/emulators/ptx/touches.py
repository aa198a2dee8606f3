"""What lies between two barriers of all warps, noted in place of the race detection, which has no part in it.

Used to explain why deleting a barrier changes nothing.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from porting.emulators.ptx.clocks import Clocks
from porting.emulators.ptx.proxies import Proxies
from porting.emulators.ptx.shadow import Integers, Overwrite, Shadow
from porting.emulators.ptx.tensor_memory import Area, TensorOrder


class Touches:
    """What agents touched of one memory since all warps last met; nothing else is known to order anything."""

    conflict = False
    """Whether, between two meetings, one agent wrote what another touched."""

    def __init__(self, clocks: Clocks, size: int) -> None:
        self.clocks, self.size = clocks, size
        self.read: dict[int, npt.NDArray[np.bool_]] = {}
        self.written: dict[int, npt.NDArray[np.bool_]] = {}
        self.last: dict[int, int] = {}
        """Agent -> when it last touched something."""

    def reset(self) -> None:
        """A program begins."""
        self.meet()
        self.read.clear()
        self.written.clear()

    def meet(self) -> None:
        """All warps meet: their touches are over; an engine's are as soon as all of them know that."""
        for reader, read in self.read.items():
            own = self.written.get(reader)
            # A warp that reads what it wrote itself reads its own value.
            foreign = read if own is None else read & ~own
            if any((foreign & written).any() for writer, written in self.written.items() if writer != reader):
                Touches.conflict = True
        known = self.clocks.known[: self.clocks.warps].min(0)
        for agent in {*self.read, *self.written}:
            if agent < self.clocks.warps or known[agent] >= self.last[agent]:
                self.read.pop(agent, None)
                self.written.pop(agent, None)

    def note_read(self, agent: int, places: Integers) -> None:
        """An agent reads."""
        self.read.setdefault(agent, np.zeros(self.size, bool))[places] = True
        self.last[agent] = self.clocks.time

    def note_write(self, agent: int, places: Integers, tolerant: bool = False) -> None:
        """An agent writes; those who write the same value (or the deletion would have been found) may."""
        if not tolerant and any(marks[places].any() for writer, marks in self.written.items() if writer != agent):
            Touches.conflict = True
        self.written.setdefault(agent, np.zeros(self.size, bool))[places] = True
        self.last[agent] = self.clocks.time


class SharedTouches(Shadow):
    """In place of the race detection of shared memory."""

    def __init__(
        self,
        clocks: Clocks,
        content: npt.NDArray[np.uint8],
        base: int,
        name: str = "shared memory",
        proxies: Proxies | None = None,
    ) -> None:
        self.touches = Touches(clocks, len(content))
        super().__init__(clocks, content, base, name, proxies)

    def reset(self) -> None:
        """A program begins."""
        super().reset()
        self.touches.reset()

    def forget(self) -> None:
        """All warps have met."""
        self.touches.meet()

    def shared_read(self, address: Integers, extent: int, agent: Integers) -> None:
        """Note it."""
        for who in np.unique(agent).tolist():
            self.touches.note_read(who, (address[agent == who] - self.base)[:, None] + np.arange(extent))

    def shared_write(self, address: Integers, extent: int, agent: Integers, tolerant: bool = False) -> list[Overwrite]:
        """Note it."""
        for who in np.unique(agent).tolist():
            places = (address[agent == who] - self.base)[:, None] + np.arange(extent)
            self.touches.note_write(who, places, tolerant)
        return []


class TensorTouches(TensorOrder):
    """In place of the race detection of tensor memory."""

    def __init__(self, clocks: Clocks, columns: int) -> None:
        super().__init__(clocks, columns)
        self.touches = Touches(clocks, self._written.size)
        self.places = np.arange(self._written.size).reshape(self._written.shape)
        clocks.on_meeting.append(self.touches.meet)

    def reset(self) -> None:
        """A program begins."""
        super().reset()
        self.touches.reset()

    def read(self, agent: int, areas: Sequence[Area]) -> None:
        """Note it."""
        for area in areas:
            self.touches.note_read(agent, self.places[area.lanes, area.columns].ravel())

    def write(self, agent: int, areas: Sequence[Area]) -> None:
        """Note it."""
        for area in areas:
            self.touches.note_write(agent, self.places[area.lanes, area.columns].ravel())
