"""The pictures show what was compared."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from porting.parity import measure_parity
from porting.parity.contact_sheet import CELL_HEIGHT, ContactSheet
from tests.parity.tiny import BUDGET, FRAMES, honest_runners, trace, world_model


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_three_sheets_a_row_a_session_a_column_a_frame(tmp_path: Path) -> None:
    runners = honest_runners()
    backends = dict.fromkeys(runners, "eager")
    evidence = measure_parity(world_model().program, runners, trace(), BUDGET, "fp32", tmp_path / "cpu", backends)
    assert evidence.free_running is not None
    assert evidence.free_running.reference_frames == "targets/cpu"
    reference, port, difference = (
        pixels(tmp_path / "cpu" / f"rollout_{kind}.png") for kind in ("reference", "port", "difference")
    )
    assert reference.shape == port.shape == difference.shape == (2 * 16, FRAMES * 16, 3)
    gold = trace().sessions[1].frames[3].outputs["frame"][0].transpose(1, 2, 0)
    assert np.array_equal(reference[16:32, 48:64], np.rint(np.clip(gold, 0, 1) * 255))
    assert np.abs(reference.astype(int) - port).max() <= 1
    # The worst pixel is white, though no eye would see a millionth.
    assert difference.max() == 255
    assert evidence.free_running.difference_gain > 1e5


def test_what_is_not_finite_is_white_in_the_difference(tmp_path: Path) -> None:
    sheet = ContactSheet(1, 1)
    frame = np.full((1, 3, 8, 8), 0.5)
    broken = frame.copy()
    broken[0, :, 2, 3] = math.nan
    sheet.add(0, 0, frame, broken)
    assert sheet.write(tmp_path) == 1.0
    difference = pixels(tmp_path / "rollout_difference.png")
    assert (difference[2, 3] == 255).all()
    assert difference.sum() == 3 * 255


def test_the_gain_makes_the_worst_pixel_white(tmp_path: Path) -> None:
    sheet = ContactSheet(1, 1)
    frame = np.full((1, 3, 8, 8), 0.5)
    sheet.add(0, 0, frame, frame + np.eye(8) * 0.01)
    assert sheet.write(tmp_path) == pytest.approx(100)
    assert pixels(tmp_path / "rollout_difference.png").max() == 255


def test_a_large_frame_is_shrunk_and_its_worst_pixel_stays(tmp_path: Path) -> None:
    height, width = 4 * CELL_HEIGHT, 1280
    frame = np.full((1, 3, height, width), 0.5, np.float32)
    other = frame.copy()
    other[0, 1, 301, 402] = 0.75
    sheet = ContactSheet(1, 1)
    sheet.add(0, 0, frame, other)
    assert sheet.write(tmp_path) == pytest.approx(4)
    difference = pixels(tmp_path / "rollout_difference.png")
    assert difference.shape == (CELL_HEIGHT, width // 4, 3)
    assert difference[75, 100].tolist() == [0, 255, 0]
