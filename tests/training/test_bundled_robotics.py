"""The stored arm has learned its joints: bars on 128 held-out scenes, 32 frames of free rollout each."""

import pytest

from tests.training.bundled import judge_stored
from training.measures.arm import ArmQuality

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quality() -> ArmQuality:
    return judge_stored("robotics", ArmQuality)


def test_rollout_beats_every_model_that_does_not_listen(quality: ArmQuality) -> None:
    assert quality.pictures.clips == 128
    assert len(quality.pictures.psnr_db) == 32
    gains = {name: gain for name, gain in quality.summary().items() if name.startswith("gain_over_")}
    assert set(gains) == {"gain_over_copy_db", "gain_over_another_command_db", "gain_over_no_command_db"}
    assert min(gains.values()) >= 4.0, gains


def test_the_tip_goes_where_it_is_told(quality: ArmQuality) -> None:
    assert quality.tip_error_at(10) < 2.0
    assert quality.tip_error_at(32) < 4.0
    # An arm that is left where it was last seen.
    assert quality.summary()["copy_tip_error_px"] > 10.0
    # The tip is five pixels wide; over 32 frames of its own pictures the model lets it fade in a quarter of the clips.
    assert quality.lost_share[9] <= 0.2
    assert quality.lost_share[-1] <= 0.35


def test_each_of_seven_joints_is_answered(quality: ArmQuality) -> None:
    assert quality.commands > 7 * 100
    assert quality.right_direction_share >= 0.95
    assert quality.worst_joint_share >= 0.9
    assert quality.response_error_px < quality.true_displacement_px / 4
