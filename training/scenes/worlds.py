"""Procedurally made clips in which an action pushes a ball among walls, as 64x64 RGB.

Knows physics and rendering only: nothing of models, latents, losses or files.
Positions are in pixels, x to the right and y down, (0, 0) the image's top left corner;
velocities are in pixels a frame; N scenes are advanced and drawn at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from training.scenes.clips import IMAGE_SIZE, BoolArray, Float32Array, Indices, draw_frames, pixel_centres

BORDER = 3.0  # px; thickness of the wall around the room
MAX_WALLS = 2
WALL_HALF_LENGTH = (7.0, 13.0)
WALL_HALF_THICKNESS = (2.0, 3.0)  # thinner walls were eroded by trained models
BALL_RADIUS = (4.5, 6.5)

# A ball that keeps 0.95 of its speed carries the whole past in its velocity and was hard
# to learn in minutes; 0.60 answers like a joystick and was learnt.
VELOCITY_KEPT = 0.60
MAX_SPEED = 4.0
RESTITUTION = 0.9
SUBSTEPS = 4  # at most 1 px a substep, so that no ball tunnels through a wall
CONTACT_TOLERANCE = 1e-3  # px of overlap put down to float32 rounding

PUSH_MAGNITUDE = (0.3, 2.4)  # px a frame added to the velocity
PUSH_PROBABILITY = 0.30  # per idle frame; at 0.12 most balls rest and copying is hard to beat
PUSH_FRAMES = (2, 7)  # burst length, end excluded

ABSENT_WALL = (-100.0, -100.0, 1.0, 1.0)  # far outside the image: never hit, never seen


@dataclass
class Scenes:
    """N rooms, each with one ball and up to two inner walls; colours lie in [0, 1]."""

    radius: Float32Array
    """(N,) ball radius."""
    walls: Float32Array
    """(N, 2, 4) centre x, centre y, half width, half height; see ABSENT_WALL."""
    position: Float32Array
    """(N, 2) ball centre."""
    velocity: Float32Array
    """(N, 2) ball velocity."""
    background_colour: Float32Array
    """(N, 3)"""
    wall_colour: Float32Array
    """(N, 3) of the border and of the inner walls."""
    ball_colour: Float32Array
    """(N, 3)"""

    def subset(self, indices: Indices) -> Scenes:
        """Return the chosen scenes; a slice shares memory with this object."""
        return Scenes(**{field.name: getattr(self, field.name)[indices] for field in fields(self)})

    def copy(self) -> Scenes:
        """Return scenes that share no memory with these."""
        return Scenes(**{field.name: getattr(self, field.name).copy() for field in fields(self)})


@dataclass(frozen=True)
class BallClips:
    """N clips of T frames; actions[:, t] is what leads to frame t.

    scenes is the state before the first action, so simulate(scenes, actions) gives
    positions again and other actions give the counterfactual truth.
    """

    scenes: Scenes
    background: Float32Array
    """(N, 3, 64, 64) the room without its ball."""
    actions: Float32Array
    """(N, T, 2)"""
    positions: Float32Array
    """(N, T, 2)"""

    def frame(self, t: int) -> Float32Array:
        """Render frame t of every clip: (N, 3, 64, 64) in [0, 1]."""
        return render(self.scenes, self.background, self.positions[:, t])

    def frames(self) -> Float32Array:
        """Render every frame: (N, T, 3, 64, 64) in [0, 1], 48 KiB a frame."""
        return draw_frames(self, range(self.positions.shape[1]))

    def moving(self, t: int, frame: Float32Array) -> BoolArray:
        """Where the ball is in `frame`: (N, 1, 64, 64)."""
        return np.asarray((frame != self.background).any(1, keepdims=True))

    def drifted(self, rng: np.random.Generator) -> Float32Array:
        """Every frame (N, T, 3, 64, 64) with the ball faded and jittered: what a drifting rollout looks like."""
        count, time = self.positions.shape[:2]
        alpha = rng.uniform(0.3, 1.05, (count, 1)) + rng.normal(0, 0.06, (count, time))
        opacity: Float32Array = np.clip(alpha, 0.15, 1.0).astype(np.float32)
        positions = self.positions + rng.normal(0, 0.15, self.positions.shape).astype(np.float32)
        return np.stack(
            [render(self.scenes, self.background, positions[:, t], opacity[:, t]) for t in range(time)],
            axis=1,
        )

    def subset(self, indices: Indices) -> BallClips:
        """Return the chosen clips."""
        arrays = (self.background, self.actions, self.positions)
        return BallClips(self.scenes.subset(indices), *(array[indices] for array in arrays))


def make_scenes(count: int, rng: np.random.Generator) -> Scenes:
    """Draw rooms with 0-2 walls, each ball free of every wall and moving slowly."""
    radius = rng.uniform(*BALL_RADIUS, count).astype(np.float32)
    walls = _make_walls(count, rng)
    position = _place_balls(radius, walls, rng)
    velocity = rng.normal(0.0, 1.0, (count, 2)).astype(np.float32)
    background_colour = rng.uniform(0.05, 0.45, (count, 3))
    lighter = rng.uniform(0.2, 0.4, (count, 1)) + rng.uniform(-0.08, 0.08, (count, 3))
    # Six-segment hue wheel: one channel rises while the next falls; 0.25 keeps it off black.
    hue = rng.uniform(0.0, 6.0, (count, 1))
    saturated = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0, 0.0, 1.0)
    return Scenes(
        radius=radius,
        walls=walls,
        position=position,
        velocity=velocity,
        background_colour=background_colour.astype(np.float32),
        wall_colour=np.clip(background_colour + lighter, 0.0, 1.0).astype(np.float32),
        ball_colour=(0.25 + 0.75 * saturated).astype(np.float32),
    )


def make_actions(count: int, frames: int, rng: np.random.Generator) -> Float32Array:
    """Draw pushes (N, T, 2): mostly zero, with bursts of 2-6 equal frames."""
    actions = np.zeros((count, frames, 2), np.float32)
    push = np.zeros((count, 2))
    frames_left = np.zeros(count, np.int64)
    for t in range(frames):
        starts = (frames_left == 0) & (rng.random(count) < PUSH_PROBABILITY)
        angle = rng.uniform(0.0, 2.0 * np.pi, count)
        magnitude = rng.uniform(*PUSH_MAGNITUDE, count)
        drawn = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * magnitude[:, None]
        push = np.where(starts[:, None], drawn, push)
        frames_left = np.where(starts, rng.integers(*PUSH_FRAMES, count), frames_left)
        actions[:, t] = np.where(frames_left[:, None] > 0, push, 0.0)
        frames_left = np.maximum(frames_left - 1, 0)
    return actions


def make_clips(count: int, frames: int, seed: int, burn_in: int = 3) -> BallClips:
    """Make clips of so many frames, the same for the same arguments.

    burn_in frames without a push come before each clip; they calm the drawn velocities.
    """
    rng = np.random.default_rng(seed)
    scenes = make_scenes(count, rng)
    actions = make_actions(count, frames, rng)
    for _ in range(burn_in):
        _advance(scenes, np.zeros((count, 2), np.float32))
    return BallClips(scenes, render_background(scenes), actions, simulate(scenes, actions))


def simulate(scenes: Scenes, actions: Float32Array) -> Float32Array:
    """Return ball positions (N, T, 2) after each of the actions (N, T, 2).

    The scenes keep their state.
    """
    moving = scenes.copy()
    positions = np.zeros(actions.shape, np.float32)
    for t in range(actions.shape[1]):
        _advance(moving, actions[:, t])
        positions[:, t] = moving.position
    return positions


def measure_clearance(position: Float32Array, radius: Float32Array, walls: Float32Array) -> Float32Array:
    """Return (N,) px between ball and nearest wall or border; below 0 they overlap."""
    to_border = np.minimum(position, IMAGE_SIZE - position).min(axis=1) - BORDER
    outside = np.maximum(np.abs(position[:, None] - walls[:, :, :2]) - walls[:, :, 2:], 0.0)
    to_wall = np.sqrt((outside**2).sum(axis=-1)).min(axis=1)
    return np.asarray(np.minimum(to_border, to_wall) - radius, np.float32)


def render_background(scenes: Scenes) -> Float32Array:
    """Draw the rooms without their balls: (N, 3, 64, 64) in [0, 1], edges anti-aliased."""
    x, y = pixel_centres()
    into_room = np.minimum(np.minimum(x, IMAGE_SIZE - x) - BORDER, np.minimum(y, IMAGE_SIZE - y) - BORDER)
    signed_distance = np.broadcast_to(into_room, (len(scenes.radius), *into_room.shape))
    for index in range(MAX_WALLS):
        wall = scenes.walls[:, index, :, None, None]
        beside = np.abs(x - wall[:, 0]) - wall[:, 2]
        above = np.abs(y - wall[:, 1]) - wall[:, 3]
        signed_distance = np.minimum(signed_distance, np.maximum(beside, above))
    coverage = np.clip(0.5 - signed_distance, 0.0, 1.0)[:, None]
    room = scenes.background_colour[:, :, None, None]
    wall_colour = scenes.wall_colour[:, :, None, None]
    return np.asarray(room + coverage * (wall_colour - room), np.float32)


def render(
    scenes: Scenes,
    background: Float32Array,
    positions: Float32Array,
    alpha: Float32Array | None = None,
) -> Float32Array:
    """Draw each ball at positions (N, 2) over background: (N, 3, 64, 64) in [0, 1].

    Args:
        scenes: whose radius and ball colour are used; its own position is not.
        background: from render_background, (N, 3, 64, 64); not changed.
        positions: ball centres, anywhere in or out of the image.
        alpha: (N,) opacity of the ball in [0, 1]; None draws it solid. Training shows
            faded balls in the context so that a model learns to restore them.
    """
    x, y = pixel_centres()
    centre_x, centre_y = positions[:, 0, None, None], positions[:, 1, None, None]
    radius = scenes.radius[:, None, None]
    squared_distance = (x - centre_x) ** 2 + (y - centre_y) ** 2
    coverage = np.clip(radius - np.sqrt(squared_distance) + 0.5, 0.0, 1.0)
    if alpha is not None:
        coverage = coverage * alpha[:, None, None]
    shading = np.clip(1.0 - 0.35 * squared_distance / radius**2, 0.5, 1.0)
    ball = scenes.ball_colour[:, :, None, None] * shading[:, None]
    mixed = background + coverage[:, None] * (ball - background)
    return np.asarray(mixed, np.float32)  # float64 positions or alpha must not widen frames


def _make_walls(count: int, rng: np.random.Generator) -> Float32Array:
    """Draw 0-2 upright or level walls a room; they may cross each other and the border."""
    walls = np.tile(np.array(ABSENT_WALL, np.float32), (count, MAX_WALLS, 1))
    walls_in_room = rng.integers(0, MAX_WALLS + 1, count)
    for index in range(MAX_WALLS):
        half_length = rng.uniform(*WALL_HALF_LENGTH, count)
        half_thickness = rng.uniform(*WALL_HALF_THICKNESS, count)
        level = rng.random(count) < 0.5
        half_width = np.where(level, half_length, half_thickness)
        half_height = np.where(level, half_thickness, half_length)
        centre = rng.uniform(14.0, 50.0, (2, count))
        drawn = np.stack([*centre, half_width, half_height], axis=-1).astype(np.float32)
        walls[:, index] = np.where((walls_in_room > index)[:, None], drawn, walls[:, index])
    return walls


def _place_balls(radius: Float32Array, walls: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Draw centres (N, 2) at least 0.5 px clear of walls and border, by rejection."""
    position = np.zeros((len(radius), 2), np.float32)
    pending = np.ones(len(radius), bool)
    while pending.any():  # ends: the walls never cover more than a fraction of the room
        drawn = rng.uniform(BORDER, IMAGE_SIZE - BORDER, position.shape).astype(np.float32)
        fits = pending & (measure_clearance(drawn, radius, walls) > 0.5)
        position[fits] = drawn[fits]
        pending &= ~fits
    return position


