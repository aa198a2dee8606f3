"""The measures tell an arm that follows its commands from one that ignores, reverses or loses them."""

import numpy as np
import pytest

from tests.training.measures.simulated import CONTEXT, Draw, SimulatedModel, reverse, stop
from training.measures.arm import ArmQuality, judge_displacements, locate_tip, measure_arm
from training.scenes.clips import Float32Array
from training.scenes.robotics import ArmClips, follow, make_clips, place_joints, render


@pytest.fixture(scope="module")
def clips() -> ArmClips:
    return make_clips(24, CONTEXT + 12, seed=21)


def draw_with(clips: ArmClips) -> Draw:
    def draw(actions: Float32Array) -> Float32Array:
        angles = follow(clips.scenes, actions)
        return np.stack([render(clips.scenes, clips.background, angles[:, t]) for t in range(angles.shape[1])], axis=1)

    return draw


def quality_of(clips: ArmClips, change: Draw) -> ArmQuality:
    return measure_arm(clips, lambda _: SimulatedModel(draw_with(clips), change))


def test_the_true_arm_reaches_every_bar(clips: ArmClips) -> None:
    quality = quality_of(clips, lambda actions: actions)
    assert quality.pictures.clips == 24
    assert quality.pictures.psnr_db.mean() == pytest.approx(60)
    assert min(map(quality.pictures.gain_over_db, ("copy", "another_command", "no_command"))) > 20
    assert quality.tip_error_at(10) == 0
    assert not quality.lost_share.any()
    assert quality.commands > 100
    assert quality.right_direction_share == 1
    assert quality.worst_joint_share == 1
    # The locator's own error: the model's tip is found in the picture, the true one computed.
    assert quality.response_error_px < 0.5
    assert quality.true_displacement_px > 3


def test_an_arm_that_ignores_its_commands_gains_nothing_over_one_that_has_none(clips: ArmClips) -> None:
    quality = quality_of(clips, stop)
    assert quality.pictures.gain_over_db("no_command") == 0
    assert quality.pictures.gain_over_db("another_command") == 0
    assert quality.right_direction_share == 0
    assert quality.tip_error_at(10) > 5


def test_an_arm_that_goes_the_other_way_answers_no_command(clips: ArmClips) -> None:
    quality = quality_of(clips, reverse)
    assert quality.right_direction_share < 0.1
    assert quality.pictures.gain_over_db("no_command") < 0


def test_a_scene_without_its_arm_has_lost_the_tip(clips: ArmClips) -> None:
    quality = measure_arm(
        clips, lambda _: SimulatedModel(lambda actions: np.repeat(clips.background[:, None], actions.shape[1], 1))
    )
    assert quality.lost_share[-1] == 1
    assert quality.right_direction_share == 0
    np.testing.assert_array_equal(quality.tip_error_px, quality.copy_tip_error_px)


def test_the_locator_finds_the_tip_where_it_is(clips: ArmClips) -> None:
    centre, mass = locate_tip(clips.frame(9), clips.background, clips.scenes.tip_colour)
    true = place_joints(clips.scenes, clips.angles[:, 9])[:, -1]
    assert np.median(np.linalg.norm(centre - true, axis=-1)) < 0.3
    assert np.median(mass) == pytest.approx(np.pi * 4.0**2, rel=0.25)


def test_frames_that_are_not_numbers_hold_no_tip(clips: ArmClips) -> None:
    broken = np.full_like(clips.background, np.nan)
    _, mass = locate_tip(broken, clips.background, clips.scenes.tip_colour)
    assert not mass.any()


def test_displacements_are_judged_by_direction_and_only_where_the_truth_moved() -> None:
    true = np.zeros((2, 4, 2))
    true[0, :, 0] = 3.0
    true[1, 0, 1] = 5.0
    moved = true.copy()
    moved[0, 1] = (2.0, 1.9)  # within 45 degrees
    moved[0, 2] = (2.0, 2.1)  # not
    moved[0, 3] = np.nan  # lost
    judged, share, worst, _, length = judge_displacements(moved, true)
    assert judged == 5
    assert share == pytest.approx(3 / 5)
    assert worst == pytest.approx(1 / 2)
    assert length == 3


def test_commands_that_move_nothing_are_not_measured() -> None:
    judged, share, *_ = judge_displacements(np.ones((2, 3, 2)), np.zeros((2, 3, 2)))
    assert judged == 0
    assert np.isnan(share)


def test_a_short_rollout_has_no_error_at_frame_32(clips: ArmClips) -> None:
    assert np.isnan(quality_of(clips, stop).summary()["tip_error_px_at_32"])
