"""Drives baseline, twin and candidate turn by turn until the figures decide, or the time is up."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from porting.comparison.decision import LEAST_TURNS, LOOKS, ONE_LOOK, Look, look_at
from porting.comparison.intervals import Values
from porting.comparison.turns import ROLLOUTS, Load, Turn, read_feed, take_turn
from porting.errors import UsageError
from porting.program import Program
from porting.throughput.clock import Instruments, compare_clocks
from porting.trace.data import TracedSession

LEAST_BUILDS = 3
"""Two builds of a side say next to nothing of how builds vary."""


@dataclass(frozen=True)
class Settings:
    """What is asked of a comparison."""

    limit: float = 0.01
    """Slowdown that is let pass, as a share."""
    seconds: float = 60.0
    """Time allowed, from the first timed turn."""
    rebuilds: int = 1
    """Builds of each side; 1 drives those in the bundles."""
    seed: int = 0
    """Of the order of blocks."""
    priority: bool = True
    """Ask the system to let other processes wait."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            UsageError: naming the value.
        """
        if not 0 < self.limit < 1:
            raise UsageError(f"limit: {self.limit} is no share; give one above 0 and below 1, as 0.01")
        if not 0 < self.seconds < float("inf"):
            raise UsageError(f"seconds: {self.seconds} is no time; give a positive number")
        if self.rebuilds != 1 and self.rebuilds < LEAST_BUILDS:
            raise UsageError(f"rebuilds: {self.rebuilds} say nothing of how builds vary; give 1, or {LEAST_BUILDS} up")


@dataclass
class Measured:
    """What was driven, and what the last look said."""

    rollout_frames: int
    turns: list[Turn] = field(default_factory=list)
    builds: list[int] = field(default_factory=list)
    """Which build each turn drove."""
    look: Look | None = None
    looks: int = 0
    looks_planned: Mapping[float, float] = field(default_factory=lambda: LOOKS)
    """Share of the time -> share of the level."""
    seconds: float = 0.0
    fault: str | None = None
    """Why nothing can be said, whatever the figures are."""
    disturbances: tuple[str, ...] = ()

    @property
    def times(self) -> Values:
        """(turns, 3, frames) in seconds."""
        return np.stack([turn.seconds for turn in self.turns])

    @property
    def component_seconds(self) -> Values:
        """(turns, 3, components)."""
        return np.stack([turn.component_seconds for turn in self.turns])


def measure(
    program: Program,
    session: TracedSession,
    baseline: Sequence[Load],
    candidate: Sequence[Load],
    settings: Settings,
    instruments: Instruments,
    threads: int,
) -> Measured:
    """Take turns until a look decides or the time is up.

    With several builds each turn drives the next one, and the twin is the baseline's build after that: what the
    baseline then differs from itself by is what builds differ by. The figures are looked at once, at the end.

    Args:
        program: what all run.
        session: recorded inputs.
        baseline: one a build.
        candidate: one a build, as many.
        settings: limit and time.
        instruments: clock and watch.
        threads: what the runtimes were given.

    Raises:
        TraceError: the session has no frames or lacks an input.
        RunnerError: a driver cannot be opened or run.
    """
    feed = read_feed(program, session)
    chance, clock, count = random.Random(settings.seed), instruments.clock, len(baseline)
    found = Measured(len(feed.frames), looks_planned=LOOKS if count == 1 else ONE_LOOK)

    def turn(build: int) -> Turn:
        loads = (baseline[build], baseline[(build + 1) % count], candidate[build])
        return take_turn(program, loads, feed, chance, clock)

    # The first opening imports the runtime, and fills caches of the system: no turn is like it.
    found.fault = turn(0).find_fault()
    watch = instruments.watch(threads)
    start, reference = clock.now(), instruments.reference_seconds()
    while found.fault is None:
        build = len(found.turns) % count
        taken = turn(build)
        found.turns.append(taken)
        found.builds.append(build)
        watch.sample()
        found.seconds = clock.now() - start
        found.fault = taken.find_fault() or _find_jump(found.seconds, instruments.reference_seconds() - reference)
        done = found.seconds * (1 + 1 / len(found.turns)) > settings.seconds
        if found.fault is None and _is_due(found, settings.seconds, done):
            _look(found, settings.limit, count)
        if done or (found.look is not None and found.look.decided):
            break
    found.disturbances = watch.disturbances()
    return found


def _find_jump(elapsed: float, reference: float) -> str | None:
    return next(iter(compare_clocks("comparison", elapsed, reference)), None)


def _is_due(found: Measured, seconds: float, done: bool) -> bool:
    """Whether a planned moment has passed since the last look; those passed together are one look."""
    looks = found.looks_planned
    passed = len(looks) if done else sum(found.seconds >= share * seconds for share in looks)
    due = passed > found.looks and len(found.turns) >= LEAST_TURNS
    if due:
        found.looks = passed
    return due


def _look(found: Measured, limit: float, builds: int) -> None:
    groups = np.array(found.builds, np.float64) if builds > 1 else None
    spent = list(found.looks_planned.values())[found.looks - 1]
    found.look = look_at(found.times, limit, spent, ROLLOUTS, groups)
