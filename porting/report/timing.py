"""Raw frame times, read from the file that the throughput evidence names."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from porting.record import PortRecord, ThroughputEvidence
from porting.report.charts import Chart, Series, draw_distribution, draw_frame_times, draw_memory
from porting.report.files import Missing, read_named

COLUMNS = ("driver", "mode", "round", "frame", "ms", "warmup")
CLOSED_LOOP = "closed loop"
PORT = "port"
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Row:
    """One frame of one driver."""

    driver: str
    mode: str
    round: int
    ms: float
    warmup: bool
    resident_bytes: int | None
    """None where it was not read."""


def draw_timing(
    record: PortRecord, bundle: Path, evidence: ThroughputEvidence, key: str
) -> tuple[Chart | Missing, ...]:
    """The distribution over the drivers, then the port's frames in order, once for each mode.

    Drivers are compared over interleaved rounds only; round 0 is the port alone, which is what the time series show.
    """
    rows = read_frames(record, bundle, evidence.frames_file)
    if isinstance(rows, Missing):
        return (rows,)
    closed = [row for row in rows if row.mode == CLOSED_LOOP]
    closed = [row for row in closed if row.round > 0] or closed
    charts: list[Chart | Missing] = []
    drivers = [
        Series(name, tuple(row.ms for row in closed if row.driver == name and not row.warmup))
        for name in dict.fromkeys(row.driver for row in closed)
    ]
    drivers.sort(key=lambda series: series.label != PORT)
    if any(series.values for series in drivers):
        charts.append(draw_distribution(drivers, evidence.deadline_ms, f"{key}-distribution"))
    for index, mode in enumerate(dict.fromkeys(row.mode for row in rows)):
        own = [row for row in rows if row.driver == PORT and row.mode == mode]
        own = [row for row in own if row.round == own[0].round]
        if own:
            series = Series(PORT, tuple(row.ms for row in own), tuple(row.warmup for row in own))
            title = f"Time of every frame, {mode}"
            charts.append(draw_frame_times(series, evidence.deadline_ms, title, f"{key}-frames-{index}"))
        held = [row.resident_bytes for row in own if row.resident_bytes is not None]
        if held and mode == CLOSED_LOOP:
            charts.append(draw_memory(held, f"{key}-memory"))
    return tuple(charts) or (Missing(f"{evidence.frames_file}: holds no frame"),)


def read_frames(record: PortRecord, bundle: Path, name: str) -> list[Row] | Missing:
    """Every row of a frames file, in its order."""
    content = read_named(record, bundle, name)
    if isinstance(content, Missing):
        return content
    try:
        return list(_parse(content.decode("utf-8")))
    except (ValueError, KeyError, csv.Error) as cause:
        return Missing(f"{name}: is not a table of {', '.join(COLUMNS)} ({cause})")


def _parse(text: str) -> Iterator[Row]:
    """Raises ValueError or KeyError for a row that is not one of COLUMNS."""
    reader = csv.DictReader(io.StringIO(text))
    missing = set(COLUMNS) - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"no column {', '.join(sorted(missing))}")
    for row in reader:
        if None in row.values():
            raise ValueError(f"line {reader.line_num} is cut short")
        mode = row["mode"].replace("_", " ").replace("-", " ")
        yield Row(
            row["driver"],
            mode,
            int(row["round"]),
            float(row["ms"]),
            _FLAGS[row["warmup"].strip().lower()],
            _resident(row),
        )


def _resident(row: dict[str, str]) -> int | None:
    text = row.get("resident_bytes", "")
    return int(text) if text else None
