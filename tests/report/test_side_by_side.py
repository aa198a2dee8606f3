"""Two bundles on one page: what differs is shown, what cannot be compared is refused, and the page holds itself."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import porting.cli.bundle_commands  # noqa: F401  registers the command
from porting.cli.app import app
from porting.record import FileRecord, PortRecord
from porting.report import render_against
from tests.report import records
from tests.report.records import TEMPLATES, failing, make_record, not_measured, passing, write_bundle
from tests.report.test_html import EVIL, Page, evil_record, films


def with_trace(record: PortRecord, digest: str = "ab") -> PortRecord:
    files = (FileRecord(path="trace/calls", sha256=digest * 32, nbytes=1),)
    return record.model_copy(update={"files": files})


def render(folder: Path, before: PortRecord, now: PortRecord) -> str:
    old, new = (write_bundle(folder / name, record) for name, record in (("old", before), ("new", now)))
    return render_against(before, old, now, new, TEMPLATES)


def test_what_got_worse_is_said_first_with_its_check(tmp_path: Path) -> None:
    page = render(tmp_path, with_trace(passing()), with_trace(failing()))
    words = Page(page).words
    assert "1 target came to less than before" in words
    assert (
        words.index("came to less")
        < words.index("error budget ratio is 41.0, the limit is 2.0")
        < words.index("Figures")
    )
    assert "failed ▼ worse: was passed" in words
    assert "Both were held against the same recorded rollout." in words
    assert "lowest PSNR" in words
    film = films(page)["t0"]
    assert (film["frames"], film["failing"], len(film["psnr"]), len(film["envelope"])) == (24, 9, 24, 24)


def test_the_same_twice_shows_no_change(tmp_path: Path) -> None:
    words = Page(render(tmp_path, with_trace(passing()), with_trace(passing()))).words
    assert "every target came to the same steps as before" in words
    assert "The same checkpoint, versions, machine, trace and graphs." in words
    assert "difference none anywhere" in words


def test_frames_of_different_traces_are_not_put_beside_each_other(tmp_path: Path) -> None:
    page = render(tmp_path, with_trace(passing()), with_trace(passing(), "cd"))
    assert "not measured: the two bundles were held against different traces" in Page(page).words
    assert films(page) == {}


def test_frames_of_another_size_or_number_are_cut_or_refused(tmp_path: Path) -> None:
    before, now = with_trace(passing(24)), with_trace(passing(12))
    assert films(render(tmp_path / "fewer", before, now))["t0"]["frames"] == 12
    old = write_bundle(tmp_path / "small", before)
    new = write_bundle(tmp_path / "large", now, side=16)
    page = render_against(before, old, now, new, TEMPLATES)
    assert "the frames differ in size: 8 x 8 and 16 x 16 pixels" in Page(page).words


@pytest.mark.parametrize("swapped", [False, True])
def test_a_target_of_one_bundle_only_is_named(swapped: bool, tmp_path: Path) -> None:
    one, two = passing(), make_record({**passing().targets, "b200": not_measured().targets["cpu"]})
    pair = (two, one) if swapped else (one, two)
    words = Page(render(tmp_path, *pair)).words
    assert f"Only the bundle of {'before' if swapped else 'now'} has this target." in words


def test_no_target_on_either_side(tmp_path: Path) -> None:
    assert "neither record holds a target" in Page(render(tmp_path, make_record({}), make_record({}))).words


def test_names_stay_text_and_nothing_is_loaded(tmp_path: Path) -> None:
    page = render(tmp_path, evil_record(), evil_record().model_copy(update={"worldport": EVIL}))
    assert "<script>alert" not in page
    parsed = Page(page)
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert [attributes for tag, attributes in parsed.tags if tag == "script"] == [
        {"type": "application/json", "id": "films"},
        {},
    ]
    for tag, attributes in parsed.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), (tag, name)


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    folders = []
    for name, record in (("old", passing()), ("new", failing())):
        folder = write_bundle(tmp_path / name, record)
        (folder / "port.json").write_text(record.model_dump_json(by_alias=True), encoding="utf-8")
        folders.append(str(folder))
    out = tmp_path / "pages" / "two.html"
    base = ["report", folders[1], "--against"]
    done = CliRunner().invoke(app, [*base, folders[0], "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "1 target came to less than before" in out.read_text(encoding="utf-8")
    for arguments, named in (
        ([str(tmp_path / "nowhere")], "nowhere"),
        ([folders[0], "--format", "markdown"], "--against"),
        ([folders[0], "--history", "any.sqlite"], "--history"),
    ):
        refused = CliRunner().invoke(app, [*base, *arguments])
        assert refused.exit_code == 2
        assert named in refused.output


def test_two_long_rollouts_stay_under_six_megabytes(tmp_path: Path) -> None:
    record = with_trace(passing(300))
    parity = record.targets["cpu"].parity
    assert parity is not None
    assert parity.free_running is not None
    folders = [write_bundle(tmp_path / name, record) for name in ("old", "new")]
    for folder in folders:
        records.write_noise_sheets(folder, parity.free_running, 32)
    assert len(render_against(record, folders[0], record, folders[1], TEMPLATES).encode()) < 6_000_000
