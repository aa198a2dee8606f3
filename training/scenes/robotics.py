"""Procedurally made clips in which joint commands move a robot's arm over a table, as 64x64 RGB.

The arm has seven joints in the picture's plane. A command holds one speed a joint, as a share of that joint's full
speed; joints stop at their limits. Knows kinematics and rendering only: nothing of models, latents, losses or
files. Positions are in pixels, x to the right and y down; N scenes are moved and drawn at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from training.scenes.clips import (
    IMAGE_SIZE,
    BoolArray,
    Float32Array,
    Indices,
    draw_frames,
    mix,
    pixel_centres,
)

JOINTS = 7
LINK_LENGTHS: Float32Array = np.array([8.5, 8.0, 7.5, 7.0, 6.5, 5.5, 5.0], np.float32)
"""px, from the base to the tip; scaled by each scene's own size."""
JOINT_LIMITS: Float32Array = np.array([0.75, 0.9, 0.9, 0.9, 0.9, 1.0, 1.0], np.float32)
"""Radians to either side of straight on; the first joint is measured from upright."""
FULL_SPEEDS: Float32Array = np.array([0.080, 0.100, 0.120, 0.145, 0.180, 0.250, 0.340], np.float32)
"""Radians a frame; each alone moves the tip of a straight arm by 1.7 to 4 px a frame."""
HALF_WIDTHS = (3.6, 3.4, 3.1, 2.9, 2.6, 2.4, 2.4)
"""px."""
TIP_RADIUS = 4.0
TABLE_TOP = 57.0
# A target angle in place of a speed was hard to learn in minutes: between two frames it hardly changes, and how far a
# joint still has to go must be seen. A speed says all of it.
COMMAND_FRAMES = (2, 6)
"""Frames that a command is held, end excluded; the longer, the more a model can guess from the motion before."""
ACTIVE_PROBABILITY = 0.4
"""Of each joint, in each command."""
COMMAND_SPEED = (0.35, 1.0)
"""Of full speed, either way, where a joint is active."""
MARGIN = 7.0
"""px that a command's end keeps every joint away from the picture's edges, and from the table."""
CANDIDATES = 16
"""Commands drawn for each that is kept: the last one that ends inside the picture."""


@dataclass
class Scenes:
    """N arms before a table with up to three blocks on it; colours lie in [0, 1]."""

    base: Float32Array
    """(N, 2) where the first joint is."""
    size: Float32Array
    """(N,) of the arm, 1 for LINK_LENGTHS."""
    angles: Float32Array
    """(N, 7) joint angles before the first command, radians."""
    arm_colours: Float32Array
    """(N, 2, 3) of links in turn, so that a bend shows where a joint is."""
    tip_colour: Float32Array
    """(N, 3)"""
    wall_colour: Float32Array
    """(N, 3)"""
    table_colour: Float32Array
    """(N, 3)"""
    blocks: Float32Array
    """(N, 3, 3) left, width and height of every block on the table; a width of 0 is none."""
    block_colours: Float32Array
    """(N, 3, 3)"""

    def subset(self, indices: Indices) -> Scenes:
        """Return the chosen scenes."""
        return Scenes(**{field.name: getattr(self, field.name)[indices] for field in fields(self)})


@dataclass(frozen=True)
class ArmClips:
    """N clips of T frames; actions[:, t] is the command that leads to frame t.

    follow(scenes, actions) gives angles again; other actions give the counterfactual truth.
    """

    scenes: Scenes
    background: Float32Array
    """(N, 3, 64, 64) the scene without its arm."""
    actions: Float32Array
    """(N, T, 7) speeds as shares of FULL_SPEEDS, in [-1, 1]."""
    angles: Float32Array
    """(N, T, 7) radians."""

    def frame(self, t: int) -> Float32Array:
        """Draw frame t of every clip: (N, 3, 64, 64) in [0, 1]."""
        return render(self.scenes, self.background, self.angles[:, t])

    def moving(self, t: int, frame: Float32Array) -> BoolArray:
        """Where the arm is in `frame`: (N, 1, 64, 64)."""
        return np.asarray((np.abs(frame - self.background) > 0.02).any(1, keepdims=True))

    def drifted(self, rng: np.random.Generator) -> Float32Array:
        """Every frame (N, T, 3, 64, 64) with the arm faded and a little out of its pose, as in a drifting rollout."""
        count, time = self.angles.shape[:2]
        alpha = rng.uniform(0.4, 1.05, (count, 1)) + rng.normal(0, 0.05, (count, time))
        opacity = np.clip(alpha, 0.2, 1.0).astype(np.float32)
        pose = rng.normal(0, 0.05, (count, 1, JOINTS)) + rng.normal(0, 0.02, self.angles.shape)
        angles = self.angles + pose.astype(np.float32)
        return np.stack(
            [render(self.scenes, self.background, angles[:, t], opacity[:, t]) for t in range(time)], axis=1
        )

    def subset(self, indices: Indices) -> ArmClips:
        """Return the chosen clips."""
        arrays = (self.background, self.actions, self.angles)
        return ArmClips(self.scenes.subset(indices), *(array[indices] for array in arrays))

    def frames(self) -> Float32Array:
        """Draw every frame: (N, T, 3, 64, 64) in [0, 1]."""
        return draw_frames(self, range(self.angles.shape[1]))


