"""Everyone can use the report: names, contrast, focus, the dark, less motion. axe-core looks, and so do these tests."""

from typing import Any

import pytest

from tests.report.browser.conftest import Open, Visit
from tests.report.browser.test_page import Reports, show

pytestmark = pytest.mark.browser


def check(seen: Visit, *rules: str) -> Any:
    """What axe-core finds wrong, of all its rules or of these, with every folded part open."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    seen.run("document.querySelectorAll('details').forEach(part => part.open = true)")
    only = {"runOnly": list(rules)} if rules else {}
    return axe.Axe().run(seen.page, options={"resultTypes": ["violations"], **only})


@pytest.mark.parametrize("name", ["failing", "compile-only", "no target", "side by side"])
def test_axe_finds_nothing(name: str, visit: Open, reports: Reports) -> None:
    found = check(visit(reports(name)))
    assert found.violations_count == 0, found.generate_report()


def test_contrast_is_enough_in_the_dark(visit: Open, reports: Reports) -> None:
    found = check(visit(reports("failing"), color_scheme="dark"), "color-contrast")
    assert found.violations_count == 0, found.generate_report()


def test_axe_would_find_something(visit: Open, reports: Reports) -> None:
    seen = visit(reports("no target"))
    seen.run("document.querySelector('.meta').style.color = '#ccc'")
    seen.run("document.querySelector('h1').insertAdjacentHTML('afterend', '<button></button>')")
    found = {violation["id"] for violation in check(seen).response["violations"]}
    assert found >= {"color-contrast", "button-name"}


def test_every_control_shows_that_it_has_the_focus(visit: Open, reports: Reports) -> None:
    seen = show(visit, reports("failing"))
    stops = set()
    for _ in range(40):
        seen.page.keyboard.press("Tab")
        tag, style, width = seen.run(
            "() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [e.tagName, s.outlineStyle, parseFloat(s.outlineWidth)] }"
        )
        if tag == "BODY":
            break
        stops.add(tag)
        assert (style != "none", width >= 2) == (True, True), tag
    assert stops >= {"A", "SUMMARY", "INPUT", "BUTTON", "SELECT"}


def test_no_cell_of_the_matrix_rests_on_its_colour(visit: Open, reports: Reports) -> None:
    for name in ("failing", "compile-only"):
        seen = visit(reports(name))
        for cell in seen.page.locator(".matrix td.cell").all():
            text = cell.inner_text()
            assert any(mark in text for mark in ("✓ passed", "✕ failed", "○ not measured", "– not run here"))  # noqa: RUF001


def test_dark_is_dark_and_charts_follow(visit: Open, reports: Reports) -> None:
    ink = "getComputedStyle(document.querySelector('.plot text')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = (visit(reports("passing"), color_scheme=scheme) for scheme in ("light", "dark"))
    assert light.run(paper) != dark.run(paper)
    assert light.run(ink) != dark.run(ink)


def test_who_wants_less_motion_gets_less(visit: Open, reports: Reports) -> None:
    scroll = "getComputedStyle(document.documentElement).scrollBehavior"
    found = {wish: visit(reports("no target"), reduced_motion=wish).run(scroll) for wish in ("reduce", "no-preference")}
    assert found == {"reduce": "auto", "no-preference": "smooth"}
