"""Charts keep every extreme, mark what failed, and bring nothing into the page but themselves."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from porting.record import FreeRunning, TeacherForced
from porting.report.charts import Series, draw_distribution, draw_drift, draw_frame_times, draw_ratios
from tests.report.records import failing, passing


def free_running(frame: int | None) -> FreeRunning:
    parity = (passing(24) if frame is None else failing(24, frame)).targets["cpu"].parity
    assert parity is not None
    assert parity.free_running is not None
    return parity.free_running


def test_the_first_failing_frame_is_marked_in_words() -> None:
    free = free_running(9)
    chart = draw_drift(free, "psnr", free.envelope_psnr_db, "k", 100.0)
    assert "first failing frame: 9" in [key.label for key in chart.keys]
    assert ">frame 9<" in chart.svg
    free = free_running(None)
    chart = draw_drift(free, "ssim", free.envelope_ssim, "k", 100.0)
    assert not any("failing" in key.label for key in chart.keys)


def test_a_chart_is_well_formed_and_keeps_to_itself() -> None:
    free = free_running(9)
    svg = draw_drift(free, "psnr", free.envelope_psnr_db, "key-of-mine", 100.0).svg
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not tags & {"style", "script", "metadata"}
    ids = [element.get("id", "") for element in root.iter() if "id" in element.attrib]
    assert ids
    assert all(name.startswith("key-of-mine-") for name in ids)
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg)) == set(ids)
    assert not re.search(r"#[0-9a-f]{6}\b(?!-)", re.sub(r'(id|href)="[^"]*"|url\([^)]*\)', "", svg))
    assert "var(--chart-port)" in svg


def test_the_same_chart_has_the_same_bytes() -> None:
    free = free_running(9)
    first, second = (draw_drift(free, "psnr", free.envelope_psnr_db, "k", 100.0).svg for _ in range(2))
    assert first == second


def test_colour_is_not_the_only_signal() -> None:
    parity = passing(8).targets["cpu"].parity
    assert parity is not None
    keys = draw_ratios(parity.teacher_forced, 2.0, "k").keys
    lines = [(key.dashes, key.label) for key in keys]
    assert len({dashes for dashes, _ in lines[:3]}) == 3
    assert lines[-2:] == [("", "1 other output"), ("2 2", "limit 2")]


@pytest.mark.parametrize("worst", [1e6, math.nan, math.inf])
def test_the_worst_output_is_named_whatever_its_ratio(worst: float) -> None:
    outputs = [
        TeacherForced(output=f"state_{index}", error_port=(1e-7,), error_eager=(1e-7,), ratio=(1.0,))
        for index in range(9)
    ]
    outputs[7] = outputs[7].model_copy(update={"ratio": (worst,)})
    assert draw_ratios(outputs, 2.0, "k").keys[0].label == "state_7"


def test_a_long_series_keeps_its_extremes() -> None:
    values = [5.0] * 20_000
    values[12_345] = 977.0
    chart = draw_frame_times(Series("port", tuple(values)), 41.7, "times", "k")
    assert "every extreme among them" in chart.note
    assert ">1,000<" in chart.svg or ">800<" in chart.svg
    assert len(chart.svg) < 150_000


def test_a_driver_without_a_frame_has_no_line() -> None:
    chart = draw_distribution([Series("port", (9.0, 10.0)), Series("eager", ())], 41.7, "k")
    assert [key.label for key in chart.keys] == ["port", "deadline 41.7 ms"]
