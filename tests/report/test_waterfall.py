"""A frame's time is drawn and written part by part; what was not recorded says so."""

import re
from pathlib import Path

import pytest

from porting.report import render_html
from porting.report.charts import Chart
from porting.report.files import Missing
from porting.report.waterfall import draw_waterfalls, list_parts
from tests.report.records import TEMPLATES, make_throughput, passing, write_bundle


def test_the_median_and_the_worst_frame_are_drawn_over_the_same_time() -> None:
    median, worst = (chart for chart in draw_waterfalls(make_throughput(), "t") if isinstance(chart, Chart))
    assert median.title == "The median paced frame, number 31: 9.8 ms"
    assert worst.title == "The worst paced frame, number 57: 21.6 ms"
    assert [key.label for key in median.keys] == [
        "denoiser: 6 ms in 1 part",
        "decoder: 3.4 ms in 1 part",
        "copy: 0.1 ms in 1 part",
        "host: 0.3 ms in 2 parts",
    ]
    assert "1.5 ms after its release" in worst.note
    assert median.note == ""
    assert "denoiser" in median.svg


def test_parts_add_up_to_the_frame() -> None:
    for frame in make_throughput().waterfalls:
        assert sum(ms for _, _, ms in list_parts(frame)) == pytest.approx(frame.frame_ms)


def test_a_deadline_within_the_frame_is_marked() -> None:
    late = make_throughput().model_copy(update={"deadline_ms": 15.0})
    charts = [chart for chart in draw_waterfalls(late, "t") if isinstance(chart, Chart)]
    assert all(chart.keys[-1].label == "deadline 15 ms after the release" for chart in charts)


def test_what_was_not_recorded_is_not_measured() -> None:
    (found,) = draw_waterfalls(make_throughput().model_copy(update={"waterfalls": ()}), "t")
    assert isinstance(found, Missing)


WORDS = ("paced frame, number 57", "stood still", "0.41 J", "1.02x", "3 sessions of 8", "the counter stood still")


def test_the_page_tells_waiting_sessions_soak_and_energy(tmp_path: Path) -> None:
    record = passing()
    page = render_html(record, write_bundle(tmp_path, record), TEMPLATES)
    for words in WORDS:
        assert words in page
    assert "no &lt;room&gt; left" in page


def test_an_older_record_says_that_it_was_not_measured(tmp_path: Path) -> None:
    record = passing()
    target = record.targets["cpu"]
    gone = dict.fromkeys(("latency", "soak", "concurrency", "energy")) | dict.fromkeys(
        ("viewers", "spent", "waterfalls"), ()
    )
    timed = make_throughput().model_copy(update=gone)
    older = record.model_copy(update={"targets": {"cpu": target.model_copy(update={"throughput": timed})}})
    page = render_html(older, write_bundle(tmp_path, older), TEMPLATES)
    assert "how long an action waits was not recorded" in page
    assert re.search("<dt>energy a frame</dt>\\s*<dd>not measured</dd>", page)
