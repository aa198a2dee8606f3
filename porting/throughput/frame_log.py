"""The raw time of every frame, in memory of fixed size, and as a CSV file.

A log that grew with every frame would be taken for a leak of the port, so every row is there before the first frame.
"""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from porting.throughput.statistics import Times

Mode = Literal["closed-loop", "paced"]
Phase = Literal["warm-up", "settling", "timed"]
"""Only timed frames count: warm-up fills the window, settling lets the driver before go to sleep."""
MODES: tuple[Mode, ...] = ("closed-loop", "paced")
PHASES: tuple[Phase, ...] = ("warm-up", "settling", "timed")
COLUMNS = ("driver", "mode", "round", "frame", "phase", "warmup", "ms", "late_ms", "emitted", "resident_bytes")
SOLO_ROUND = 0
"""The port alone; interleaved rounds count from 1."""


class FrameLog:
    """Rows in order of time; a row is one frame of one driver."""

    def __init__(self, capacity: int, drivers: Sequence[str], components: Sequence[str]) -> None:
        """Allocate and touch `capacity` rows."""
        self.drivers = tuple(drivers)
        self.components = tuple(components)
        self.rows = 0
        self._labels = np.full((capacity, 5), -1, np.int32)
        self._seconds = np.full((capacity, 3), np.nan, np.float64)
        self._resident = np.full(capacity, -1, np.int64)
        self._emitted = np.full(capacity, False, np.bool_)
        self._calls = np.full((capacity, len(components)), np.nan, np.float64)

    def add(
        self,
        labels: tuple[str, Mode, int, int, Phase],
        seconds: tuple[float, float, float],
        emitted: bool,
        resident_bytes: int,
        calls: Mapping[str, list[float]],
    ) -> None:
        """Note one frame.

        Args:
            labels: driver, mode, round, frame, phase.
            seconds: release (NaN where nothing was paced), start, finish.
            emitted: whether the frame was written, and is another than the one before.
            resident_bytes: memory in use after it; -1 where it was not read.
            calls: seconds of each call, by component.
        """
        driver, mode, round_, frame, phase = labels
        row = self.rows
        self._labels[row] = self.drivers.index(driver), MODES.index(mode), round_, frame, PHASES.index(phase)
        self._seconds[row] = seconds
        self._emitted[row] = emitted
        self._resident[row] = resident_bytes
        for index, component in enumerate(self.components):
            self._calls[row, index] = sum(calls.get(component, ()))
        self.rows = row + 1

    def find(
        self, driver: str, mode: Mode, phase: Phase = "timed", rounds: range | None = None
    ) -> npt.NDArray[np.intp]:
        """Row numbers of those frames, in order."""
        labels = self._labels[: self.rows]
        found = (labels[:, 0] == self.drivers.index(driver)) & (labels[:, 1] == MODES.index(mode))
        found &= labels[:, 4] == PHASES.index(phase)
        if rounds is not None:
            found &= (labels[:, 2] >= rounds.start) & (labels[:, 2] < rounds.stop)
        return np.flatnonzero(found)

    def frame_ms(self, rows: npt.NDArray[np.intp]) -> Times:
        """Time from start to finish; NaN where the clock ran backwards or stood still."""
        taken: Times = (self._seconds[rows, 2] - self._seconds[rows, 1]) * 1e3
        return np.where(self._clock_ran(rows) & (taken > 0), taken, np.nan)

    def late_ms(self, rows: npt.NDArray[np.intp], deadline_ms: float) -> Times:
        """Time from a paced frame's deadline to its finish, negative when early; NaN as in `frame_ms`."""
        late = (self._seconds[rows, 2] - self._seconds[rows, 0]) * 1e3 - deadline_ms
        return np.where(self._clock_ran(rows), late, np.nan)

    def finish_ms(self, rows: npt.NDArray[np.intp]) -> Times:
        """When frames were finished, from the clock's own zero."""
        finished: Times = self._seconds[rows, 2] * 1e3
        return finished

    def call_ms(self, rows: npt.NDArray[np.intp]) -> Times:
        """(rows, components): time inside each component's calls."""
        return self._calls[rows] * 1e3

    def emitted(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Which frames were written and new."""
        return self._emitted[rows]

    def resident_bytes(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
        """Memory in use after each frame."""
        return self._resident[rows]

    def find_clock_faults(self) -> npt.NDArray[np.intp]:
        """Rows at which the clock did not run forward."""
        rows = np.arange(self.rows)
        return np.flatnonzero(~self._clock_ran(rows) | ~(self._seconds[rows, 2] > self._seconds[rows, 1]))

    def _clock_ran(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
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
                        *(int(self._emitted[row]), "" if resident < 0 else resident),
                        *(f"{call:.6f}" for call in calls),
                    )
                )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
