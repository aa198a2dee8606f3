"""The raw time of every frame, in memory of fixed size, and as a CSV file.

A log that grew with every frame would be taken for a leak of the port, so every row is there before the first frame.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from porting.program import Program
from porting.rollout import COPY, Span
from porting.throughput.statistics import Times

Rows = npt.NDArray[np.intp]
"""Row numbers of a log."""
Mode = Literal["closed-loop", "paced"]
Phase = Literal["warm-up", "settling", "timed"]
"""Only timed frames count: warm-up fills the window, settling lets the driver before go to sleep."""
MODES: tuple[Mode, ...] = ("closed-loop", "paced")
PHASES: tuple[Phase, ...] = ("warm-up", "settling", "timed")
COLUMNS = ("driver", "mode", "round", "frame", "phase", "warmup", "ms", "late_ms", "emitted", "resident_bytes")
SOLO_ROUND = 0
"""The port alone; interleaved rounds count from 1."""
SOLO_ROUNDS = range(SOLO_ROUND, SOLO_ROUND + 1)


def chunk_frames(program: Program) -> int:
    """Pixel frames that one run of the frame program finishes: its pictures, or T of a picture (1, T, 3, H, W)."""
    shapes = {
        tensor.shape
        for call in program.frame
        for tensor in program.component(call.component).outputs
        if tensor.name in call.outputs
        and (call.outputs[tensor.name].kind, call.outputs[tensor.name].name) == ("value", program.frame_value)
    }
    return max((shape[1] for shape in shapes if len(shape) == 5), default=1) * program.pictures_per_frame


def span_names(program: Program) -> tuple[str, ...]:
    """What a rollout spends each stretch of a frame on, in its order: components' names and COPY."""
    rings = {state.tensor.name for state in program.states if state.update == "ring"}
    names = [COPY]
    for call in program.frame:
        names.append(call.component)
        if any(sink.kind == "state" and sink.name in rings for sink in call.outputs.values()):
            names.append(COPY)
    return tuple(names)


