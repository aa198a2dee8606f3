"""The report in a real browser: it draws, moves, fits, can be used by everyone, and runs no name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.report.browser.conftest import DESKTOP, EVERY, LARGE, PHONE, RECORDS, SMALL, Open, Visit

pytestmark = pytest.mark.browser

Reports = Callable[[str], Path]
Pixels = npt.NDArray[np.uint8]
PIXELS = """kind => {
    const canvas = document.querySelector(`canvas[data-kind=${kind}]`);
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""
ALPHA = "document.querySelector('canvas').getContext('2d').getImageData(0, 0, 1, 1).data[3]"
"""Of the first pixel: not 0 once something was drawn."""


def show(visit: Open, report: Path, **options: Any) -> Visit:
    """The report, once its first frame is drawn."""
    seen = visit(report, **options)
    seen.page.wait_for_function(ALPHA)
    return seen


def pixels(seen: Visit, kind: str = "port") -> Pixels:
    """(height, width, 3) uint8 as they are on the screen."""
    width, height = seen.run("() => { const c = document.querySelector('canvas'); return [c.width, c.height] }")
    return np.array(seen.run(PIXELS, kind), np.uint8).reshape(height, width, 4)[..., :3]


def recorded(report: Path, frame: int, kind: str = "port", session: int = 0, side: int = SMALL) -> Pixels:
    """The same, as the bundle of the report holds them."""
    sheet = report.parent / f"{report.stem}-bundle" / "targets" / "cpu" / f"rollout_{kind}.png"
    with Image.open(sheet) as image:
        return np.asarray(image)[session * side : (session + 1) * side, frame * side : (frame + 1) * side]


def frame_of(seen: Visit) -> int:
    return int(seen.page.get_by_role("slider").input_value())


@pytest.mark.parametrize("name", EVERY)
def test_every_chart_is_drawn(name: str, visit: Open, reports: Reports) -> None:
    seen = visit(reports(name))
    charts = seen.run(
        """() => [...document.querySelectorAll(".chart .plot svg")].map(svg => {
            const box = svg.getBoundingClientRect();
            const lines = [...svg.querySelectorAll("path")].filter(path => path.getTotalLength() > 20);
            const beyond = lines.map(path => path.getBBox()).filter(b => b.width + b.height > 20);
            const title = svg.querySelector("title").textContent;
            return {width: box.width, height: box.height, lines: beyond.length, title};
        })"""
    )
    least = {"passing": 8, "failing": 8, "300 frames": 8, "one frame": 7, "hostile": 8, "side by side": 2}
    assert len(charts) >= least.get(name, 0)
    for chart in charts:
        assert chart["width"] > 200, chart
        assert chart["height"] > 100, chart
        assert chart["lines"] >= 5, chart
        assert chart["title"], chart


def test_keys_move_the_scrubber_and_change_the_picture(visit: Open, reports: Reports) -> None:
    report = reports("passing")
    seen = show(visit, report)
    slider = seen.page.get_by_role("slider", name="Frame")
    slider.focus()
    assert frame_of(seen) == 0
    for key, frame in (("ArrowRight", 1), ("ArrowUp", 2), ("PageUp", 12), ("End", 23), ("ArrowRight", 23),
                       ("ArrowLeft", 22), ("PageDown", 12), ("Home", 0), ("ArrowLeft", 0)):  # fmt: skip
        seen.page.keyboard.press(key)
        assert frame_of(seen) == frame
        for kind in ("reference", "port", "difference"):
            np.testing.assert_array_equal(pixels(seen, kind), recorded(report, frame, kind))
        assert f"frame {frame} of 0–23" in seen.page.locator(".readout").inner_text()  # noqa: RUF001
        assert (slider.get_attribute("aria-valuetext") or "").startswith(f"frame {frame}, PSNR ")


def test_the_mouse_moves_the_scrubber(visit: Open, reports: Reports) -> None:
    report = reports("passing")
    seen = show(visit, report)
    slider = seen.page.get_by_role("slider")
    box = slider.bounding_box()
    assert box is not None
    slider.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    assert 10 <= frame_of(seen) <= 13
    np.testing.assert_array_equal(pixels(seen), recorded(report, frame_of(seen)))
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    seen.page.mouse.move(box["x"] + box["width"] / 2, y)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + box["width"] - 2, y, steps=4)
    seen.page.mouse.up()
    assert frame_of(seen) == 23
    np.testing.assert_array_equal(pixels(seen), recorded(report, 23))


def test_space_plays_and_stops(visit: Open, reports: Reports) -> None:
    seen = show(visit, reports("passing"))
    seen.page.get_by_role("slider").focus()
    seen.page.keyboard.press("Space")
    seen.page.wait_for_function("document.querySelector('input[type=range]').value > 1")
    button = seen.page.locator("[data-do=play]")
    assert button.get_attribute("aria-label") == "Pause"
    seen.page.keyboard.press("Space")
    assert button.get_attribute("aria-label") == "Play"


def test_the_first_failing_frame_is_shown_first_and_marked(visit: Open, reports: Reports) -> None:
    report = reports("failing")
    seen = show(visit, report)
    assert frame_of(seen) == 9
    assert "✕ first failing: PSNR" in seen.page.locator(".readout").inner_text()
    mark = seen.page.locator(".track .failing").bounding_box()
    track = seen.page.get_by_role("slider").bounding_box()
    assert mark is not None
    assert track is not None
    assert mark["x"] - track["x"] == pytest.approx(8 + (track["width"] - 16) * 9 / 23, abs=2)
    seen.page.get_by_role("slider").focus()
    seen.page.keyboard.press("End")
    seen.page.get_by_role("button", name="first failing frame: 9").click()
    assert frame_of(seen) == 9
    np.testing.assert_array_equal(pixels(seen), recorded(report, 9))


