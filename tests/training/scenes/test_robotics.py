"""The arm obeys its kinematics, follows its commands, and is drawn where the kinematics says."""

import numpy as np
import pytest

from training.scenes.clips import IMAGE_SIZE, Float32Array
from training.scenes.robotics import (
    FULL_SPEEDS,
    JOINT_LIMITS,
    JOINTS,
    LINK_LENGTHS,
    TABLE_TOP,
    ArmClips,
    follow,
    make_clips,
    place_joints,
    render,
)


@pytest.fixture(scope="module")
def clips() -> ArmClips:
    return make_clips(60, 24, seed=3)


def tips(clips: ArmClips) -> Float32Array:
    """(N, T, 2)"""
    time = clips.angles.shape[1]
    return np.stack([place_joints(clips.scenes, clips.angles[:, t])[:, -1] for t in range(time)], axis=1)


def test_a_straight_arm_stands_upright_at_full_reach(clips: ArmClips) -> None:
    joints = place_joints(clips.scenes, np.zeros((60, JOINTS), np.float32))
    np.testing.assert_allclose(joints[:, :, 0], np.repeat(clips.scenes.base[:, :1], 8, axis=1), atol=1e-4)
    reach = clips.scenes.base[:, 1] - joints[:, -1, 1]
    np.testing.assert_allclose(reach, clips.scenes.size * LINK_LENGTHS.sum(), rtol=1e-5)


def test_links_keep_their_lengths_in_every_pose(clips: ArmClips) -> None:
    joints = place_joints(clips.scenes, clips.angles[:, 11])
    lengths = np.linalg.norm(np.diff(joints, axis=1), axis=-1)
    np.testing.assert_allclose(lengths, clips.scenes.size[:, None] * LINK_LENGTHS, rtol=1e-4)


@pytest.mark.parametrize("joint", range(JOINTS))
def test_a_joint_turns_all_that_is_above_it_and_nothing_below(clips: ArmClips, joint: int) -> None:
    pose = clips.angles[:, 5]
    turned = pose.copy()
    turned[:, joint] += 0.3
    moved = np.linalg.norm(place_joints(clips.scenes, turned) - place_joints(clips.scenes, pose), axis=-1)
    assert (moved[:, : joint + 1] == 0).all()
    assert (moved[:, joint + 1] > 0.5).all()


def test_joints_turn_with_the_commanded_speed_and_stop_at_their_limits(clips: ArmClips) -> None:
    command = np.zeros((60, 40, JOINTS), np.float32)
    command[:, :, 2] = 0.5
    command[:, :, 6] = -1.0
    turned = follow(clips.scenes, command) - clips.scenes.angles[:, None]
    start = clips.scenes.angles
    np.testing.assert_array_equal(np.delete(turned, (2, 6), axis=2), 0)
    free = start[:, 2] + 3 * 0.5 * FULL_SPEEDS[2] < JOINT_LIMITS[2]
    np.testing.assert_allclose(turned[free, 2, 2], 3 * 0.5 * FULL_SPEEDS[2], rtol=1e-5)
    np.testing.assert_allclose(turned[:, -1, 2] + start[:, 2], JOINT_LIMITS[2], rtol=1e-6)
    np.testing.assert_allclose(turned[:, -1, 6] + start[:, 6], -JOINT_LIMITS[6], rtol=1e-6)


def test_commands_keep_to_their_range_and_the_arm_to_limits_and_picture(clips: ArmClips) -> None:
    assert np.abs(clips.actions).max() <= 1
    turned = np.diff(clips.angles, axis=1) - clips.actions[:, 1:] * FULL_SPEEDS
    assert np.abs(turned).max() < 1e-5  # no limit is ever met
    tip = tips(clips)
    inside = (tip > 2).all(-1) & (tip[..., 0] < IMAGE_SIZE - 2) & (tip[..., 1] < TABLE_TOP)
    assert inside.all()


def test_a_few_joints_move_at_a_time_and_each_does(clips: ArmClips) -> None:
    active = clips.actions != 0
    assert 1.5 < active.sum(axis=-1).mean() < 3.5
    assert (active.mean(axis=(0, 1)) > 0.2).all()
    assert (clips.angles.std(axis=(0, 1)) > 0.2).all()


def test_consecutive_frames_differ_visibly(clips: ArmClips) -> None:
    speed = np.linalg.norm(np.diff(tips(clips), axis=1), axis=-1)
    assert 1.0 < speed.mean() < 4.0
    assert (speed > 0.5).mean() > 0.75


def test_clips_are_the_same_for_a_seed_and_others_for_another() -> None:
    first, again, other = (make_clips(6, 5, seed=seed) for seed in (11, 11, 12))
    np.testing.assert_array_equal(first.frames(), again.frames())
    np.testing.assert_array_equal(first.actions, again.actions)
    assert np.abs(first.angles - other.angles).max() > 0.1


def test_commands_lead_to_the_clip_again_also_for_a_subset(clips: ArmClips) -> None:
    np.testing.assert_array_equal(follow(clips.scenes, clips.actions), clips.angles)
    few = clips.subset(np.array([7, 2]))
    np.testing.assert_array_equal(follow(few.scenes, few.actions), clips.angles[[7, 2]])
    np.testing.assert_array_equal(few.frame(5), clips.frame(5)[[7, 2]])


def test_the_tip_is_drawn_where_it_is(clips: ArmClips) -> None:
    frames = clips.frames()
    assert frames.shape == (60, 24, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert frames.dtype == np.float32
    assert frames.min() >= 0
    assert frames.max() <= 1
    column, row = np.floor(tips(clips)[:, 9]).astype(int).clip(0, IMAGE_SIZE - 1).T
    np.testing.assert_allclose(frames[np.arange(60), 9, :, row, column], clips.scenes.tip_colour, atol=1e-5)


def test_only_the_arm_counts_as_moving(clips: ArmClips) -> None:
    moving = clips.moving(4, clips.frame(4))
    assert moving.shape == (60, 1, IMAGE_SIZE, IMAGE_SIZE)
    assert 0.04 < moving.mean() < 0.15
    assert not clips.moving(4, clips.background).any()


def test_a_drifted_arm_is_fainter_and_the_scene_behind_it_is_as_it_was(clips: ArmClips) -> None:
    drifted = clips.drifted(np.random.default_rng(1))
    shown, truth = np.abs(drifted[:, 9] - clips.background), np.abs(clips.frame(9) - clips.background)
    assert 0.6 < shown.mean() / truth.mean() < 0.9
    np.testing.assert_array_equal(drifted[:, :, :, 63, :5], clips.frames()[:, :, :, 63, :5])
    gone = render(clips.scenes, clips.background, clips.angles[:, 0], np.zeros(60, np.float32))
    np.testing.assert_array_equal(gone, clips.background)
