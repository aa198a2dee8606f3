"""The scenes obey their physics, are reproducible, and are drawn where the physics says."""

from dataclasses import fields

import numpy as np
import pytest

from training.scenes.clips import IMAGE_SIZE, Float32Array
from training.scenes.worlds import (
    BORDER,
    MAX_SPEED,
    Scenes,
    make_actions,
    make_clips,
    make_scenes,
    render,
    render_background,
    simulate,
)

ROUNDING_PX = 2e-3


def empty_rooms(count: int) -> Scenes:
    """Rooms without inner walls, their balls at rest in the middle."""
    scenes = make_scenes(count, np.random.default_rng(5))
    scenes.walls[:] = (-100, -100, 1, 1)
    scenes.position[:] = IMAGE_SIZE / 2
    scenes.velocity[:] = 0
    return scenes


def hard_pushes(count: int, frames: int) -> Float32Array:
    """Full pushes in every frame, each ball always to its own side: finds wedges."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    push = 2.4 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.repeat(push[:, None], frames, axis=1).astype(np.float32)


@pytest.mark.parametrize("pushes", ["drawn", "hard"])
def test_the_ball_never_leaves_the_room_or_enters_a_wall(pushes: str) -> None:
    rng = np.random.default_rng(1)
    scenes = make_scenes(400, rng)
    actions = make_actions(400, 60, rng) if pushes == "drawn" else hard_pushes(400, 60)
    positions = simulate(scenes, actions)
    radius = scenes.radius[:, None]
    assert (positions.min(axis=-1) >= BORDER + radius - ROUNDING_PX).all()
    assert (positions.max(axis=-1) <= IMAGE_SIZE - BORDER - radius + ROUNDING_PX).all()
    for wall in np.moveaxis(scenes.walls, 1, 0)[:, :, None]:
        nearest = np.clip(positions, wall[..., :2] - wall[..., 2:], wall[..., :2] + wall[..., 2:])
        distance = np.linalg.norm(positions - nearest, axis=-1)
        assert (distance >= radius - ROUNDING_PX).all()


def test_a_ball_gains_speed_only_by_pushes() -> None:
    clips = make_clips(200, 2, seed=2, burn_in=0)
    positions = simulate(clips.scenes, np.zeros((200, 30, 2), np.float32))
    start = clips.scenes.position[:, None]
    travelled = np.linalg.norm(np.diff(positions, axis=1, prepend=start), axis=-1)
    speed = np.minimum(np.linalg.norm(clips.scenes.velocity, axis=-1), MAX_SPEED)
    fastest = speed[:, None] * 0.6 ** np.arange(30)
    assert (travelled <= fastest + ROUNDING_PX).all()


def test_no_ball_is_faster_than_the_limit() -> None:
    positions = simulate(empty_rooms(50), hard_pushes(50, 20))
    steps = np.linalg.norm(np.diff(positions, axis=1), axis=-1)
    assert steps.max() <= MAX_SPEED + ROUNDING_PX
    assert steps.max() > 0.9 * MAX_SPEED


@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_a_push_moves_the_ball_its_way(direction: tuple[int, int]) -> None:
    scenes = empty_rooms(20)
    actions = np.zeros((20, 8, 2), np.float32)
    actions[:, :3] = direction
    moved = simulate(scenes, actions)[:, -1] - scenes.position
    # 3 pushes of 1 px, 0.6 of the speed kept a frame: 1 + 1.6 + 1.96 + 1.176 * (1 - 0.6^5) / 0.4
    expected = np.multiply(direction, 4.56 + 1.176 * (1 - 0.6**5) / 0.4)
    np.testing.assert_allclose(moved, np.tile(expected, (20, 1)), atol=1e-3)


def test_simulate_keeps_its_scenes_and_repeats_the_clip() -> None:
    clips = make_clips(30, 12, seed=3)
    before = clips.scenes.copy()
    np.testing.assert_array_equal(simulate(clips.scenes, clips.actions), clips.positions)
    for field in fields(Scenes):
        np.testing.assert_array_equal(getattr(clips.scenes, field.name), getattr(before, field.name))


def test_a_subset_is_simulated_and_drawn_like_the_whole() -> None:
    clips = make_clips(10, 6, seed=4)
    few = clips.subset(np.array([7, 2]))
    np.testing.assert_array_equal(simulate(few.scenes, few.actions), clips.positions[[7, 2]])
    np.testing.assert_array_equal(few.frame(5), clips.frame(5)[[7, 2]])


def test_clips_are_the_same_for_a_seed_and_others_for_another() -> None:
    first, again, other = (make_clips(8, 5, seed=seed) for seed in (11, 11, 12))
    np.testing.assert_array_equal(first.frames(), again.frames())
    np.testing.assert_array_equal(first.actions, again.actions)
    assert np.abs(first.positions - other.positions).max() > 1


def test_actions_are_bursts_between_idle_frames() -> None:
    actions = make_actions(500, 60, np.random.default_rng(6))
    magnitude = np.linalg.norm(actions, axis=-1)
    pushed = magnitude > 0
    assert actions.dtype == np.float32
    assert 0.55 < pushed.mean() < 0.7
    assert magnitude[pushed].min() >= 0.299
    assert 2.3 < magnitude.max() <= 2.401


def test_pictures_have_their_range_and_the_ball_its_place() -> None:
    clips = make_clips(60, 9, seed=7)
    frames = clips.frames()
    assert frames.shape == (60, 9, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert frames.dtype == np.float32
    assert frames.min() >= 0
    assert frames.max() <= 1
    column, row = np.floor(clips.positions[:, -1]).astype(int).T
    centre_pixel = frames[np.arange(60), -1, :, row, column]
    np.testing.assert_allclose(centre_pixel, clips.scenes.ball_colour, atol=0.02)


def test_drawn_area_is_the_disc_area() -> None:
    scenes = empty_rooms(20)
    scenes.position += np.random.default_rng(8).uniform(-5, 5, (20, 2)).astype(np.float32)
    background = np.zeros((20, 3, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    opaque = render(scenes, background - 1e4, scenes.position)  # far below: only coverage shows
    covered = (1 + opaque[:, 0] / 1e4).sum(axis=(1, 2))
    np.testing.assert_allclose(covered, np.pi * scenes.radius**2, rtol=0.02)


def test_alpha_fades_the_ball_and_leaves_the_room() -> None:
    scenes = make_scenes(10, np.random.default_rng(9))
    background = render_background(scenes)
    solid = render(scenes, background, scenes.position)
    half = render(scenes, background, scenes.position, np.full(10, 0.5, np.float32))
    gone = render(scenes, background, scenes.position, np.zeros(10, np.float32))
    np.testing.assert_allclose(half, (solid + background) / 2, atol=1e-6)
    np.testing.assert_array_equal(gone, background)


def test_walls_and_border_are_drawn_in_their_colour() -> None:
    scenes = make_scenes(200, np.random.default_rng(10))
    background = render_background(scenes)
    np.testing.assert_allclose(background[:, :, 0, 30], scenes.wall_colour, atol=1e-6)
    present = scenes.walls[:, 0, 0] > 0
    column, row = np.floor(scenes.walls[present, 0, :2]).astype(int).T
    drawn = background[present][np.arange(present.sum()), :, row, column]
    np.testing.assert_allclose(drawn, scenes.wall_colour[present], atol=1e-6)
    assert 0.5 < present.mean() < 0.8
