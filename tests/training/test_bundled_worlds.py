"""The stored checkpoint has learned its world: bars on 128 held-out scenes, 32 frames of free rollout each."""

import pytest

from tests.training.bundled import judge_stored
from training.measures.ball import BallQuality


@pytest.fixture(scope="module")
def quality() -> BallQuality:
    return judge_stored("worlds", BallQuality)


def test_rollout_beats_copying_and_erasing(quality: BallQuality) -> None:
    assert quality.rollout.clips == 128
    assert len(quality.rollout.psnr_db) == 32
    assert quality.rollout.gain_over_copy_db >= 3.5
    assert quality.rollout.gain_over_erased_db >= 2.5


def test_the_ball_stays_and_stays_where_it_should(quality: BallQuality) -> None:
    assert quality.rollout.lost_share_at_end <= 0.05
    assert quality.rollout.position_error_px(10) < 1.5
    assert quality.rollout.position_error_px(32) < 3.5


def test_pushes_are_answered_in_the_right_direction(quality: BallQuality) -> None:
    assert quality.pushes.pushes > 300
    assert quality.pushes.right_direction_share >= 0.95
