"""Who knows of whose deeds: the order that barriers and waits make between a program's warps and engines.

Time is one counter that every synchronising event moves on. It knows nothing of what the deeds are.
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind

Integers = npt.NDArray[np.int64]
ENGINES = 64
"""Agents beyond the warps that there is room for."""


class Clocks:
    """Of one program.

    Args:
        warps: the first agents.
    """

    def __init__(self, warps: int) -> None:
        self.warps = self.agents = warps
        self.time = 1
        self.room = warps + ENGINES
        self.known = np.zeros((self.room, 2 * self.room), np.int64)
        """[agent, other]: the time up to which the agent knows of the other's deeds; [agent, room + other]: up to which
        it knows them fenced from the asynchronous proxy."""
        self._names = [f"warp {warp}" for warp in range(warps)]
        self.on_meeting: list[Callable[[], None]] = []
        """Called when all warps have met: much need not be kept any longer."""
        self._channels: dict[Hashable, Integers] = {}

    def reset(self) -> None:
        """A program begins."""
        self.time = 1
        self.known[:] = 0
        self._channels.clear()

    def engine(self, name: str = "") -> int:
        """One more agent, for every program of the launch."""
        if self.agents == len(self.known):
            raise Fault(FaultKind.MISUSE, f"more than {ENGINES} engines")
        self.agents += 1
        self._names.append(name or f"engine {self.agents - 1 - self.warps}")
        return self.agents - 1

    def name(self, agent: int) -> str:
        """What an agent is called."""
        return self._names[agent]

    def fence(self, agents: Sequence[int]) -> None:
        """All that these agents know of, and did, is fenced from the asynchronous proxy from now on."""
        for agent in agents:
            row = self.known[agent]
            np.maximum(row[self.room :], row[: self.room], out=row[self.room :])
            row[self.room + agent] = self.time
        self.time += 1

    def fenced(self, agents: Integers) -> Integers:
        """[agent, other]: the time up to which an agent may see the other's writes through the asynchronous proxy.

        What an engine wrote needs no fence.
        """
        rows = self.known[agents]
        seen: Integers = np.concatenate(
            [rows[:, self.room :][:, : self.warps], rows[:, self.warps : self.room]], axis=1
        )
        return seen

    def tell(self, agents: Sequence[int]) -> Integers:
        """What these agents know now, their own deeds up to now included."""
        told: Integers = self.known[list(agents)].max(0)
        told[list(agents)] = self.time
        self.time += 1
        return told

    def learn(self, agents: Sequence[int], told: Integers) -> None:
        """These agents know that from now on."""
        self.known[list(agents)] = np.maximum(self.known[list(agents)], told)

    def meet(self, arrived: Sequence[int], waited: Sequence[int]) -> None:
        """All that the arrived agents did comes before what the waited ones do next."""
        self.learn(waited, self.tell(arrived))
        if len(waited) == self.warps == len(arrived):
            for forget in self.on_meeting:
                forget()

    def release(self, key: Hashable, agents: Sequence[int]) -> None:
        """All that these agents did comes before what those do who acquire under that key."""
        told = self.tell(agents)
        there = self._channels.get(key)
        self._channels[key] = told if there is None else np.maximum(there, told)

    def acquire(self, key: Hashable, agents: Sequence[int]) -> None:
        """These agents know of what was released under that key."""
        told = self._channels.get(key)
        if told is not None:
            self.learn(agents, told)

    def drop(self, key: Hashable) -> None:
        """Nothing more is acquired under that key."""
        self._channels.pop(key, None)

    def floor(self) -> Integers:
        """Of each agent, the time up to which every warp knows of its deeds; a warp knows its own."""
        floor: Integers = self.known[: self.warps, : self.room].min(0)
        for warp in range(self.warps):
            others = np.delete(self.known[: self.warps, warp], warp)
            floor[warp] = others.min() if len(others) else self.time
        return floor