def make_clips(count: int, frames: int, seed: int) -> ArmClips:
    """Make clips of so many frames, the same for the same arguments."""
    rng = np.random.default_rng(seed)
    scenes = make_scenes(count, rng)
    actions = make_actions(scenes, frames, rng)
    return ArmClips(scenes, render_background(scenes), actions, follow(scenes, actions))


def make_scenes(count: int, rng: np.random.Generator) -> Scenes:
    """Draw arms in any pose that fits the picture, tables and blocks."""
    base = np.stack([rng.uniform(24, 40, count), np.full(count, TABLE_TOP)], axis=-1)
    wall = rng.uniform(0.55, 0.9, (count, 1)) + rng.uniform(-0.08, 0.08, (count, 3))
    arm = rng.uniform(0.12, 0.3, (count, 1, 1)) + rng.uniform(-0.06, 0.06, (count, 1, 3))
    widths = np.where(rng.random((count, 3)) < 0.6, rng.uniform(4, 8, (count, 3)), 0.0)
    blocks = np.stack([rng.uniform(2, 54, (count, 3)), widths, rng.uniform(4, 9, (count, 3))], axis=-1)
    scenes = Scenes(
        base=base.astype(np.float32),
        size=rng.uniform(0.9, 1.02, count).astype(np.float32),
        angles=np.zeros((count, JOINTS), np.float32),
        arm_colours=np.concatenate([arm, arm + 0.22], axis=1).astype(np.float32),
        tip_colour=_draw_hues(count, rng),
        wall_colour=wall.astype(np.float32),
        table_colour=rng.uniform(0.2, 0.5, (count, 3)).astype(np.float32),
        blocks=blocks.astype(np.float32),
        block_colours=rng.uniform(0.1, 0.8, (count, 3, 3)).astype(np.float32),
    )
    drawn = rng.uniform(-1, 1, (CANDIDATES, count, JOINTS)).astype(np.float32) * JOINT_LIMITS
    scenes.angles = _last_that_fits(scenes, drawn, drawn, scenes.angles)
    return scenes


def make_actions(scenes: Scenes, frames: int, rng: np.random.Generator) -> Float32Array:
    """Draw commands (N, T, 7): a few joints at a time, for a few frames, never out of the picture."""
    count = len(scenes.size)
    angles, command = scenes.angles, np.zeros((count, JOINTS), np.float32)
    frames_left = np.zeros(count, np.int64)
    actions = np.zeros((count, frames, JOINTS), np.float32)
    for t in range(frames):
        over = frames_left == 0
        drawn, length = _draw_commands(count, rng), rng.integers(*COMMAND_FRAMES, count)
        ends = angles + drawn * FULL_SPEEDS * length[:, None].astype(np.float32)
        following = _last_that_fits(scenes, ends, drawn, np.zeros_like(command))
        command = np.where(over[:, None], following, command)
        frames_left = np.where(over, length, frames_left) - 1
        actions[:, t] = command
        angles = angles + command * FULL_SPEEDS
    return actions


def follow(scenes: Scenes, actions: Float32Array) -> Float32Array:
    """Joint angles (N, T, 7) in radians under the commands (N, T, 7)."""
    angles = np.zeros(actions.shape, np.float32)
    current = scenes.angles
    for t in range(actions.shape[1]):
        current = np.clip(current + actions[:, t] * FULL_SPEEDS, -JOINT_LIMITS, JOINT_LIMITS)
        angles[:, t] = current
    return angles


def place_joints(scenes: Scenes, angles: Float32Array) -> Float32Array:
    """Where every joint and the tip are, (N, 8, 2), for joint angles (N, 7): from the base to the tip."""
    heading = np.cumsum(angles, axis=1)
    lengths = scenes.size[:, None] * LINK_LENGTHS
    steps = np.stack([np.sin(heading), -np.cos(heading)], axis=-1) * lengths[..., None]
    joints = np.concatenate([scenes.base[:, None], scenes.base[:, None] + np.cumsum(steps, axis=1)], axis=1)
    return np.asarray(joints, np.float32)


