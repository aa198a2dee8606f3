"""Happens-before over shared memory: what each agent of a program did, and which agents know of it.

Agents are the warps and, beyond them, engines that work on their own. Time is one counter that every synchronising
event moves on; an agent knows of another's deeds up to a time. Two touch one byte unordered, and one of them writes:
that is a race, except that both write the same value, as warps that hold copies of a tensor's elements do.

Bytes touched since all warps last met are marked; only a touch of a marked byte has the deeds looked through.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind

Integers = npt.NDArray[np.int64]
SHARED_BASE = 1024
ENGINES = 64
"""Agents beyond the warps that there is room for."""
_LONG = 256
"""Deeds after which those that everyone knows of are looked for and dropped."""


@dataclass(frozen=True)
class Deed:
    """One access of some agents."""

    writes: bool
    time: int
    offset: Integers
    extent: int
    agent: Integers
    """Of each offset."""

    def bytes_of(self, agent: int) -> Integers:
        """The offsets of the bytes that one agent touched."""
        return _spread(self.offset[self.agent == agent], self.extent)


@dataclass(frozen=True)
class Overwrite:
    """Bytes that another agent wrote unordered: a race unless they are written as they are."""

    offset: Integers
    before: npt.NDArray[np.uint8]
    fault: Fault


class Shadow:
    """Of one program's shared memory.

    Args:
        warps: the first agents.
        content: the memory's bytes, seen as they change.
    """

    def __init__(self, warps: int, content: npt.NDArray[np.uint8]) -> None:
        self.warps, self.content = warps, content
        self.agents = warps
        size = -(-len(content) // 16) * 16
        self._marks = {True: np.zeros(size, np.uint8), False: np.zeros(size, np.uint8)}
        """Writes?, -> 1 for every byte touched so since all warps met."""
        self._views = {
            writes: {size: marks.view(f"u{size}") for size in (1, 2, 4, 8)} for writes, marks in self._marks.items()
        }
        self._scratch = np.zeros(size, bool)
        self.time = 1
        self.known = np.zeros((warps + ENGINES, warps + ENGINES), np.int64)
        """[agent, other]: the time up to which the agent knows of the other's deeds."""
        self._deeds: list[Deed] = []
        self._channels: dict[Hashable, Integers] = {}

    def reset(self) -> None:
        """A program begins."""
        self.time = 1
        self.known[:] = 0
        self._deeds.clear()
        self._channels.clear()
        for marks in self._marks.values():
            marks[:] = 0

    def engine(self) -> int:
        """One more agent."""
        if self.agents == len(self.known):
            raise Fault(FaultKind.MISUSE, f"more than {ENGINES} engines")
        self.agents += 1
        return self.agents - 1

    # Accesses.

    def shared_read(self, address: Integers, extent: int, agent: Integers) -> None:
        """Agents, one an address, read `extent` bytes at each.

        Raises:
            Fault: RACE.
        """
        offset = address - SHARED_BASE
        if self._touched(True, offset, extent):
            self._check_read(offset, extent, agent)
        self._note(False, offset, extent, agent)

    def shared_write(self, address: Integers, extent: int, agent: Integers, tolerant: bool = False) -> list[Overwrite]:
        """Agents are about to write; what may prove to be a race goes to `settle` afterwards.

        Args:
            address: one an agent.
            extent: bytes at each.
            agent: as many.
            tolerant: whether writing what is there already is no race.

        Raises:
            Fault: RACE.
        """
        offset = address - SHARED_BASE
        doubts: list[Overwrite] = []
        if self._touched(False, offset, extent):
            for who, other, common in self._conflicts(offset, extent, agent, writes=False):
                raise _race(who, "writes", int(common[0]), other, "read")
        if self._touched(True, offset, extent):
            for who, other, common in self._conflicts(offset, extent, agent, writes=True):
                fault = _race(who, "writes", int(common[0]), other, "wrote")
                if not tolerant:
                    raise fault
                doubts.append(Overwrite(common, self.content.take(common), fault))
        self._note(True, offset, extent, agent)
        return doubts

    def settle(self, doubts: Sequence[Overwrite]) -> None:
        """After the write: bytes that changed were a race.

        Raises:
            Fault: RACE.
        """
        for doubt in doubts:
            if (self.content.take(doubt.offset) != doubt.before).any():
                raise doubt.fault

    # What orders.

    def meet(self, arrived: Sequence[int], waited: Sequence[int]) -> None:
        """All that the arrived agents did comes before what the waited ones do next."""
        told = self.known[list(arrived)].max(0)
        told[list(arrived)] = self.time
        waiting = list(waited)
        self.known[waiting] = np.maximum(self.known[waiting], told)
        self.time += 1
        if len(waiting) == self.warps == len(arrived):
            self._forget()

    def release(self, key: Hashable, agents: Sequence[int]) -> None:
        """All that these agents did comes before what those do who acquire under that key."""
        told = self.known[list(agents)].max(0)
        told[list(agents)] = self.time
        self.time += 1
        there = self._channels.get(key)
        self._channels[key] = told if there is None else np.maximum(there, told)

    def acquire(self, key: Hashable, agents: Sequence[int]) -> None:
        """These agents know of what was released under that key."""
        told = self._channels.get(key)
        if told is not None:
            self.known[list(agents)] = np.maximum(self.known[list(agents)], told)

    def drop(self, key: Hashable) -> None:
        """Nothing more is acquired under that key."""
        self._channels.pop(key, None)

    # How it is found.

    def _touched(self, writes: bool, offset: Integers, extent: int) -> bool:
        size = min(extent, 8)
        view = self._views[writes][size]
        place = offset // size
        return any(bool(view.take(place + step).any()) for step in range(extent // size))

    def _note(self, writes: bool, offset: Integers, extent: int, agent: Integers) -> None:
        size = min(extent, 8)
        view = self._views[writes][size]
        place = offset // size
        for step in range(extent // size):
            view[place + step] = 0x0101010101010101 & ((1 << (8 * size)) - 1)
        self._deeds.append(Deed(writes, self.time, offset, extent, agent))
        if len(self._deeds) % _LONG == 0:
            self._forget()

    def _conflicts(
        self, offset: Integers, extent: int, agent: Integers, writes: bool
    ) -> list[tuple[int, int, Integers]]:
        """Who touches bytes that another wrote or read unknown to him: (agent, other, bytes)."""
        found = []
        mine = {who: _spread(offset[agent == who], extent) for who in np.unique(agent).tolist()}
        for deed in self._deeds:
            if deed.writes != writes:
                continue
            for other in np.unique(deed.agent).tolist():
                unknowing = [who for who in mine if who != other and self.known[who, other] < deed.time]
                if not unknowing:
                    continue
                theirs = deed.bytes_of(other)
                self._scratch[theirs] = True
                for who in unknowing:
                    common = mine[who][self._scratch.take(mine[who])]
                    if len(common):
                        found.append((who, other, common))
                self._scratch[theirs] = False
        return found

    def _check_read(self, offset: Integers, extent: int, agent: Integers) -> None:
        for who, other, common in self._conflicts(offset, extent, agent, writes=True):
            # What the reader wrote itself has the same value, or that write was a race.
            own = [deed.bytes_of(who) for deed in self._deeds if deed.writes and (deed.agent == who).any()]
            left = np.setdiff1d(common, np.concatenate(own)) if own else common
            if len(left):
                raise _race(who, "reads", int(left[0]), other, "wrote")

    def _forget(self) -> None:
        """Drop the deeds that all warps know of, and the marks that no other deed made."""
        floor = self.known[: self.warps].min(0)
        for warp in range(self.warps):  # a warp knows its own deeds
            others = np.delete(self.known[: self.warps, warp], warp)
            floor[warp] = others.min() if len(others) else self.time
        kept = [deed for deed in self._deeds if (floor[deed.agent] < deed.time).any()]
        if len(kept) == len(self._deeds):
            return
        self._deeds.clear()
        for marks in self._marks.values():
            marks[:] = 0
        for deed in kept:
            self._marks[deed.writes][_spread(deed.offset, deed.extent)] = 1
        self._deeds.extend(kept)


def _spread(offset: Integers, extent: int) -> Integers:
    return (offset[:, None] + np.arange(extent)).ravel()


def _race(who: int, does: str, offset: int, other: int, did: str) -> Fault:
    return Fault(
        FaultKind.RACE,
        f"warp {who} {does} shared memory at offset {offset}, which warp {other} {did}: nothing orders them",
    )
