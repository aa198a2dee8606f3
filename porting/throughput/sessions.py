"""Several sessions on one device: how many hold the promised rate when all of them ask at the same moment.

The sessions are rollouts over one set of runners, as a server would hold the weights once, and take turns: one device
does one thing at a time, and what a scheduler of several processes would add is not in the figure.
"""

from collections.abc import Callable, Mapping

import numpy as np

from porting.errors import PortingError, TraceError, UsageError
from porting.host import available_cores
from porting.profile import ThroughputBudget
from porting.program import Program
from porting.record import Concurrency, SessionLoad
from porting.runners.base import Runner
from porting.throughput.calls import rotate
from porting.throughput.clock import Instruments
from porting.throughput.drive import Drive, LoadRunners
from porting.throughput.frame_log import FrameLog, chunk_frames
from porting.throughput.statistics import distribute
from porting.trace.data import Trace, TracedSession

UNABLE = (PortingError, OSError, RuntimeError, MemoryError)
"""What a number of sessions raises that the device has no room for."""


def measure_sessions(
    program: Program,
    load: LoadRunners,
    trace: Trace,
    budget: ThroughputBudget,
    most: int,
    instruments: Instruments | None = None,
) -> Concurrency:
    """Find the largest number of sessions, up to `most`, of which each keeps the budget.

    One, two, four, ... are tried until one does not hold, then what lies between. Every session has a frame released at
    the same moments, the worst case, and in each round another is served first.

    Args:
        program: what each session runs.
        load: loads one set of runners, which all share.
        trace: session k gets the inputs of its session k, or of an earlier one where there are fewer.
        budget: rate, frames and the share that may be missed.
        most: sessions to try at most.
        instruments: the system's by default.

    Raises:
        UsageError: `most` is not positive.
        TraceError: the trace has no session or no frame.
        RunnerError: not even one session can be run.
    """
    if most < 1:
        raise UsageError(f"sessions: {most} are none; ask for 1 or more")
    if not trace.sessions:
        raise TraceError("trace: has no session to drive; record one")
    instruments = instruments or Instruments()
    runners = load()
    watch = instruments.watch(available_cores())
    tried: dict[int, SessionLoad] = {}

    def holds(count: int) -> bool:
        if count not in tried:
            tried[count] = _try(program, runners, trace.sessions, budget, count, instruments)
            watch.sample()
        return tried[count].holds

    try:
        found = _search(holds, most)
        disturbances = watch.disturbances()
    finally:
        for runner in runners.values():
            runner.close()
    return Concurrency(
        asked=most,
        max_missed_share=budget.max_missed_share,
        loads=tuple(tried[count] for count in sorted(tried)),
        most_that_hold=found,
        disturbances=disturbances,
    )


def _search(holds: Callable[[int], bool], most: int) -> int:
    """The largest count that holds, if all below one that holds do: doubled until it fails, then halved between."""
    good, bad = 0, most + 1
    count = 1
    while count < bad:
        if holds(count):
            good = count
            count = min(2 * count, most) if count < most else bad
        else:
            bad = count
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good


def _try(
    program: Program,
    runners: Mapping[str, Runner],
    sessions: tuple[TracedSession, ...],
    budget: ThroughputBudget,
    count: int,
    instruments: Instruments,
) -> SessionLoad:
    """So many sessions at the promised rate; one that cannot be run at all is an error of the first only."""
    try:
        return _drive(program, runners, sessions, budget, count, instruments)
    except UNABLE as cause:
        if count == 1:
            raise
        why = f"{type(cause).__name__}: {cause}"
        return SessionLoad(sessions=count, frames=0, missed=(), latency_ms=None, holds=False, error=why)


def _drive(
    program: Program,
    runners: Mapping[str, Runner],
    sessions: tuple[TracedSession, ...],
    budget: ThroughputBudget,
    count: int,
    instruments: Instruments,
) -> SessionLoad:
    names = [f"session {index}" for index in range(count)]
    log = FrameLog(count * (program.warmup_frames + budget.paced_frames), names, program)
    drives = {
        name: Drive(name, program, lambda: runners, sessions[index % len(sessions)], log, instruments)
        for index, name in enumerate(names)
    }
    for drive in drives.values():
        drive.open()
        for _ in range(program.warmup_frames):
            drive.step("closed-loop", 0, "warm-up")
    period = budget.deadline_ms * chunk_frames(program) / 1e3
    begin = instruments.clock.now() + period
    for index in range(budget.paced_frames):
        for name in rotate(names, index):
            drives[name].step("paced", 0, "timed", release=begin + index * period)
    rows = [log.find(name, "paced") for name in names]
    late = [log.late_ms(own, period * 1e3) for own in rows]
    missed = tuple(
        int(np.count_nonzero(~(times <= 0) | ~log.emitted(own))) for times, own in zip(late, rows, strict=True)
    )
    return SessionLoad(
        sessions=count,
        frames=budget.paced_frames,
        missed=missed,
        latency_ms=distribute(log.latency_ms(np.concatenate(rows))),
        holds=max(missed) <= budget.max_missed_share * budget.paced_frames,
    )