class FrameLog:
    """Rows in order of time; a row is one frame of one driver, or one chunk of a program that makes several at once."""

    def __init__(self, capacity: int, drivers: Sequence[str], program: Program) -> None:
        """Allocate and touch `capacity` rows."""
        self.drivers = tuple(drivers)
        self.components = tuple(component.name for component in program.components)
        self.span_names = span_names(program)
        self.chunk_frames = chunk_frames(program)
        self.rows = 0
        self._labels = np.full((capacity, 5), -1, np.int32)
        self._seconds = np.full((capacity, 3), np.nan, np.float64)
        self._resident = np.full(capacity, -1, np.int64)
        self._new = np.full(capacity, 0, np.int32)
        self._spans = np.full((capacity, len(self.span_names), 2), np.nan, np.float64)

    def add(
        self,
        labels: tuple[str, Mode, int, int, Phase],
        seconds: tuple[float, float, float],
        new_frames: int,
        resident_bytes: int,
        spans: Sequence[Span],
    ) -> None:
        """Note one frame.

        Args:
            labels: driver, mode, round, frame, phase.
            seconds: release (NaN where nothing was paced), start, finish.
            new_frames: pixel frames that were written, and are others than the one before.
            resident_bytes: memory in use after it; -1 where it was not read.
            spans: what its time went into, as `span_names` lists it.
        """
        driver, mode, round_, frame, phase = labels
        row = self.rows
        self._labels[row] = self.drivers.index(driver), MODES.index(mode), round_, frame, PHASES.index(phase)
        self._seconds[row] = seconds
        self._new[row] = new_frames
        self._resident[row] = resident_bytes
        self._spans[row] = [span[1:] for span in spans]
        self.rows = row + 1

    def find(self, driver: str, mode: Mode, phase: Phase = "timed", rounds: range | None = None) -> Rows:
        """Row numbers of those frames, in order."""
        labels = self._labels[: self.rows]
        found = (labels[:, 0] == self.drivers.index(driver)) & (labels[:, 1] == MODES.index(mode))
        found &= labels[:, 4] == PHASES.index(phase)
        if rounds is not None:
            found &= (labels[:, 2] >= rounds.start) & (labels[:, 2] < rounds.stop)
        return np.flatnonzero(found)

    def frame_ms(self, rows: Rows) -> Times:
        """Time from start to finish; NaN where the clock ran backwards or stood still."""
        taken: Times = (self._seconds[rows, 2] - self._seconds[rows, 1]) * 1e3
        return np.where(self._clock_ran(rows) & (taken > 0), taken, np.nan)

    def late_ms(self, rows: Rows, deadline_ms: float) -> Times:
        """Time from a paced frame's deadline to its finish, negative when early; NaN as in `frame_ms`."""
        late = (self._seconds[rows, 2] - self._seconds[rows, 0]) * 1e3 - deadline_ms
        return np.where(self._clock_ran(rows), late, np.nan)

    def finish_ms(self, rows: Rows) -> Times:
        """When frames were finished, from the clock's own zero."""
        finished: Times = self._seconds[rows, 2] * 1e3
        return finished

    def latency_ms(self, rows: Rows) -> Times:
        """Time from a paced frame's release with its action to its finish; NaN as in `frame_ms`."""
        return self.late_ms(rows, 0.0)

    def call_ms(self, rows: Rows) -> Times:
        """(rows, components): time inside each component's calls."""
        return np.stack([self.spent_ms(rows, component) for component in self.components], axis=1)

    def spent_ms(self, rows: Rows, what: str) -> Times:
        """(rows,): time inside all stretches of that name."""
        mine = [index for index, name in enumerate(self.span_names) if name == what]
        taken: Times = (self._spans[rows][:, mine, 1] - self._spans[rows][:, mine, 0]).sum(axis=1) * 1e3
        return taken

    def spans_ms(self, row: int) -> Times:
        """(spans, 2): start and finish of every stretch, from the frame's own start."""
        from_start: Times = (self._spans[row] - self._seconds[row, 1]) * 1e3
        return from_start

    def frame_number(self, row: int) -> int:
        """The frame's number in its session."""
        return int(self._labels[row, 3])

    def emitted(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which frames were written and new; of a chunk, all its pixel frames."""
        whole: npt.NDArray[np.bool_] = self._new[rows] == self.chunk_frames
        return whole

    def new_frames(self, rows: Rows) -> npt.NDArray[np.int32]:
        """How many new pixel frames each row made."""
        return self._new[rows]

    def resident_bytes(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Memory in use after each frame."""
        return self._resident[rows]

    def find_clock_faults(self) -> Rows:
        """Rows at which the clock did not run forward."""
        rows = np.arange(self.rows)
        return np.flatnonzero(~self._clock_ran(rows) | ~(self._seconds[rows, 2] > self._seconds[rows, 1]))

    def _clock_ran(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Whether a frame started no earlier than the one before was finished, and its times are numbers."""
        before = np.where(rows > 0, self._seconds[rows - 1, 2], -np.inf)
        start, finish = self._seconds[rows, 1], self._seconds[rows, 2]
        ran: npt.NDArray[np.bool_] = np.isfinite(start) & np.isfinite(finish) & (start >= before) & (finish >= start)
        return ran

    def write(self, path: Path, deadline_ms: float) -> None:
        """Write every row, through a temporary file, so that no half of one is ever found."""
        rows = np.arange(self.rows)
        columns = (self.frame_ms(rows), self.late_ms(rows, deadline_ms), self.call_ms(rows))
        temporary = path.with_name(path.name + ".partial")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*COLUMNS, *(f"{component}_ms" for component in self.components)])
            for row, (ms, late, calls) in enumerate(zip(*columns, strict=True)):
                driver, mode, round_, frame, phase = self._labels[row].tolist()
                resident = int(self._resident[row])
                writer.writerow(
                    (
                        *(self.drivers[driver], MODES[mode], round_, frame),
                        *(PHASES[phase], int(PHASES[phase] != "timed")),
                        *(f"{ms:.6f}", f"{late:.6f}" if MODES[mode] == "paced" else ""),
                        *(int(self._new[row]), "" if resident < 0 else resident),
                        *(f"{call:.6f}" for call in calls),
                    )
                )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