def _advance(scenes: Scenes, action: Float32Array) -> None:
    """Move the balls by one frame; replaces position and velocity of scenes.

    A push (N, 2) adds to the velocity, the ball moves and bounces, then friction acts.
    """
    velocity = scenes.velocity + action
    speed = np.sqrt((velocity**2).sum(axis=-1, keepdims=True)) + 1e-6
    scenes.velocity = (velocity * np.minimum(1.0, MAX_SPEED / speed)).astype(np.float32)
    for _ in range(SUBSTEPS):
        before = scenes.position
        scenes.position = before + scenes.velocity / np.float32(SUBSTEPS)
        _bounce_off_border(scenes)
        for index in range(MAX_WALLS):
            _bounce_off_wall(scenes, scenes.walls[:, index])
        # A wall can push the ball into the next one or the border: wedged, it stays put.
        clearance = measure_clearance(scenes.position, scenes.radius, scenes.walls)
        wedged = (clearance < -CONTACT_TOLERANCE)[:, None]
        scenes.position = np.where(wedged, before, scenes.position)
    scenes.velocity = scenes.velocity * np.float32(VELOCITY_KEPT)


def _bounce_off_border(scenes: Scenes) -> None:
    """Mirror position and velocity of balls that crossed the border's inner edge."""
    low = BORDER + scenes.radius[:, None]
    high = IMAGE_SIZE - low
    below, above = scenes.position < low, scenes.position > high
    mirrored = np.where(below, 2 * low, 2 * high) - scenes.position
    inward = np.where(below, 1.0, -1.0) * np.abs(scenes.velocity) * RESTITUTION
    crossed = below | above
    scenes.position = np.where(crossed, mirrored, scenes.position)
    scenes.velocity = np.where(crossed, inward, scenes.velocity).astype(np.float32)


def _bounce_off_wall(scenes: Scenes, wall: Float32Array) -> None:
    """Push balls out of one wall (N, 4) and reflect the velocity that points into it."""
    centre, half_size = wall[:, :2], wall[:, 2:]
    nearest = np.clip(scenes.position, centre - half_size, centre + half_size)
    offset = scenes.position - nearest
    distance = np.sqrt((offset**2).sum(axis=-1, keepdims=True))
    normal = offset / (distance + 1e-6)
    touches = distance < scenes.radius[:, None]
    approach = (scenes.velocity * normal).sum(axis=-1, keepdims=True)
    impulse = np.where(touches & (approach < 0), (1 + RESTITUTION) * approach, 0.0)
    overlap = np.where(touches, scenes.radius[:, None] - distance, 0.0)
    scenes.velocity = (scenes.velocity - impulse * normal).astype(np.float32)
    scenes.position = (scenes.position + overlap * normal).astype(np.float32)
