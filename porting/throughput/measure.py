"""Makes throughput evidence: the port alone, closed-loop and paced, then every driver of the same rollout in turn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from porting.errors import PortingError, TraceError, UsageError
from porting.host import available_cores, describe_host
from porting.profile import ThroughputBudget
from porting.program import Program
from porting.record import DriverTiming, ThroughputEvidence
from porting.throughput.calls import rotate
from porting.throughput.clock import Instruments
from porting.throughput.drive import Drive, LoadRunners
from porting.throughput.frame_log import SOLO_ROUND, FrameLog
from porting.throughput.statistics import (
    SLOPE_FRAMES,
    Times,
    distribute,
    frames_per_second,
    memory_slope,
    overhead_share,
    pace,
    ratios_by_round,
)
from porting.trace.data import Trace, TracedSession

EAGER = "eager"
"""Name of the driver that ratios are taken to."""
FRAMES_FILE = "frames.csv"
MIN_ROUNDS = 6
"""Fewest interleaved rounds; with more drivers than that, one round for each to begin."""
ROUND_FRAMES = 24
"""Timed frames of a driver in a round: long enough for a median, short against a machine's moods."""
SETTLING_FRAMES = 2
"""First frames of a turn, untimed: thread pools of the driver before spin for some ms before they sleep."""
UNAVAILABLE = (PortingError, OSError, RuntimeError)
"""What a driver to compare with raises where it cannot run; torch's compiler raises RuntimeErrors of its own."""


@dataclass(frozen=True)
class _Plan:
    """What every phase of one measurement shares."""

    program: Program
    drivers: Mapping[str, LoadRunners]
    session: TracedSession
    budget: ThroughputBudget
    log: FrameLog
    instruments: Instruments

    @property
    def rounds(self) -> int:
        return _count_rounds(len(self.drivers))

    def load(self, name: str) -> Drive:
        return Drive(name, self.program, self.drivers[name], self.session, self.log, self.instruments)

    def warm_up(self, drive: Drive, round_: int) -> None:
        """Fill the window."""
        for _ in range(self.program.warmup_frames):
            drive.step("closed-loop", round_, "warm-up")


@dataclass(frozen=True)
class _Solo:
    """What is known of the port alone beside its rows in the log."""

    load_ms: float
    time_to_first_frame_ms: float
    disturbances: tuple[str, ...]


def measure_throughput(
    program: Program,
    drivers: Mapping[str, LoadRunners],
    port: str,
    trace: Trace,
    budget: ThroughputBudget,
    out_dir: Path,
    threads: int | None = None,
    instruments: Instruments | None = None,
) -> ThroughputEvidence:
    """Drive whole rollouts on the trace's first session, its inputs repeated for as long as it takes.

    The port is loaded first and alone, so that its load time, its memory and its frame times are its own. Then all
    drivers take turns of `ROUND_FRAMES` frames in rotating order, each in a session of its own, and ratios are taken
    between turns of one round. What a driver compiles happens in its priming and warm-up, which no figure counts.

    Args:
        program: what is driven.
        drivers: name -> what loads one runner a component; `port` among them, and "eager", to which ratios are taken.
        port: name of the driver that is judged.
        trace: where the inputs come from.
        budget: frame rate and numbers of frames.
        out_dir: an existing folder; `frames.csv` is written into it, and named relative to it in the evidence.
        threads: what the runtimes were given; all cores by default.
        instruments: clock, memory, watch; the system's by default.

    Raises:
        UsageError: `port` is none of the drivers.
        TraceError: the trace has no session or no frame, or lacks inputs of the program.
        RunnerError: the port cannot be loaded or run.
    """
    if port not in drivers:
        raise UsageError(f"throughput: no driver {port!r}; there are {sorted(drivers)}")
    if not trace.sessions:
        raise TraceError("trace: has no session to drive; record one")
    instruments = instruments or Instruments()
    threads = threads or available_cores()
    log = FrameLog(_count_frames(program, budget, len(drivers)), list(drivers), [c.name for c in program.components])
    plan = _Plan(program, drivers, trace.sessions[0], budget, log, instruments)
    solo = _drive_alone(plan, port, threads)
    not_run = _drive_in_turn(plan, port)
    log.write(out_dir / FRAMES_FILE, budget.deadline_ms)
    return _summarise(plan, port, threads, solo, not_run)


def _count_rounds(drivers: int) -> int:
    return max(MIN_ROUNDS, drivers)


def _count_timed(budget: ThroughputBudget) -> int:
    """Closed-loop frames of the port alone: enough to fit a memory slope."""
    return max(budget.timed_frames, SLOPE_FRAMES)


def _count_frames(program: Program, budget: ThroughputBudget, drivers: int) -> int:
    """All frames of one measurement, warm-up included."""
    alone = 1 + program.warmup_frames + _count_timed(budget) + budget.paced_frames
    turns = program.warmup_frames + _count_rounds(drivers) * (SETTLING_FRAMES + ROUND_FRAMES)
    return alone + drivers * turns


