"""A long rollout: whether a frame costs as much after many thousands as after a hundred, in time and in memory."""

from porting.errors import UsageError
from porting.host import Watch, available_cores
from porting.program import Program
from porting.record import Soak
from porting.throughput.clock import Instruments, compare_clocks
from porting.throughput.drive import Drive, LoadRunners
from porting.throughput.frame_log import FrameLog
from porting.throughput.statistics import memory_slope, overhead_share, ratios_by_round
from porting.trace.data import Trace

SETTLED_FRAMES = 100
"""Frames after which windows are full and allocators have what they need."""
ROUNDS = 20
ROUND_FRAMES = 24
LEAST_FRAMES = 1000
OLD, YOUNG = "old", "young"


def measure_soak(
    program: Program, load: LoadRunners, trace: Trace, frames: int, instruments: Instruments | None = None
) -> Soak:
    """Drive the first session's inputs, repeated, closed-loop for that many frames; then race a young rollout.

    A frame that is not written, or is the one before, makes the slowdown NaN.

    Raises:
        UsageError: fewer than `LEAST_FRAMES` frames, or a trace without a session.
        TraceError: the trace has no frames for the program.
        RunnerError: a runner cannot be loaded or run.
    """
    if frames < LEAST_FRAMES or not trace.sessions:
        raise UsageError(f"soak: {frames} frames of {len(trace.sessions)} sessions; ask for {LEAST_FRAMES} of one")
    instruments = instruments or Instruments()
    watch = instruments.watch(available_cores())
    start, reference = instruments.clock.now(), instruments.reference_seconds()
    capacity = frames + SETTLED_FRAMES + 2 * ROUNDS * ROUND_FRAMES
    log = FrameLog(capacity, [OLD, YOUNG], program)
    drives: list[Drive] = []
    try:
        drives.append(Drive(OLD, program, load, trace.sessions[0], log, instruments))
        _run(drives[0], frames, watch, memory=True)
        drives.append(Drive(YOUNG, program, load, trace.sessions[0], log, instruments))
        _run(drives[1], SETTLED_FRAMES, watch, memory=False)
        for round_ in range(1, 1 + ROUNDS):
            for drive in drives if round_ % 2 else drives[::-1]:
                for _ in range(ROUND_FRAMES):
                    drive.step("closed-loop", round_, "timed")
                watch.sample()
        took, should = instruments.clock.now() - start, instruments.reference_seconds() - reference
        disturbances = (*watch.disturbances(), *compare_clocks("soak", took, should))
    finally:
        for drive in drives:
            drive.close()
    return _summarise(log, frames, disturbances)


def _run(drive: Drive, frames: int, watch: Watch, memory: bool) -> None:
    drive.open()
    for _ in range(frames):
        drive.step("closed-loop", 0, "timed", memory=memory)
        watch.sample()


def _summarise(log: FrameLog, frames: int, disturbances: tuple[str, ...]) -> Soak:
    settled = log.find(OLD, "closed-loop", rounds=range(1))[SETTLED_FRAMES:]
    turns = {
        name: [log.find(name, "closed-loop", rounds=range(r, r + 1)) for r in range(1, 1 + ROUNDS)]
        for name in (OLD, YOUNG)
    }
    made = all(log.emitted(rows).all() for rows in (settled, *turns[OLD], *turns[YOUNG]))
    old, young = ([log.frame_ms(rows) for rows in turns[name]] for name in (OLD, YOUNG))
    median, low, high = ratios_by_round(old if made else [], young if made else [])
    resident = log.resident_bytes(settled)
    return Soak(
        frames=frames,
        slowdown=median,
        slowdown_low=low,
        slowdown_high=high,
        memory_slope_bytes_per_frame=memory_slope(resident),
        memory_growth_bytes=int(resident[-1] - resident[0]),
        host_overhead_share=overhead_share(log.frame_ms(settled), log.call_ms(settled)),
        disturbances=disturbances,
    )
