"""The page says what the record says, loads nothing, and never leaves a hole where evidence is missing."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from porting.record import PortRecord, TargetRecord
from porting.report import render_html
from tests.report import records
from tests.report.conftest import Render
from tests.report.records import TEMPLATES, failing, passing, write_bundle

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.text += " "
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open[-1:]):
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split()).replace(" :", ":")


def with_target(record: PortRecord, **update: Any) -> PortRecord:
    targets = {name: target.model_copy(update=update) for name, target in record.targets.items()}
    return record.model_copy(update={"targets": targets})


def films(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="films">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    decoded: dict[str, Any] = json.loads(found.group(1), parse_constant=pytest.fail)
    return decoded


def test_a_passing_port_says_so_first_and_with_figures(passing_page: str) -> None:
    words = Page(passing_page).words
    verdict = words.index("All 5 checks held, up to throughput")
    assert words.index("cpu fp32 ✓ passed") < verdict < words.index("Why")
    assert "Closest to its limit: error budget ratio of decoder, 1.14 (limit 2)." in words
    assert "first failing frame none" in words
    assert "onnxruntime, 2.41 ms a call; 1.61x faster than openvino (3.87 ms)." in words
    assert "3.9x (3.67–4.18)" in words  # noqa: RUF001
    assert "1 of 72" in words
    assert "412 MiB" in words
    assert "wrap-around, sink, reset, aliasing" in words


def test_a_failing_port_shows_what_failed_before_what_passed(failing_page: str) -> None:
    words = Page(failing_page).words
    assert "At parity, error budget ratio of decoder failed: error budget ratio is 41.0, the limit is 2.0." in words
    assert "It reached attested." in words
    assert words.index("✕ failed parity error budget ratio") < words.index("3 checks passed")
    assert "✕ first failing frame: 9" in words
    assert "✕ 41" in words
    assert "✕ not finite" in words
    assert "These figures are not valid." in words
    assert "load of other processes: 3.2" in words
    assert "✕ did not compile" in words
    assert "RuntimeError: no <kernel> for Attention" in words
    assert "○ not measured: no device here" in words


def test_a_port_without_evidence_says_not_measured_everywhere(empty_page: str) -> None:
    page = Page(empty_page)
    assert "frames, drift, parity and throughput are not measured . Copy the bundle to a host" in page.words
    assert "not measured: no trace was recorded" in page.words
    assert "not run here: cpu, parity this host can reach attested" in page.words
    assert page.words.count("✓ passed") == page.words.count("✓ passed, ◐ passed as far") == 1  # the legend's
    assert "No backend was tried." in page.words


def test_a_target_without_a_verdict_is_not_measured(render: Render) -> None:
    words = Page(render(with_target(passing(), verdict=None))).words
    assert "cpu fp32: No verdict was recorded" in words
    assert "○ not measured: cpu, exported no verdict was recorded" in words


def test_a_record_without_targets_is_not_measured(render: Render) -> None:
    assert "not measured The record holds no target." in Page(render(records.make_record({}))).words


@pytest.mark.parametrize("missing", ["parity", "throughput"])
def test_a_part_that_is_missing_does_not_hide_the_other(missing: str, render: Render) -> None:
    words = Page(render(with_target(passing(), **{missing: None}))).words
    assert f"not measured: no {missing} was measured for this target" in words
    assert "not measured any" not in words


def test_every_cell_of_every_table_says_something(passing_page: str, failing_page: str, empty_page: str) -> None:
    for page in (passing_page, failing_page, empty_page):
        cells = re.findall(r"<t[dh]\b[^>]*>(.*?)</t[dh]>", page, re.DOTALL)
        assert len(cells) > 20
        assert all(Page(cell).words for cell in cells)


def test_the_page_loads_nothing_from_anywhere(failing_page: str) -> None:
    page = failing_page
    for tag, attributes in Page(page).tags:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), (tag, name)
        assert tag not in {"link", "iframe", "object", "embed", "base"}
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def evil_record() -> PortRecord:
    """Markup in every name, path and reason that comes from outside."""
    record = failing()
    target = record.targets["cpu"]
    parity, timed, verdict = target.parity, target.throughput, target.verdict
    assert parity is not None
    assert timed is not None
    assert verdict is not None
    rows = tuple(row.model_copy(update={"output": EVIL, "inputs": EVIL, "unit": EVIL}) for row in parity.outputs)
    forced = tuple(row.model_copy(update={"output": EVIL}) for row in parity.teacher_forced)
    artifacts = tuple(a.model_copy(update={"component": EVIL, "error": a.error and EVIL}) for a in target.artifacts)
    evil = target.model_copy(
        update={
            "parity": parity.model_copy(update={"outputs": rows, "teacher_forced": forced}),
            "throughput": timed.model_copy(
                update={
                    "disturbances": (EVIL,),
                    "not_run": {EVIL: EVIL},
                    "drivers": tuple(driver.model_copy(update={"name": EVIL}) for driver in timed.drivers),
                    "spent": tuple(part.model_copy(update={"what": EVIL}) for part in timed.spent),
                    "waterfalls": tuple(
                        frame.model_copy(
                            update={"spans": tuple(span.model_copy(update={"what": EVIL}) for span in frame.spans)}
                        )
                        for frame in timed.waterfalls
                    ),
                }
            ),
            "artifacts": artifacts,
            "verdict": verdict.model_copy(
                update={
                    "checks": tuple(
                        c.model_copy(update={"subject": EVIL, "reason": f'">{EVIL}', "name": EVIL, "unit": EVIL})
                        for c in verdict.checks
                    )
                }
            ),
        }
    )
    components = tuple(c.model_copy(update={"name": EVIL}) for c in record.components)
    return record.model_copy(
        update={
            "targets": {f"{EVIL}' onclick='alert(2)\"><img src=x onerror=alert(3)>": evil},
            "components": components,
            "command": f"worldport port '{EVIL}'",
            "checkpoint": record.checkpoint.model_copy(update={"name": f"</title>{EVIL}", "family": EVIL}),
        }
    )


def test_names_from_outside_stay_text(render: Render) -> None:
    page = render(evil_record())
    assert "<script>alert" not in page
    parsed = Page(page)
    assert not [attributes for tag, attributes in parsed.tags if tag == "img" and "onerror" in attributes]
    scripts = [attributes for tag, attributes in parsed.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "films"}, {}]
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert parsed.words.count(EVIL) > 20
    # Inside SVG too: the title of the teacher-forced chart names its outputs.
    titles = re.findall(r"<svg[^>]*>\s*<title>(.*?)</title>", page)
    assert any("&lt;script&gt;alert(1)&lt;/script&gt;" in title for title in titles)


def test_data_for_the_player_cannot_end_its_script(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("porting.report.numbers.number", lambda value, unit="": f"</script><!--{EVIL}")
    page = render(with_target(passing(4), throughput=None))
    assert "<script>alert" not in page
    assert films(page)["t0"]["psnr"][0] == f"</script><!--{EVIL}"


def test_the_player_gets_every_frame_and_the_failing_one(failing_page: str) -> None:
    film = films(failing_page)["t0"]
    assert (film["frames"], film["failing"], len(film["psnr"]), len(film["envelope"])) == (24, 9, 24, 24)
    assert sorted(film["sessions"]) == ["0", "1"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_figures_that_are_no_numbers_are_shown_as_such(value: float, render: Render) -> None:
    record = passing(4)
    parity = record.targets["cpu"].parity
    assert parity is not None
    assert parity.free_running is not None
    free = parity.free_running.model_copy(update={"psnr_db": (90.0, value, 80.0, 70.0)})
    page = render(with_target(record, throughput=None, parity=parity.model_copy(update={"free_running": free})))
    assert films(page)["t0"]["psnr"][1] == {"nan": "NaN", "inf": "∞ dB", "-inf": "\N{MINUS SIGN}∞ dB"}[str(value)]
    if not value > 0:
        assert "1 of 4 values are not numbers and leave gaps." in Page(page).words


@pytest.mark.parametrize("frames", [1, 2, 300])
def test_one_frame_and_three_hundred_are_shown(frames: int, render: Render) -> None:
    page = render(with_target(passing(frames), throughput=None))
    assert films(page)["t0"]["frames"] == frames
    assert f'max="{frames - 1}"' in page


def test_a_free_rollout_without_frames_is_not_measured(render: Render) -> None:
    record = passing(4)
    parity = record.targets["cpu"].parity
    assert parity is not None
    assert parity.free_running is not None
    empty = parity.free_running.model_copy(
        update={"psnr_db": (), "ssim": (), "envelope_psnr_db": (), "envelope_ssim": ()}
    )
    nothing = parity.model_copy(update={"free_running": empty, "teacher_forced": (), "outputs": ()})
    target = record.targets["cpu"].model_copy(update={"parity": nothing, "throughput": None})
    words = Page(render(record.model_copy(update={"targets": {"cpu": target}}))).words
    assert "not measured: the free rollout has no frames" in words
    assert "not measured: teacher-forced, no frame was run from the reference's state" in words
    assert "not measured: no output of a chosen artifact was compared" in words


def test_frames_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    words = Page(render_html(passing(), tmp_path, TEMPLATES)).words
    assert "not measured: targets/cpu/rollout_reference.png: cannot be read (FileNotFoundError)" in words
    assert "not measured: targets/cpu/frames.csv: cannot be read (FileNotFoundError)" in words


def test_the_same_record_makes_the_same_page(render: Render, failing_page: str) -> None:
    assert render(failing()) == failing_page


def test_ids_of_the_page_are_unique(render: Render) -> None:
    target = failing().targets["cpu"]
    page = Page(render(records.make_record({"cpu": target, "cpu-again": target})))
    ids = [attributes["id"] or "" for _, attributes in page.tags if "id" in attributes]
    assert sorted(ids) == sorted(set(ids))
    anchors = {attributes.get("href") or "" for tag, attributes in page.tags if tag == "a"}
    assert {anchor.removeprefix("#") for anchor in anchors} <= set(ids)


def test_a_page_for_many_targets_stays_under_six_megabytes(tmp_path: Path) -> None:
    target: TargetRecord = failing(300).targets["cpu"]
    record = records.make_record({f"target-{index}": target for index in range(2)}, 300)
    assert target.parity is not None
    assert target.parity.free_running is not None
    write_bundle(tmp_path, record)
    records.write_noise_sheets(tmp_path, target.parity.free_running, 32)
    page = render_html(record, tmp_path, TEMPLATES)
    assert len(page.encode()) < 6_000_000
    assert "Frames are shown at 1/" in page
