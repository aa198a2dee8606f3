"""Frame times come from the file that the record names; a table that is not one is not measured."""

from pathlib import Path

import pytest

from porting.report.charts import Chart
from porting.report.files import Missing
from porting.report.timing import draw_timing, read_frames
from tests.report.records import make_throughput, passing, write_frame_times

NAME = "targets/cpu/frames.csv"
HEAD = "driver,mode,round,frame,ms,warmup"


def write(folder: Path, text: str) -> None:
    (folder / NAME).parent.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(text, encoding="utf-8")


def test_every_row_is_read(tmp_path: Path) -> None:
    write(tmp_path, f"{HEAD}\nport,closed-loop,0,0,9.5,1\nport,closed-loop,0,1,8.5,0\n")
    rows = read_frames(passing(), tmp_path, NAME)
    assert not isinstance(rows, Missing)
    assert [(row.ms, row.warmup, row.mode, row.resident_bytes) for row in rows] == [
        (9.5, True, "closed loop", None),
        (8.5, False, "closed loop", None),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "driver,mode\nport,paced\n",
        f"{HEAD}\nport,paced,0\n",
        f"{HEAD}\nport,paced,0,0,fast,0\n",
        f"{HEAD}\nport,paced,0,0,9.5,maybe\n",
    ],
)
def test_a_table_of_something_else_is_not_measured(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    found = read_frames(passing(), tmp_path, NAME)
    assert isinstance(found, Missing)
    assert NAME in found.reason


def test_a_table_without_rows_is_not_measured(tmp_path: Path) -> None:
    write(tmp_path, f"{HEAD}\n")
    assert draw_timing(passing(), tmp_path, make_throughput(), "t") == (Missing(f"{NAME}: holds no frame"),)


def test_the_port_is_drawn_over_time_and_every_driver_in_the_distribution(tmp_path: Path) -> None:
    write_frame_times(tmp_path / NAME)
    charts = [c for c in draw_timing(passing(), tmp_path, make_throughput(), "t") if isinstance(c, Chart)]
    assert [chart.title for chart in charts] == [
        "Frame times: share done within a time",
        "Time of every frame, closed loop",
        "Resident memory, closed loop",
        "Time of every frame, paced",
    ]
    labels = [key.label for key in charts[0].keys]
    assert labels == ["port", "eager", "torch.compile", "openvino", "deadline 41.7 ms"]
    assert "warm-up, 8 frames, not counted" in [key.label for key in charts[1].keys]