def test_another_session_is_another_picture(visit: Open, reports: Reports) -> None:
    report = reports("passing")
    seen = show(visit, report)
    seen.page.get_by_role("combobox", name="Session").select_option("1")
    seen.page.wait_for_function("document.querySelector('canvas').getAttribute('aria-label').includes('session 1')")
    np.testing.assert_array_equal(pixels(seen), recorded(report, 0, session=1))


def test_three_hundred_frames_and_one(visit: Open, reports: Reports) -> None:
    many = show(visit, reports("300 frames"))
    assert frame_of(many) == 211
    many.page.get_by_role("slider").focus()
    many.page.keyboard.press("End")
    np.testing.assert_array_equal(pixels(many), recorded(reports("300 frames"), 299, side=LARGE))
    one = show(visit, reports("one frame"))
    one.page.get_by_role("slider").focus()
    for key in ("End", "ArrowRight", "Home"):
        one.page.keyboard.press(key)
        assert frame_of(one) == 0
    np.testing.assert_array_equal(pixels(one), recorded(reports("one frame"), 0))


def test_two_bundles_are_scrubbed_together(visit: Open, reports: Reports) -> None:
    seen = show(visit, reports("side by side"))
    assert "1 target came to less than before" in seen.page.get_by_role("main").inner_text()
    assert frame_of(seen) == 9
    folder = reports("side by side").parent
    before, now = (recorded(folder / name, 9).astype(int) for name in ("before", "now"))
    np.testing.assert_array_equal(pixels(seen, "reference"), before)
    np.testing.assert_array_equal(pixels(seen, "port"), now)
    # Amplified: the worst pixel of the rollout is white.
    assert 0 < np.abs(before - now).max() < pixels(seen, "difference").max() == 255
    seen.page.get_by_role("slider").focus()
    seen.page.keyboard.press("ArrowLeft")
    np.testing.assert_array_equal(pixels(seen, "port"), pixels(seen, "reference"))
    assert not pixels(seen, "difference").any()


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_wider_than_a_phone(name: str, visit: Open, reports: Reports) -> None:
    seen = visit(reports(name), viewport=PHONE)
    assert seen.run("document.documentElement.scrollWidth") <= PHONE["width"]
    wide = seen.run(
        """() => [...document.querySelectorAll("main *")]
            .filter(e => !e.closest(".scroll, .quiet, svg, pre") && e.getBoundingClientRect().right > innerWidth + 1)
            .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert wide == []


@pytest.mark.parametrize("name", ["failing", "compile-only", "side by side"])
def test_paper_holds_what_was_folded(name: str, visit: Open, reports: Reports) -> None:
    seen = visit(reports(name))
    printed = seen.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert seen.run("document.querySelectorAll('details:not(.bulk):not([open])').length") == 0
    seen.page.emulate_media(media="print", color_scheme="dark")
    assert seen.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not seen.page.locator("nav").first.is_visible()
    assert seen.page.get_by_role("main").is_visible()
    cut = "() => [...document.querySelectorAll('.chart')].every(c => getComputedStyle(c).breakInside === 'avoid')"
    assert seen.run(cut)


@pytest.mark.parametrize("name", EVERY)
def test_every_link_leads_somewhere(name: str, visit: Open, reports: Reports) -> None:
    seen = visit(reports(name))
    links = seen.run("[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))")
    assert links
    assert all(link.startswith("#") for link in links)
    lost = seen.run("links => links.filter(link => !document.getElementById(link.slice(1)))", links)
    assert lost == []


def test_a_link_opens_what_it_leads_into(visit: Open, reports: Reports) -> None:
    seen = visit(reports("passing"))
    seen.run("document.querySelector('details:not([open]) table').id = 'folded'")
    seen.run("location.hash = 'folded'")
    seen.page.wait_for_function("document.getElementById('folded').closest('details').open")


@pytest.mark.parametrize("name", ["hostile", "hostile side by side"])
def test_hostile_names_stay_text(name: str, visit: Open, reports: Reports) -> None:
    seen = visit(reports(name))
    assert seen.run("document.querySelectorAll('script').length") == 2
    assert (
        seen.run("document.querySelectorAll('body img:not([src^=\"data:image/\"]), body iframe, svg script').length")
        == 0
    )
    handlers = (
        "() => [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => /^on/.test(n))"
    )
    assert seen.run(handlers) == []
    assert "<script>alert(1)</script>" in seen.page.get_by_role("main").inner_text()
    # Whatever is hovered, opened or stepped through: a dialog would fail the test.
    for part in seen.page.locator("summary").all():
        part.click()
    if seen.page.get_by_role("slider").count():
        seen.page.get_by_role("slider").focus()
        seen.page.keyboard.press("End")


def test_what_needs_no_script_is_there_without(visit: Open, reports: Reports) -> None:
    seen = visit(reports("failing"), java_script_enabled=False, viewport=DESKTOP)
    assert seen.page.locator("figure.strip img").is_visible()
    assert not seen.page.locator(".film").is_visible()
    assert "1 target failed" in seen.page.get_by_role("main").inner_text()


def test_every_kind_of_record_is_looked_at() -> None:
    assert {"no target", "failing", "compile-only", "one frame", "300 frames", "hostile"} <= set(RECORDS)
