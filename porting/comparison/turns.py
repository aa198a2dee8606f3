"""One turn: three drivers opened anew, and whole rollouts of the recorded trace in short alternating blocks.

A slow second of the machine falls on all three, in an order that chance decides for every block. Addresses that happen
to suit the caches make one opened artifact faster than the next of the same file, by more than a per cent (seen on a
CPU); opened anew for every turn, that becomes noise that averages out.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from porting.comparison.intervals import Values
from porting.errors import TraceError
from porting.program import Program
from porting.rollout import COPY, Rollout, Span
from porting.runners.base import Buffer, Runner
from porting.throughput.clock import Clock
from porting.trace.data import TracedSession

Load = Callable[[], Mapping[str, Runner]]
"""Opens one runner a component."""

BLOCK_FRAMES = 4
"""Long enough for a driver's threads and caches, short against a machine's moods."""
ROLLOUTS = 1
"""Of each driver in a turn: more would time more frames in a minute, and fewer opened artifacts, which vary more."""
WARMUP_FRAMES = 4
"""Untimed frames after opening: first calls allocate."""


@dataclass(frozen=True)
class Turn:
    """The times of one turn; the first axis is the driver."""

    seconds: Values
    """(drivers, rollouts * frames)."""
    component_seconds: Values
    """(drivers, components): over all timed frames."""
    unwritten: int
    """Pictures that were looked at and hold something else than numbers."""

    def find_fault(self) -> str | None:
        """Why these times are none; None when they are."""
        if self.unwritten:
            return f"{self.unwritten} pictures were not written, or hold NaN"
        bad = int(np.count_nonzero(~(np.isfinite(self.seconds) & (self.seconds > 0))))
        if self.seconds.size == 0:
            return "no frame was timed"
        return f"the clock stood still, ran backwards or told no time at {bad} frames" if bad else None


@dataclass(frozen=True)
class Feed:
    """What every driver is fed: the first recorded session."""

    session_inputs: Mapping[str, Buffer]
    frames: tuple[Mapping[str, Buffer], ...]


def read_feed(program: Program, session: TracedSession) -> Feed:
    """The inputs of each frame, made once, so that no frame pays for it.

    Raises:
        TraceError: the session has no frames, or lacks an input.
    """
    names = [i.tensor.name for i in program.inputs if i.scope == "frame"]
    missing = sorted(set(names) - session.frame_inputs.keys())
    if missing:
        raise TraceError(f"trace: its session lacks the frame inputs {missing}; record it with this program")
    count = min((len(session.frame_inputs[name]) for name in names), default=len(session.frames))
    if count == 0:
        raise TraceError("trace: its session has no frames; record it again")
    frames = [{name: np.ascontiguousarray(session.frame_inputs[name][k]) for name in names} for k in range(count)]
    return Feed(session.session_inputs, tuple(frames))


class _Driver:
    """One opened driver; counts what it writes."""

    def __init__(self, program: Program, runners: Mapping[str, Runner], feed: Feed, clock: Clock) -> None:
        self._rollout = Rollout(program, runners)
        self._feed, self._clock = feed, clock
        self._spans: list[Span] = []
        self._components = {component.name: k for k, component in enumerate(program.components)}
        self.component_seconds = np.zeros(len(self._components))
        self.unwritten = 0
        self.open()
        self._picture = self._rollout.step(feed.frames[0])
        for k in range(1, WARMUP_FRAMES):
            self._rollout.step(feed.frames[k % len(feed.frames)])
        self._rollout.spans = self._spans

    def open(self) -> None:
        """Begin the session anew, untimed."""
        self._rollout.open(self._feed.session_inputs)

    def run_block(self, frames: range, seconds: Values) -> None:
        """Time these frames into `seconds`; the last picture is looked at."""
        for frame in frames:
            last = frame == frames[-1]
            if last and self._picture.dtype.kind not in "iub":
                # What a runner does not write stays NaN and is no picture.
                self._picture.fill(np.nan)
            inputs = self._feed.frames[frame]
            start = self._clock.now()
            self._picture = self._rollout.step(inputs)
            seconds[frame] = self._clock.now() - start
            if last and self._picture.dtype.kind not in "iub":
                self.unwritten += not bool(np.isfinite(self._picture).all())
        for what, begin, end in self._spans:
            if what != COPY:
                self.component_seconds[self._components[what]] += end - begin
        self._spans.clear()


def take_turn(program: Program, loads: Sequence[Load], feed: Feed, chance: random.Random, clock: Clock) -> Turn:
    """Open every driver, drive `ROLLOUTS` rollouts of all in alternating blocks, close them.

    Args:
        program: what each driver runs.
        loads: one a driver.
        feed: inputs.
        chance: decides the order of opening and of each block.
        clock: tells the time.

    Raises:
        RunnerError: a driver cannot be opened or run.
    """
    order, frames = list(range(len(loads))), len(feed.frames)
    seconds = np.full((len(loads), ROLLOUTS, frames), np.nan)
    drivers: dict[int, _Driver] = {}
    with ExitStack() as stack:
        for k in chance.sample(order, len(order)):
            runners = loads[k]()
            for runner in runners.values():
                stack.callback(runner.close)
            drivers[k] = _Driver(program, runners, feed, clock)
        for rollout in range(ROLLOUTS):
            for driver in drivers.values():
                driver.open()
            for first in range(0, frames, BLOCK_FRAMES):
                for k in chance.sample(order, len(order)):
                    block = range(first, min(first + BLOCK_FRAMES, frames))
                    drivers[k].run_block(block, seconds[k, rollout])
    spent = np.stack([drivers[k].component_seconds for k in order])
    unwritten = sum(driver.unwritten for driver in drivers.values())
    return Turn(seconds.reshape(len(loads), -1), spent, unwritten)