def render_background(scenes: Scenes) -> Float32Array:
    """Draw the scenes without their arms: (N, 3, 64, 64) in [0, 1]."""
    x, y = pixel_centres()
    count = len(scenes.size)
    # Walls are a little darker towards the table: flat ones hide what a model does to them.
    shade = np.broadcast_to(1.0 - 0.2 * y / IMAGE_SIZE, (count, 1, IMAGE_SIZE, IMAGE_SIZE))
    picture = np.asarray(scenes.wall_colour[:, :, None, None] * shade, np.float32)
    table = np.broadcast_to(np.clip(y - TABLE_TOP + 0.5, 0, 1), (count, IMAGE_SIZE, IMAGE_SIZE))
    picture = mix(picture, scenes.table_colour, table)
    for index in range(scenes.blocks.shape[1]):
        left, width, height = scenes.blocks[:, index].T[:, :, None, None]
        across = np.clip(np.minimum(x - left, left + width - x) + 0.5, 0, 1) * (width > 0)
        up = np.clip(np.minimum(y - (TABLE_TOP - height), TABLE_TOP - y) + 0.5, 0, 1)
        picture = mix(picture, scenes.block_colours[:, index], across * up)
    return np.clip(picture, 0, 1)


def render(
    scenes: Scenes, background: Float32Array, angles: Float32Array, alpha: Float32Array | None = None
) -> Float32Array:
    """Draw each arm with joint angles (N, 7) over its background: (N, 3, 64, 64) in [0, 1].

    Args:
        scenes: whose base, size and colours are used; its own angles are not.
        background: from render_background, (N, 3, 64, 64); not changed.
        angles: radians.
        alpha: (N,) opacity of the arm in [0, 1]; None draws it solid.
    """
    joints = place_joints(scenes, angles)
    picture = background
    for link in range(JOINTS):
        coverage = _cover_link(joints[:, link], joints[:, link + 1], HALF_WIDTHS[link])
        picture = mix(picture, scenes.arm_colours[:, link % 2], coverage)
    x, y = pixel_centres()
    tip = joints[:, -1, :, None, None]
    from_tip = np.sqrt((x - tip[:, 0]) ** 2 + (y - tip[:, 1]) ** 2)
    picture = mix(picture, scenes.tip_colour, np.clip(TIP_RADIUS - from_tip + 0.5, 0, 1))
    if alpha is None:
        return picture
    return np.asarray(background + alpha[:, None, None, None] * (picture - background), np.float32)


def _cover_link(start: Float32Array, end: Float32Array, half_width: float) -> Float32Array:
    """How much of every pixel (N, 64, 64) a round-ended link from start to end (N, 2) covers."""
    x, y = pixel_centres()
    ax, ay = start[:, :1, None], start[:, 1:, None]
    along_x, along_y = end[:, :1, None] - ax, end[:, 1:, None] - ay
    share = np.clip(((x - ax) * along_x + (y - ay) * along_y) / (along_x**2 + along_y**2), 0, 1)
    distance = np.sqrt((x - ax - share * along_x) ** 2 + (y - ay - share * along_y) ** 2)
    return np.asarray(np.clip(half_width - distance + 0.5, 0, 1), np.float32)


def _draw_commands(count: int, rng: np.random.Generator) -> Float32Array:
    """Commands (CANDIDATES, N, 7) in [-1, 1], most of whose joints stand still."""
    shape = (CANDIDATES, count, JOINTS)
    speed = rng.uniform(*COMMAND_SPEED, shape) * np.where(rng.random(shape) < 0.5, -1.0, 1.0)
    return np.where(rng.random(shape) < ACTIVE_PROBABILITY, speed, 0.0).astype(np.float32)


def _last_that_fits(
    scenes: Scenes, poses: Float32Array, candidates: Float32Array, otherwise: Float32Array
) -> Float32Array:
    """Of candidates (C, N, 7) the last whose pose (C, N, 7) is within limits, picture and room above the table."""
    chosen = otherwise
    for pose, candidate in zip(poses, candidates, strict=True):
        joints = place_joints(scenes, pose)[:, 1:]
        beside = np.minimum(joints[..., 0], IMAGE_SIZE - joints[..., 0]).min(axis=1)
        above = np.minimum(joints[..., 1], TABLE_TOP - joints[..., 1]).min(axis=1)
        fits = (np.minimum(beside, above) > MARGIN) & (np.abs(pose) <= JOINT_LIMITS).all(axis=1)
        chosen = np.where(fits[:, None], candidate, chosen)
    return chosen


def _draw_hues(count: int, rng: np.random.Generator) -> Float32Array:
    """Saturated colours (N, 3): one channel rises while the next falls around a wheel of hues."""
    hue = rng.uniform(0.0, 6.0, (count, 1))
    saturated = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0, 0.0, 1.0)
    return (0.1 + 0.9 * saturated).astype(np.float32)
