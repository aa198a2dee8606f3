"""Every figure of a measurement, from its log. It drives nothing and reads no clock."""

from dataclasses import dataclass

import numpy as np

from porting.host import describe_host
from porting.profile import ThroughputBudget
from porting.program import Program
from porting.record import DriverTiming, Latency, ThroughputEvidence
from porting.throughput.energy import MeterReading, settle_energy
from porting.throughput.frame_log import SOLO_ROUNDS, FrameLog, Rows
from porting.throughput.spending import find_waterfalls, share_out
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
from porting.throughput.viewer import watch_all

EAGER = "eager"
"""Name of the driver that ratios are taken to."""
FRAMES_FILE = "frames.csv"


@dataclass(frozen=True)
class Solo:
    """What is known of the port alone beside its rows in the log."""

    load_ms: float
    time_to_first_frame_ms: float
    disturbances: tuple[str, ...]
    meter: str
    """Whose energy counter."""
    readings: tuple[MeterReading, ...]
    """Before the closed loop, after it, after the paced run."""
    memory_windows: int = 0
    """Further windows of `SLOPE_FRAMES` frames after which memory was looked at, as it still grew before."""


def summarise(
    log: FrameLog,
    program: Program,
    budget: ThroughputBudget,
    port: str,
    *,
    rounds: int,
    threads: int,
    solo: Solo,
    not_run: dict[str, str],
) -> ThroughputEvidence:
    """The evidence of one measurement.

    Args:
        log: every frame of it.
        program: what was driven.
        budget: the rate that was promised.
        port: name of the driver that is judged.
        rounds: interleaved rounds.
        threads: what the runtimes were given.
        solo: what the log does not hold.
        not_run: drivers that could not run, and why.
    """
    deadline_ms = budget.deadline_ms
    period_ms = deadline_ms * log.chunk_frames
    closed = log.find(port, "closed-loop", rounds=SOLO_ROUNDS)
    paced = log.find(port, "paced")
    closed_ms, resident = log.frame_ms(closed), log.resident_bytes(closed)
    settling = log.find(port, "closed-loop", "settling", rounds=SOLO_ROUNDS) if solo.memory_windows else closed
    settled = log.resident_bytes(settling)[-SLOPE_FRAMES:] if solo.memory_windows else resident
    # In a closed loop a viewer waits for each frame: the time between two finished frames is the frame's own.
    closed_loop = pace(closed_ms - period_ms, np.cumsum(closed_ms), log.emitted(closed))
    disturbances = [*solo.disturbances, *_say_faults(log)]
    return ThroughputEvidence(
        host=describe_host(threads),
        deadline_ms=deadline_ms,
        frame_ms=distribute(closed_ms),
        frames_per_second=frames_per_second(closed_ms, log.new_frames(closed)),
        time_to_first_frame_ms=solo.time_to_first_frame_ms,
        load_ms=solo.load_ms,
        warmup_frames=1 + program.warmup_frames,
        closed_loop=closed_loop,
        paced=pace(log.late_ms(paced, period_ms), log.finish_ms(paced), log.emitted(paced)),
        drivers=tuple(_summarise_driver(log, name, rounds) for name in log.drivers if name not in not_run),
        memory_high_water_bytes=int(max(resident.max(), settled.max())),
        memory_slope_bytes_per_frame=memory_slope(settled),
        memory_after_frames=solo.memory_windows * SLOPE_FRAMES,
        host_overhead_share=overhead_share(closed_ms, log.call_ms(closed)),
        frames_file=FRAMES_FILE,
        valid=not disturbances,
        disturbances=tuple(disturbances),
        unchanged_frames=int(np.count_nonzero(~log.emitted(np.concatenate((closed, paced))))),
        not_run=not_run,
        latency=Latency(
            closed_loop_ms=distribute(closed_ms),
            paced_ms=distribute(log.latency_ms(paced)),
            chunk_frames=log.chunk_frames,
            longest_wait_ms=period_ms,
        ),
        viewers=watch_all(_from_first_release(log, paced), log.new_frames(paced), log.chunk_frames, deadline_ms),
        spent=share_out(log, closed),
        waterfalls=find_waterfalls(log, paced),
        energy=settle_energy(
            solo.meter, solo.readings, int(log.new_frames(closed).sum()), int(log.new_frames(paced).sum())
        ),
    )


def _say_faults(log: FrameLog) -> list[str]:
    faults = log.find_clock_faults()
    if not faults.size:
        return []
    return [f"the clock stood still or ran backwards at {faults.size} frames, first in row {faults[0]}"]


def _from_first_release(log: FrameLog, rows: Rows) -> Times:
    """When paced frames were finished, from the first one's release; NaN where the clock did not run."""
    if not rows.size:
        return np.zeros(0)
    first = log.finish_ms(rows[:1]) - log.latency_ms(rows[:1])
    return np.where(np.isfinite(log.frame_ms(rows)), log.finish_ms(rows) - first, np.nan)


def _summarise_driver(log: FrameLog, name: str, rounds: int) -> DriverTiming:
    """One driver over its turns, and against eager turn by turn."""
    turns = [range(round_, round_ + 1) for round_ in range(1, 1 + rounds)]
    rows = log.find(name, "closed-loop", rounds=range(1, 1 + rounds))
    own = [_cost_ms(log, name, turn) for turn in turns]
    eager = [_cost_ms(log, EAGER, turn) for turn in turns] if EAGER in log.drivers else []
    median, low, high = ratios_by_round(eager, own)
    return DriverTiming(
        name=name,
        frames_per_second=frames_per_second(log.frame_ms(rows), log.new_frames(rows)),
        frame_ms=distribute(log.frame_ms(rows)),
        ratio_to_eager=median,
        ratio_low=low,
        ratio_high=high,
        rounds=rounds,
    )


def _cost_ms(log: FrameLog, name: str, turn: range) -> Times:
    """Time per new frame in one turn: frames that were not written or repeat the one before are paid by the others."""
    rows = log.find(name, "closed-loop", rounds=turn)
    new = int(log.new_frames(rows).sum())
    return log.frame_ms(rows) * (rows.size * log.chunk_frames / new) if new else np.full(rows.size, np.nan)
