import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from porting.history.trends import make_trends
from porting.record import Outcome, Step
from porting.record.history import METRIC_OF, HistoryPoint
from porting.report import render_html
from porting.report.charts import open_axes
from porting.report.trends import TrendPage, give_room, make_pages, say_outcomes
from porting.report.trends_page import render_trends
from tests.history.points import digest, make_point, make_series
from tests.report.records import TEMPLATES, passing, write_bundle

NASTY = "<script>alert(1)</script>"


def make_page(points: list[HistoryPoint]) -> TrendPage:
    (page,) = make_pages(make_trends(points))
    return page


def step() -> list[HistoryPoint]:
    return make_series([120.0] * 20 + [108.0] * 20, 0.005, 1)


def test_a_change_is_a_sentence_with_figures_commits_and_counts() -> None:
    points = step()
    points[20:] = [point.model_copy(update={"checkpoint": digest("other")}) for point in points[20:]]
    (line,) = make_page(points).changes
    assert line.worse
    assert re.fullmatch(
        rf"Frames per second: −(9\.\d+|10(\.\d)?) % for the worse, 1(19|20)\S* to 10[78]\S* fps, between"  # noqa: RUF001
        rf" {points[19].commit[:9]} and {points[20].commit[:9]}\."
        r" Medians of 20 records before and 20 after\. The checkpoint changed there too\.",
        line.sentence,
    )


def test_a_chart_marks_change_break_and_disturbed_records() -> None:
    points = step()
    points[5] = points[5].model_copy(update={"disturbances": ("load",)})
    points += [make_point(40 + i, 200.0, fingerprint=digest("new")) for i in range(3)]
    (chart,) = make_page(points).charts
    labels = [key.label for key in chart.keys]
    assert labels[0] == "machine 1, 39 records"
    assert "1 record timed beside other load" in labels[1]
    assert labels[2] == "machine 2, 3 records"
    assert labels[3].startswith("another machine or version from here on")
    assert labels[4].startswith(f"worse from {points[20].commit[:9]} on: −")  # noqa: RUF001
    root = ET.fromstring(chart.svg)
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text == "Frames per second of cpu over 43 records"
    # Change and break each in their own colour.
    for ink in ("failed", "muted", "second", "reference"):
        assert f"var(--chart-{ink})" in chart.svg


@pytest.mark.parametrize(
    ("value", "name"), [(0.0, "missed"), (0.0, "budget_ratio"), (120.0, "fps"), (90.0, "psnr_end")]
)
def test_a_figure_that_stands_still_has_an_axis_to_read(value: float, name: str) -> None:
    with open_axes("", "") as (_, axes):
        give_room(axes, [value, value], METRIC_OF[name])
        low, high = axes.get_ylim()
    assert low < value < high
    assert high - low >= METRIC_OF[name].least
    if value == 0:
        assert -0.1 * high <= low


def test_what_was_not_measured_is_a_gap_and_not_0() -> None:
    points = step()
    points[7] = make_point(7, None)
    page = make_page(points)
    assert page.charts[0].note == "Not measured in 1 of 40 records."
    assert page.cell(points[7], page.columns[0]) == "not measured"


def test_a_figure_that_cannot_be_judged_says_so_and_no_sentence_calls_it_steady() -> None:
    page = make_page(make_series([120.0] * 6, 0.01, 1))
    assert page.judged == ""
    assert page.unjudged == (
        "machine 1, frames per second: 6 of the 16 figures that it takes to tell a change from noise",
    )
    assert "None is beyond noise" not in render_trends([page.trend], "h", TEMPLATES)
    steady = make_page(make_series([120.0] * 20, 0.01, 1))
    assert steady.judged == "A change of level was looked for in: frames per second."
    assert "None is beyond noise" in render_trends([steady.trend], "h", TEMPLATES)


def test_outcomes_are_counted() -> None:
    points = [make_point(0), make_point(1, outcome=Outcome.FAILED), make_point(2, outcome=Outcome.NOT_MEASURED)]
    assert say_outcomes(points) == (
        f"3 records: 1 passed, 1 failed, 1 not measured; the last one that failed is of {points[1].commit[:9]}."
    )


def test_a_page_stands_alone_and_every_name_stays_text() -> None:
    named = {"model": NASTY, "target": NASTY, "machine": NASTY, "branch": NASTY, "disturbances": (NASTY,)}
    points = [point.model_copy(update=named) for point in step()]
    points.append(make_point(40, None, **{**named, "disturbances": ()}, absent={"fps": f'"{NASTY}'}))
    text = render_trends(make_trends(points), NASTY, TEMPLATES)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 40
    assert not re.search(r"""(src|href)=["'](?!#)""", text)
    assert "NaN" not in text


@pytest.mark.parametrize("count", [1, 2, 300])
def test_any_number_of_records_is_drawn(count: int) -> None:
    page = make_page(make_series([120.0] * count, 0.0, 1))
    ET.fromstring(page.charts[0].svg)
    assert len(page.trend.points) == min(count, 200)


def test_a_target_without_figures_has_outcomes_and_says_what_is_missing() -> None:
    text = render_trends(make_trends([make_point(0, None, target="b200", reached=Step.ATTESTED)]), "h", TEMPLATES)
    assert "no record holds a figure of this target" in text
    assert "attested" in text


def test_a_report_shows_trends_only_where_there_are_some(tmp_path: Path) -> None:
    record = passing()
    bundle = write_bundle(tmp_path, record)
    text = render_html(record, bundle, TEMPLATES, make_trends(step()))
    assert '<h2 id="history">' in text
    assert '<a href="#history">' in text
    assert "for the worse" in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert 'id="history"' not in render_html(record, bundle, TEMPLATES)