def _drive_alone(plan: _Plan, port: str, threads: int) -> _Solo:
    """Load, prime, warm up, then the closed loop and the paced run."""
    clock = plan.instruments.clock
    drive = plan.load(port)
    try:
        start = clock.now()
        drive.open()
        drive.step("closed-loop", SOLO_ROUND, "warm-up")
        first_ms = (clock.now() - start) * 1e3
        plan.warm_up(drive, SOLO_ROUND)
        watch = plan.instruments.watch(threads)
        for _ in range(_count_timed(plan.budget)):
            drive.step("closed-loop", SOLO_ROUND, "timed", memory=True)
            watch.sample()
        period = plan.budget.deadline_ms / 1e3
        begin = clock.now() + period
        for index in range(plan.budget.paced_frames):
            # The clock of the releases is fixed: a late frame leaves the next one less time.
            drive.step("paced", SOLO_ROUND, "timed", release=begin + index * period)
        return _Solo(drive.load_ms, first_ms, watch.disturbances())
    finally:
        drive.close()


def _drive_in_turn(plan: _Plan, port: str) -> dict[str, str]:
    """Rounds of all drivers; returns those that could not run, and why."""
    drives: dict[str, Drive] = {}
    not_run: dict[str, str] = {}
    try:
        for name in plan.drivers:
            try:
                drives[name] = plan.load(name)
                drives[name].open()
                plan.warm_up(drives[name], 1)
            except UNAVAILABLE as cause:
                if name == port:
                    raise
                # The port's own figures do not depend on what it is compared with.
                not_run[name] = f"{type(cause).__name__}: {cause}"
                if name in drives:
                    drives.pop(name).close()
        for round_ in range(plan.rounds):
            for name in rotate(list(drives), round_):
                for _ in range(SETTLING_FRAMES):
                    drives[name].step("closed-loop", 1 + round_, "settling")
                for _ in range(ROUND_FRAMES):
                    drives[name].step("closed-loop", 1 + round_, "timed")
    finally:
        for drive in drives.values():
            drive.close()
    return not_run


def _summarise(plan: _Plan, port: str, threads: int, solo: _Solo, not_run: dict[str, str]) -> ThroughputEvidence:
    """Every figure, from the log."""
    log, deadline_ms = plan.log, plan.budget.deadline_ms
    closed = log.find(port, "closed-loop", rounds=range(SOLO_ROUND, SOLO_ROUND + 1))
    paced = log.find(port, "paced")
    closed_ms, resident = log.frame_ms(closed), log.resident_bytes(closed)
    # In a closed loop a viewer waits for each frame: the time between two finished frames is the frame's own.
    closed_loop = pace(closed_ms - deadline_ms, np.cumsum(closed_ms), log.emitted(closed))
    faults = log.find_clock_faults()
    disturbances = list(solo.disturbances)
    if faults.size:
        disturbances.append(f"the clock stood still or ran backwards at {faults.size} frames, first in row {faults[0]}")
    return ThroughputEvidence(
        host=describe_host(threads),
        deadline_ms=deadline_ms,
        frame_ms=distribute(closed_ms),
        frames_per_second=frames_per_second(closed_ms, log.emitted(closed)),
        time_to_first_frame_ms=solo.time_to_first_frame_ms,
        load_ms=solo.load_ms,
        warmup_frames=1 + plan.program.warmup_frames,
        closed_loop=closed_loop,
        paced=pace(log.late_ms(paced, deadline_ms), log.finish_ms(paced), log.emitted(paced)),
        drivers=tuple(_summarise_driver(plan, name) for name in plan.drivers if name not in not_run),
        memory_high_water_bytes=int(resident.max()),
        memory_slope_bytes_per_frame=memory_slope(resident),
        host_overhead_share=overhead_share(closed_ms, log.call_ms(closed)),
        frames_file=FRAMES_FILE,
        valid=not disturbances,
        disturbances=tuple(disturbances),
        unchanged_frames=int(np.count_nonzero(~log.emitted(np.concatenate((closed, paced))))),
        not_run=not_run,
    )


def _summarise_driver(plan: _Plan, name: str) -> DriverTiming:
    """One driver over its turns, and against eager turn by turn."""
    log = plan.log
    turns = [range(round_, round_ + 1) for round_ in range(1, 1 + plan.rounds)]
    rows = log.find(name, "closed-loop", rounds=range(1, 1 + plan.rounds))
    own = [_cost_ms(log, name, turn) for turn in turns]
    eager = [_cost_ms(log, EAGER, turn) for turn in turns] if EAGER in log.drivers else []
    median, low, high = ratios_by_round(eager, own)
    return DriverTiming(
        name=name,
        frames_per_second=frames_per_second(log.frame_ms(rows), log.emitted(rows)),
        frame_ms=distribute(log.frame_ms(rows)),
        ratio_to_eager=median,
        ratio_low=low,
        ratio_high=high,
        rounds=plan.rounds,
    )


def _cost_ms(log: FrameLog, name: str, turn: range) -> Times:
    """Time per new frame in one turn: frames that were not written or repeat the one before are paid by the others."""
    rows = log.find(name, "closed-loop", rounds=turn)
    new = np.count_nonzero(log.emitted(rows))
    return log.frame_ms(rows) * (rows.size / new) if new else np.full(rows.size, np.nan)
