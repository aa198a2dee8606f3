"""One driver of a rollout: steps it through recorded inputs and notes every frame in the log."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from porting.errors import TraceError
from porting.program import Program
from porting.rollout import Rollout, Span
from porting.runners.base import Buffer, Runner
from porting.throughput.clock import Instruments
from porting.throughput.frame_log import FrameLog, Mode, Phase
from porting.trace.data import TracedSession

LoadRunners = Callable[[], Mapping[str, Runner]]


class Drive:
    """A rollout that is timed. Every frame starts with its inputs at hand and ends when the picture is there."""

    def __init__(
        self,
        name: str,
        program: Program,
        load: LoadRunners,
        session: TracedSession,
        log: FrameLog,
        instruments: Instruments,
    ) -> None:
        """Load the runners and bind them.

        Raises:
            TraceError: the session has no frames.
            RunnerError: a runner cannot be loaded or bound.
        """
        self.name = name
        self._session = session
        self._inputs = _frame_inputs(program, session)
        self._log = log
        self._instruments = instruments
        start = instruments.clock.now()
        self._runners = load()
        self._rollout = Rollout(program, self._runners)
        self.load_ms = (instruments.clock.now() - start) * 1e3
        self._spans: list[Span] = []
        self._rollout.spans = self._spans
        self._frame = 0
        self._picture: Buffer | None = None
        self._before: Buffer | None = None
        self._same: Buffer | None = None

    def open(self) -> None:
        """Begin the session anew: priming, no generated frame."""
        self._rollout.open(self._session.session_inputs)
        self._frame = 0

    def step(self, mode: Mode, round_: int, phase: Phase, release: float = math.nan, memory: bool = False) -> None:
        """Make and note one frame; with `release` it starts no earlier than that moment of the clock."""
        clock = self._instruments.clock
        inputs = self._inputs[self._frame % len(self._inputs)]
        if self._picture is not None:
            # What a runner does not write stays NaN and is no frame.
            self._picture.fill(np.nan)
        if not math.isnan(release):
            clock.wait_until(release)
        self._spans.clear()
        start = clock.now()
        self._picture = self._rollout.step(inputs)
        finish = clock.now()
        resident = self._instruments.resident_bytes() if memory else -1
        labels = (self.name, mode, round_, self._frame, phase)
        self._log.add(labels, (release, start, finish), self._count_new(self._picture), resident, self._spans)
        self._frame += 1

    def close(self) -> None:
        """Release the runtimes."""
        for runner in self._runners.values():
            runner.close()

    def _count_new(self, picture: Buffer) -> int:
        """Pixel frames that were written and differ from the one before; no memory is taken after the first.

        A chunk's frames are compared one by one: a clip that stands still is no clip.
        """
        chunk = _split_moments(picture, self._log.chunk_frames)
        if self._before is None or self._same is None:
            self._before = np.full_like(chunk[0], np.nan)
            self._same = np.empty(chunk[0].shape, np.bool_)
        new, before = 0, self._before
        for frame in chunk:
            np.equal(frame, before, out=self._same)
            written = bool(np.isfinite(frame.min()) and np.isfinite(frame.max()))
            new += written and not bool(self._same.all())
            before = frame
        np.copyto(self._before, before)
        return new


def _split_moments(picture: Buffer, count: int) -> Buffer:
    """Views of a chunk's moments, first one first: of (1, T, 3, H, W), or one below the other in (1, 3, T * H, W)."""
    if picture.ndim == 4:
        return picture.reshape(picture.shape[1], count, -1).swapaxes(0, 1)
    return picture.reshape(count, -1)


def _frame_inputs(program: Program, session: TracedSession) -> list[dict[str, Buffer]]:
    """What each recorded frame is fed, made once, so that no frame pays for it."""
    names = [i.tensor.name for i in program.inputs if i.scope == "frame"]
    frames = min((len(session.frame_inputs[name]) for name in names if name in session.frame_inputs), default=1)
    missing = sorted(set(names) - session.frame_inputs.keys())
    if frames == 0 or missing:
        reason = f"lacks the frame inputs {missing}" if missing else "has no frames"
        raise TraceError(f"trace: its session {reason}; record one with the program that is measured")
    return [{name: np.ascontiguousarray(session.frame_inputs[name][k]) for name in names} for k in range(frames)]
