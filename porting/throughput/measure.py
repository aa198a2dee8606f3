"""Makes throughput evidence: the port alone, closed-loop and paced, then every driver of the same rollout in turn."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from porting.errors import PortingError, TraceError, UsageError
from porting.host import available_cores
from porting.profile import ThroughputBudget
from porting.program import Program
from porting.record import ThroughputEvidence
from porting.throughput.calls import rotate
from porting.throughput.clock import Instruments, compare_clocks
from porting.throughput.drive import Drive, LoadRunners
from porting.throughput.frame_log import SOLO_ROUND, SOLO_ROUNDS, FrameLog
from porting.throughput.statistics import SLOPE_FRAMES, memory_slope
from porting.throughput.summary import FRAMES_FILE, Solo, summarise
from porting.trace.data import Trace, TracedSession

MIN_ROUNDS = 6
"""Fewest interleaved rounds; with more drivers than that, one round for each to begin."""
ROUND_FRAMES = 24
"""Timed frames of a driver in a round: long enough for a median, short against a machine's moods."""
MEMORY_WINDOWS = 20
"""Most windows of `SLOPE_FRAMES` frames for which memory may grow before it counts as a leak."""
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
    log = FrameLog(_count_frames(program, budget, len(drivers)), list(drivers), program)
    plan = _Plan(program, drivers, trace.sessions[0], budget, log, instruments)
    solo = _drive_alone(plan, port, threads)
    not_run = _drive_in_turn(plan, port)
    log.write(out_dir / FRAMES_FILE, budget.deadline_ms)
    return summarise(log, program, budget, port, rounds=plan.rounds, threads=threads, solo=solo, not_run=not_run)


def _count_rounds(drivers: int) -> int:
    return max(MIN_ROUNDS, drivers)


def _count_timed(budget: ThroughputBudget) -> int:
    """Closed-loop frames of the port alone: enough to fit a memory slope."""
    return max(budget.timed_frames, SLOPE_FRAMES)


def _count_frames(program: Program, budget: ThroughputBudget, drivers: int) -> int:
    """All frames of one measurement, warm-up included."""
    alone = 1 + program.warmup_frames + _count_timed(budget) + budget.paced_frames + MEMORY_WINDOWS * SLOPE_FRAMES
    turns = program.warmup_frames + _count_rounds(drivers) * (SETTLING_FRAMES + ROUND_FRAMES)
    return alone + drivers * turns


def _drive_alone(plan: _Plan, port: str, threads: int) -> Solo:
    """Load, prime, warm up, then the closed loop and the paced run."""
    clock = plan.instruments.clock
    with ExitStack() as stack:
        drive = plan.load(port)
        stack.callback(drive.close)
        start = clock.now()
        drive.open()
        drive.step("closed-loop", SOLO_ROUND, "warm-up")
        first_ms = (clock.now() - start) * 1e3
        plan.warm_up(drive, SOLO_ROUND)
        watch = plan.instruments.watch(threads)
        meter = stack.enter_context(plan.instruments.meter())
        readings = [meter.read()]
        disturbances: list[str] = []
        with _noticing_jumps(plan.instruments, "closed loop", disturbances):
            for _ in range(_count_timed(plan.budget)):
                drive.step("closed-loop", SOLO_ROUND, "timed", memory=True)
                watch.sample()
        readings.append(meter.read())
        with _noticing_jumps(plan.instruments, "paced run", disturbances):
            period = plan.budget.deadline_ms * plan.log.chunk_frames / 1e3
            begin = clock.now() + period
            for index in range(plan.budget.paced_frames):
                # The clock of the releases is fixed: a late frame leaves the next one less time.
                drive.step("paced", SOLO_ROUND, "timed", release=begin + index * period)
        readings.append(meter.read())
        seen = (*watch.disturbances(), *disturbances)
        windows = _settle_memory(plan, port, drive)
        return Solo(drive.load_ms, first_ms, seen, meter.source, tuple(readings), windows)


def _settle_memory(plan: _Plan, port: str, drive: Drive) -> int:
    """Go on while memory still grows faster than the budget allows, window by window; returns how many more it took.

    A runtime fills its scratch memory over the first thousands of frames (seen: OpenVINO, 20 MB over 2,500); a leak
    goes on for ever. Frame times of these frames are not counted.
    """
    limit = plan.budget.max_memory_slope_bytes_per_frame
    resident = plan.log.resident_bytes(plan.log.find(port, "closed-loop", rounds=SOLO_ROUNDS))
    for window in range(MEMORY_WINDOWS):
        if not memory_slope(resident) > limit:
            return window
        for _ in range(SLOPE_FRAMES):
            drive.step("closed-loop", SOLO_ROUND, "settling", memory=True)
        rows = plan.log.find(port, "closed-loop", "settling", rounds=SOLO_ROUNDS)
        resident = plan.log.resident_bytes(rows)[-SLOPE_FRAMES:]
    return MEMORY_WINDOWS


@contextmanager
def _noticing_jumps(instruments: Instruments, phase: str, disturbances: list[str]) -> Iterator[None]:
    """Adds a sentence where two clocks do not agree how long the block took."""
    start, reference = instruments.clock.now(), instruments.reference_seconds()
    yield
    took, should = instruments.clock.now() - start, instruments.reference_seconds() - reference
    disturbances.extend(compare_clocks(phase, took, should))


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
