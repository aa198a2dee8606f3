"""Happens-before over one memory of a program: what each agent did there, and whether others knew of it.

Agents are the warps and, beyond them, engines that work on their own. Two touch one byte unordered, and one of them
writes: that is a race, except that both write the same value, as warps that hold copies of a tensor's elements do.

Bytes touched since all warps last met are marked; only a touch of another's mark has the deeds looked through.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.clocks import Clocks
from porting.emulators.ptx.proxies import Proxies
from porting.emulators.ptx.types import UNSIGNED

Integers = npt.NDArray[np.int64]
_LONG = 256
"""Deeds after which those that everyone knows of are looked for and dropped."""
_SEVERAL = 0xFFFFFFFFFFFFFFFF
_EACH = 0x0101010101010101


@dataclass(frozen=True)
class Deed:
    """One access of some agents."""

    writes: bool
    time: int
    offset: Integers
    extent: int
    agent: Integers
    """Of each offset."""

    @cached_property
    def agents(self) -> tuple[int, ...]:
        """Each once."""
        return tuple(np.unique(self.agent).tolist())

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
    """Of one memory.

    Args:
        clocks: of the program.
        content: the memory's bytes, seen as they change.
        base: address of the first.
        name: of the memory.
        proxies: where what the warps write must be fenced before engines read it.
    """

    def __init__(
        self,
        clocks: Clocks,
        content: npt.NDArray[np.uint8],
        base: int,
        name: str = "shared memory",
        proxies: Proxies | None = None,
    ) -> None:
        self.clocks, self.content, self.base, self.name, self.proxies = clocks, content, base, name, proxies
        size = -(-len(content) // 16) * 16
        self._marks = {True: np.zeros(size, np.uint8), False: np.zeros(size, np.uint8)}
        """Writes?, -> of every byte, who touched it so since all warps met: 0 none, 255 several, else the agent + 1."""
        self._views = {
            writes: {size: marks.view(f"u{size}") for size in (1, 2, 4, 8)} for writes, marks in self._marks.items()
        }
        self._scratch = np.zeros(size, bool)
        self._deeds: list[Deed] = []
        clocks.on_meeting.append(self.forget)

    def reset(self) -> None:
        """A program begins."""
        self._deeds.clear()
        for marks in self._marks.values():
            marks[:] = 0
        if self.proxies is not None:
            self.proxies.reset()

    # Accesses.

    def shared_read(self, address: Integers, extent: int, agent: Integers) -> None:
        """Agents, one an address, read `extent` bytes at each.

        Raises:
            Fault: RACE.
        """
        offset = address - self.base
        if self._touched(True, offset, extent, agent):
            self._check_read(offset, extent, agent)
        self._keep(False, offset, extent, agent)

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
        offset = address - self.base
        doubts: list[Overwrite] = []
        if self._touched(False, offset, extent, agent):
            for who, other, common in self._conflicts(offset, extent, agent, writes=False):
                raise self._race(who, "writes", int(common[0]), other, "read")
        if self._touched(True, offset, extent, agent):
            for who, other, common in self._conflicts(offset, extent, agent, writes=True):
                fault = self._race(who, "writes", int(common[0]), other, "wrote")
                if not tolerant:
                    raise fault
                doubts.append(Overwrite(common, self.content.take(common), fault))
        self._keep(True, offset, extent, agent)
        if self.proxies is not None:
            self.proxies.write(offset, extent, agent)
        return doubts

    def settle(self, doubts: Sequence[Overwrite]) -> None:
        """After the write: bytes that changed were a race.

        Raises:
            Fault: RACE.
        """
        for doubt in doubts:
            if (self.content.take(doubt.offset) != doubt.before).any():
                raise doubt.fault

    # How it is found.

    def _touched(self, writes: bool, offset: Integers, extent: int, agent: Integers) -> bool:
        """Whether an agent touches a byte that is marked as another's."""
        size = min(extent, 8)
        view = self._views[writes][size]
        place, own = offset // size, _patterns(agent, size)
        for step in range(extent // size):
            marks = view.take(place + step)
            if marks.any() and ((marks != 0) & (marks != own)).any():
                return True
        return False

    def _note(self, writes: bool, offset: Integers, extent: int, agent: Integers) -> None:
        size = min(extent, 8)
        view = self._views[writes][size]
        place, own = offset // size, _patterns(agent, size)
        several = own.dtype.type(_SEVERAL & ((1 << (8 * size)) - 1))
        alone = bool((agent == agent[0]).all())
        for step in range(extent // size):
            at = place + step
            marks = view.take(at)
            if marks.any():
                view[at] = np.where((marks == 0) | (marks == own), own, several)
            else:
                view[at] = own
            if not alone:  # of two at one place, the last one's mark is there
                view[at[view.take(at) != own]] = several

    def _keep(self, writes: bool, offset: Integers, extent: int, agent: Integers) -> None:
        self._note(writes, offset, extent, agent)
        self._deeds.append(Deed(writes, self.clocks.time, offset, extent, agent))
        if len(self._deeds) % _LONG == 0:
            self.forget()

    def _conflicts(
        self, offset: Integers, extent: int, agent: Integers, writes: bool
    ) -> list[tuple[int, int, Integers]]:
        """Who touches bytes that another wrote or read unknown to him: (agent, other, bytes)."""
        found = []
        deeds = [deed for deed in self._deeds if deed.writes == writes]
        mine = {who: _spread(offset[agent == who], extent) for who in np.unique(agent).tolist()}
        for deed in deeds:
            for other in deed.agents:
                unknowing = [who for who in mine if who != other and self.clocks.known[who, other] < deed.time]
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
                raise self._race(who, "reads", int(left[0]), other, "wrote")

    def forget(self) -> None:
        """Drop the deeds that all warps know of, and the marks that no other deed made."""
        floor = self.clocks.floor()
        kept = [deed for deed in self._deeds if (floor[deed.agent] < deed.time).any()]
        if len(kept) == len(self._deeds):
            return
        self._deeds.clear()
        for marks in self._marks.values():
            marks[:] = 0
        for deed in kept:
            self._note(deed.writes, deed.offset, deed.extent, deed.agent)
        self._deeds.extend(kept)

    def _race(self, who: int, does: str, offset: int, other: int, did: str) -> Fault:
        names = [self.clocks.name(one) for one in (who, other)]
        return Fault(
            FaultKind.RACE,
            f"{names[0]} {does} {self.name} at offset {offset}, which {names[1]} {did}: nothing orders them",
        )


def _patterns(agent: Integers, size: int) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Each agent's mark in every byte of an element of that size."""
    each = UNSIGNED[size].type(_EACH & ((1 << (8 * size)) - 1))
    patterns: npt.NDArray[np.unsignedinteger[Any]] = (agent + 1).astype(UNSIGNED[size]) * each
    return patterns


def _spread(offset: Integers, extent: int) -> Integers:
    return (offset[:, None] + np.arange(extent)).ravel()
