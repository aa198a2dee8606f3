"""Picture measures are the formulas, and refuse what cannot be compared."""

import numpy as np
import pytest

from training.measures.picture import measure_pictures, measure_psnr


def test_psnr_is_the_formula_on_clipped_frames() -> None:
    truth = np.ones((1, 3, 64, 64), np.float32)
    assert measure_psnr(truth - 0.1, truth)[0] == pytest.approx(20, abs=0.01)
    assert measure_psnr(truth + 5, truth)[0] == pytest.approx(60)


def test_gains_are_differences_of_the_means() -> None:
    truth = np.full((2, 3, 3, 8, 8), 0.5, np.float32)
    quality = measure_pictures(truth + 0.01, truth, {"copy": truth + 0.1, "same": truth + 0.01})
    assert quality.clips == 2
    assert quality.psnr_db.shape == (3,)
    assert quality.gain_over_db("copy") == pytest.approx(20, abs=0.1)
    assert quality.gain_over_db("same") == 0
    assert quality.summary()["gain_over_copy_db"] == quality.gain_over_db("copy")


def test_frames_that_are_not_numbers_pass_no_bar() -> None:
    truth = np.full((2, 3, 3, 8, 8), 0.5, np.float32)
    broken = truth.copy()
    broken[0, 2] = np.nan
    quality = measure_pictures(broken, truth, {"copy": truth})
    assert not quality.gain_over_db("copy") >= -100


@pytest.mark.parametrize(
    ("shape", "message"),
    [((0, 3, 3, 8, 8), "nothing"), ((2, 0, 3, 8, 8), "nothing"), ((2, 4, 3, 8, 8), "truth"), ((3, 3, 8, 8), "nothing")],
)
def test_a_rollout_that_does_not_fit_is_refused(shape: tuple[int, ...], message: str) -> None:
    truth = np.zeros((2, 3, 3, 8, 8), np.float32)
    with pytest.raises(ValueError, match=message):
        measure_pictures(np.zeros(shape, np.float32), truth, {"copy": truth})


def test_no_baseline_is_nothing_to_measure() -> None:
    truth = np.zeros((2, 3, 3, 8, 8), np.float32)
    with pytest.raises(ValueError, match="nothing"):
        measure_pictures(truth, truth, {})
