"""The limit on every page: floor and shares where it ran, a projection said to be one, what is not known said so."""

from pathlib import Path
from typing import Any

import pytest

from porting.record import (
    Calibration,
    ComponentFloor,
    ComponentProfile,
    FrameLimit,
    FrameWork,
    OperatorTime,
    Peaks,
    PortRecord,
)
from porting.record.limit import Bandwidth
from porting.report import render_html, render_markdown
from porting.report.floor import list_rows, say_achieved, say_holding, say_limit, say_peaks
from tests.report.records import TEMPLATES, passing, write_bundle


def make_limit(projected: bool = False, **changes: Any) -> FrameLimit:
    peaks = Peaks(
        name="b200 fp32" if projected else "this host's CPU, 2 threads",
        matrix_flops_per_second=2e11,
        bandwidths=(Bandwidth(working_set_bytes=0, bytes_per_second=6e10),),
        shared_units=not projected,
        projected=projected,
        source="https://example.org/<sheet>" if projected else "measured on this host",
    )
    measured = (None, None, None) if projected else (1.8, 0.7, 2.6)
    parts = tuple(
        ComponentFloor(
            component=name,
            calls_per_frame=calls,
            compute_ms=compute,
            memory_ms=0.1,
            bound="compute",
            measured_ms=ms,
            impossible_ms=compute / 6,
        )
        for name, calls, compute, ms in (("denoiser", 3, 0.36, measured[0]), ("decoder", 1, 0.28, measured[1]))
    )
    work = FrameWork(components=(), ring_bytes=0, replaced_bytes=0, input_bytes=0, state_bytes=0)
    limit = FrameLimit(
        work=work,
        peaks=peaks,
        components=parts,
        copy_ms=0.01,
        measured_ms=measured[2],
        calibration=None if projected else Calibration(threads=2, peaks=peaks, samples=(), disturbances=("a <load>",)),
        assumptions=("Components run one after the other.",),
    )
    return limit.model_copy(update=changes)


def make_profile(**changes: Any) -> ComponentProfile:
    operators = (
        OperatorTime(name="conv_0", kind="FusedConv", ms=0.3, share=0.5, floor_ms=0.06),
        OperatorTime(name="gelu", kind="Gelu", ms=0.2, share=1 / 3),
    )
    profile = ComponentProfile(
        component="decoder", backend="onnxruntime", source="onnxruntime", call_ms=0.6, calls=20, operators=operators,
        others_ms=0.1,
    )  # fmt: skip
    return profile.model_copy(update=changes)


def with_limit(limit: FrameLimit | None) -> PortRecord:
    record = passing()
    return record.model_copy(update={"targets": {"cpu": record.targets["cpu"].model_copy(update={"limit": limit})}})


def test_one_line_says_floor_share_and_what_binds() -> None:
    assert say_limit(make_limit()) == (
        "floor 0.65 ms (1,538 fps) on this host's CPU, 2 threads, bound by compute;"
        " reached 25 % of it: denoiser 20 %, decoder 40 %"
    )
    (part, other) = make_limit().components
    fast = make_limit(components=(part.model_copy(update={"measured_ms": 0.3}), other))
    assert "more than 100 % says that the peaks were measured too low" in say_limit(fast)
    projected = say_limit(make_limit(projected=True, incomplete={"Det": 4}))
    assert projected == (
        "projected floor 0.65 ms (1,538 fps) on b200 fp32, bound by compute; not measured here; not counted: 4 Det"
    )


def test_rows_end_with_copies_and_the_whole_frame() -> None:
    rows = list_rows(make_limit())
    assert [row.name for row in rows] == ["denoiser", "decoder", "copies by the host", "the whole frame"]
    assert rows[-1].measured_ms == 2.6
    assert {row.achieved for row in list_rows(make_limit(projected=True))} == {"not measured", "\N{EN DASH}"}


@pytest.mark.parametrize(
    ("ms", "words"), [(0.2, "the peak was measured too low"), (0.05, "impossible"), (None, "not measured")]
)
def test_more_than_the_whole_limit_is_told_for_what_it_is(ms: float | None, words: str) -> None:
    (part, _) = make_limit().components
    assert words in say_achieved(part.model_copy(update={"measured_ms": ms}))


def test_what_holds_a_component_back_is_named_with_its_own_floor() -> None:
    said = say_holding(make_profile())
    assert "conv_0 50 % (at 20 % of its own floor), gelu 33.3 %" in said
    assert "short of half their peak lose 0.24 ms a call" in said
    bare = make_profile(operators=(), reason="the profiler sees none of its kernels")
    assert say_holding(bare) == "decoder on onnxruntime: not measured, the profiler sees none of its kernels."


def test_the_page_shows_a_measured_limit(tmp_path: Path) -> None:
    record = with_limit(make_limit(profiles=(make_profile(),)))
    page = render_html(record, write_bundle(tmp_path, record), TEMPLATES)
    for said in (
        "The limit",
        "What holds decoder back",
        "FusedConv",
        "reaches <strong>25 %</strong>",
        "a &lt;load&gt;",
    ):
        assert said in page
    assert "A projection" not in page
    assert "reached 25 % of it" in render_markdown(record, tmp_path, TEMPLATES)


def test_a_projection_is_labelled_on_every_page(tmp_path: Path) -> None:
    record = with_limit(make_limit(projected=True))
    page = render_html(record, write_bundle(tmp_path, record), TEMPLATES)
    assert "<strong>A projection</strong>" in page
    assert "Components run one after the other." in page
    assert "https://example.org/&lt;sheet&gt;" in page
    assert "projected floor" in render_markdown(record, tmp_path, TEMPLATES)


def test_a_limit_that_is_not_there_is_not_measured(tmp_path: Path) -> None:
    record = with_limit(None)
    assert "no floor was counted" in render_html(record, write_bundle(tmp_path, record), TEMPLATES)


def test_disturbances_of_a_calibration_are_told() -> None:
    assert "meanwhile a <load>" in say_peaks(make_limit())
