"""Frames reach the page pixel for pixel, or the page says what was left out."""

import base64
import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from porting.record import FileRecord, FreeRunning, PortRecord
from porting.report.files import Missing
from porting.report.frames import Film, read_film
from tests.report.records import failing, passing, write_noise_sheets, write_sheets

PLENTY = 10_000_000


def free_running(record: PortRecord) -> FreeRunning:
    parity = record.targets["cpu"].parity
    assert parity is not None
    assert parity.free_running is not None
    return parity.free_running


def make_film(folder: Path, record: PortRecord, budget: int = PLENTY, noise: int = 0) -> Film | Missing:
    free = free_running(record)
    write_sheets(folder, free, noise or 8)
    if noise:
        write_noise_sheets(folder, free, noise)
    return read_film(record, folder, free, budget)


def read_pixels(uri: str) -> npt.NDArray[np.uint8]:
    head, _, body = uri.partition(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("frames", [1, 5, 600])
def test_every_frame_is_where_the_player_looks_for_it(tmp_path: Path, frames: int) -> None:
    record = passing(frames)
    film = make_film(tmp_path, record)
    assert isinstance(film, Film)
    assert (film.width, film.height, film.frames, film.note) == (8, 8, frames, "")
    for session in film.sessions:
        for kind in ("reference", "port", "difference"):
            with Image.open(tmp_path / "targets" / "cpu" / f"rollout_{kind}.png") as image:
                sheet = np.asarray(image.convert("RGB"))
            packed = read_pixels(getattr(session, kind))
            for frame in (0, frames // 2, frames - 1):
                x, y = frame % film.columns * 8, frame // film.columns * 8
                row = session.number * 8
                expected = sheet[row : row + 8, frame * 8 : frame * 8 + 8]
                np.testing.assert_array_equal(packed[y : y + 8, x : x + 8], expected)


def test_the_strip_holds_the_first_failing_frame_of_the_worst_session(tmp_path: Path) -> None:
    film = make_film(tmp_path, failing(100, 41))
    assert isinstance(film, Film)
    assert 41 in film.strip_frames
    assert len(film.strip_frames) <= 8
    assert film.strip_session == 1
    assert read_pixels(film.strip).shape == (3 * 8 + 2, len(film.strip_frames) * 9 - 1, 3)


def test_sessions_that_do_not_fit_are_left_out_and_counted(tmp_path: Path) -> None:
    record = failing(24, 3)
    write_noise_sheets(tmp_path, _prepare(tmp_path, record), 8)
    one_session = 3 * 24 * 8 * 8 * 3 * 4 // 3
    film = read_film(record, tmp_path, free_running(record), int(1.5 * one_session))
    assert isinstance(film, Film)
    assert len(film.sessions) == 1
    assert film.note == "1 of 2 sessions are shown, those that differ most."


def _prepare(folder: Path, record: PortRecord) -> FreeRunning:
    free = free_running(record)
    write_sheets(folder, free, 8)
    return free


def test_frames_that_do_not_fit_are_scaled_down_and_that_is_said(tmp_path: Path) -> None:
    film = make_film(tmp_path, failing(24, 3), budget=60_000, noise=32)
    assert isinstance(film, Film)
    assert film.width < 32
    assert f"Frames are shown at 1/{32 // film.width} of their size." in film.note
    assert sum(len(s.reference) + len(s.port) + len(s.difference) for s in film.sessions) <= 60_000


def test_a_lone_wrong_pixel_survives_scaling_down(tmp_path: Path) -> None:
    record = passing(4)
    free = free_running(record).model_copy(update={"sessions": 1})
    write_sheets(tmp_path, free, 64)
    write_noise_sheets(tmp_path, free, 64)
    lone = np.zeros((64, 4 * 64, 3), np.uint8)
    lone[33, 21] = 255
    Image.fromarray(lone).save(tmp_path / "targets" / "cpu" / "rollout_difference.png")
    film = read_film(record, tmp_path, free, 40_000)
    assert isinstance(film, Film)
    assert film.width < 64
    assert read_pixels(film.sessions[0].difference).max() == 255


def test_nothing_fits_into_nothing(tmp_path: Path) -> None:
    film = make_film(tmp_path, passing(24), budget=10)
    assert isinstance(film, Missing)
    assert "do not fit" in film.reason


def test_a_changed_sheet_is_refused_by_name(tmp_path: Path) -> None:
    record = passing(4)
    make_film(tmp_path, record)
    name = "targets/cpu/rollout_port.png"
    content = (tmp_path / name).read_bytes()
    listed = FileRecord(path=name, sha256=hashlib.sha256(content).hexdigest(), nbytes=len(content))
    record = record.model_copy(update={"files": (listed,)})
    assert isinstance(read_film(record, tmp_path, free_running(record), PLENTY), Film)
    (tmp_path / name).write_bytes(content[:-1] + b"\0")
    found = read_film(record, tmp_path, free_running(record), PLENTY)
    assert found == Missing(f"{name}: was changed after it was recorded")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not a picture", "UnidentifiedImageError"), (b"", "UnidentifiedImageError"), (None, "cannot be read")],
)
def test_a_sheet_that_is_no_picture_is_not_measured(tmp_path: Path, content: bytes | None, words: str) -> None:
    record = passing(4)
    make_film(tmp_path, record)
    sheet = tmp_path / "targets" / "cpu" / "rollout_reference.png"
    sheet.unlink() if content is None else sheet.write_bytes(content)
    found = read_film(record, tmp_path, free_running(record), PLENTY)
    assert isinstance(found, Missing)
    assert "rollout_reference.png" in found.reason
    assert words in found.reason


def test_a_truncated_sheet_is_not_measured(tmp_path: Path) -> None:
    record = passing(24)
    make_film(tmp_path, record)
    sheet = tmp_path / "targets" / "cpu" / "rollout_reference.png"
    sheet.write_bytes(sheet.read_bytes()[:200])
    found = read_film(record, tmp_path, free_running(record), PLENTY)
    assert isinstance(found, Missing)
    assert "cannot be shown" in found.reason


def test_a_sheet_of_another_size_is_not_cut_anyhow(tmp_path: Path) -> None:
    record = passing(4)
    make_film(tmp_path, record)
    Image.new("RGB", (33, 16)).save(tmp_path / "targets" / "cpu" / "rollout_port.png")
    found = read_film(record, tmp_path, free_running(record), PLENTY)
    assert found == Missing("targets/cpu/rollout_port.png: 33 x 16 pixels are not 2 sessions of 4 frames")


def test_a_picture_that_unpacks_to_gigabytes_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    found = make_film(tmp_path, passing(4))
    assert isinstance(found, Missing)
    assert "DecompressionBomb" in found.reason


@pytest.mark.parametrize("folder", ["../outside", "/tmp", "targets/../../outside"])
def test_no_file_outside_the_bundle_is_read(tmp_path: Path, folder: str) -> None:
    record = passing(4)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    free = free_running(record)
    write_sheets(tmp_path, free.model_copy(update={"reference_frames": "outside"}), 8)
    found = read_film(record, bundle, free.model_copy(update={"reference_frames": folder}), PLENTY)
    assert isinstance(found, Missing)
    assert "lies outside the bundle" in found.reason


def test_a_link_out_of_the_bundle_is_not_followed(tmp_path: Path) -> None:
    record = passing(4)
    bundle = tmp_path / "bundle"
    (bundle / "targets").mkdir(parents=True)
    make_film(tmp_path / "outside", record)
    (bundle / "targets" / "cpu").symlink_to(tmp_path / "outside" / "targets" / "cpu")
    found = read_film(record, bundle, free_running(record), PLENTY)
    assert isinstance(found, Missing)
    assert "lies outside the bundle" in found.reason
