"""Procedurally made clips in which audio features drive a talking face, as 64x64 RGB.

The mouth opens with loudness and widens with the vowel, brows rise at a hiss, eyes blink where a voice falls silent,
the head nods with the phrase and sways and tilts with the vowels' colour. Everything that moves follows from the
features and from how the face was before. Knows faces and rendering only: nothing of models, latents, losses or files.
Lengths are in pixels, x to the right and y down; N faces are moved and drawn at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from training.scenes.clips import (
    IMAGE_SIZE,
    BoolArray,
    Float32Array,
    FloatArray,
    Indices,
    draw_frames,
    mix,
    pixel_centres,
)
from training.scenes.speech import BANDS, listen, make_speech

FEATURES = BANDS
BURN_IN = 24
"""Frames of speech before a clip, so that it begins in the middle of a movement."""
MOUTH = (0.0, 10.5)
"""Centre, from the middle of the face."""
EYE = (6.5, -4.0)
"""Centre of the right one."""
EYE_SIZE = (3.4, 2.4)
MAX_SWAY, MAX_NOD, MAX_TILT = 5.0, 4.0, 0.16
"""px, px, radians."""
EYES_OPEN_LEAST = 0.08


@dataclass
class Scenes:
    """N people before a wall; colours (N, 3) lie in [0, 1]."""

    size: Float32Array
    """(N, 2) half width and half height of the head."""
    place: Float32Array
    """(N, 2) middle of the face at rest."""
    hair_line: Float32Array
    """(N,) px above the middle of the face where the hair begins."""
    skin: Float32Array
    hair: Float32Array
    lips: Float32Array
    iris: Float32Array
    shirt: Float32Array
    wall: Float32Array

    def subset(self, indices: Indices) -> Scenes:
        """Return the chosen scenes."""
        return Scenes(**{field.name: getattr(self, field.name)[indices] for field in fields(self)})


@dataclass
class Pose:
    """What of N faces moves, (..., N) each."""

    mouth_open: Float32Array
    """0 closed, 1 wide open."""
    mouth_spread: Float32Array
    """0 rounded, 1 spread."""
    brows: Float32Array
    """0 at rest, 1 raised."""
    eyes_open: Float32Array
    """0 shut, 1 open."""
    sway: Float32Array
    """px to the right."""
    nod: Float32Array
    """px down."""
    tilt: Float32Array
    """Radians, clockwise."""

    def at(self, index: Indices | tuple[slice, int]) -> Pose:
        """The chosen faces, or (slice(None), t): frame t of every clip."""
        return Pose(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


@dataclass(frozen=True)
class FaceClips:
    """N clips of T frames; actions[:, t] is the audio that leads to frame t.

    animate(heard_before, actions) gives pose again; other actions give the counterfactual truth.
    """

    scenes: Scenes
    heard_before: Float32Array
    """(N, BURN_IN, 16) the audio before the first frame."""
    actions: Float32Array
    """(N, T, 16) mel-like features, 0 to about 1."""
    pose: Pose
    """(N, T) each."""

    def frame(self, t: int) -> Float32Array:
        """Draw frame t of every clip: (N, 3, 64, 64) in [0, 1]."""
        return render(self.scenes, self.pose.at((slice(None), t)))

    def moving(self, t: int, frame: Float32Array) -> BoolArray:
        """Where eyes, brows and mouth are in frame t: (N, 1, 64, 64); the rest of the head is large and plain."""
        u, v = face_coordinates(self.scenes, self.pose.at((slice(None), t)))
        mouth = ((u - MOUTH[0]) / 9.5) ** 2 + ((v - MOUTH[1]) / 6.5) ** 2 < 1
        eyes = ((np.abs(u) - EYE[0]) / 5.0) ** 2 + ((v - EYE[1] + 1.5) / 6.0) ** 2 < 1
        return np.asarray((mouth | eyes)[:, None])

    def drifted(self, rng: np.random.Generator) -> Float32Array:
        """Every frame (N, T, 3, 64, 64) with the face out of its pose and paler, as in a drifting rollout."""
        count, time = self.actions.shape[:2]

        def wrong(values: Float32Array, lasting: float, passing: float) -> Float32Array:
            noise = rng.normal(0, lasting, (count, 1)) + rng.normal(0, passing, (count, time))
            return np.asarray(values + noise, np.float32)

        pose = Pose(
            mouth_open=np.clip(wrong(self.pose.mouth_open, 0.1, 0.05), 0, 1),
            mouth_spread=np.clip(wrong(self.pose.mouth_spread, 0.1, 0.05), 0, 1),
            brows=np.clip(wrong(self.pose.brows, 0.1, 0.05), 0, 1),
            eyes_open=np.clip(wrong(self.pose.eyes_open, 0.1, 0.05), EYES_OPEN_LEAST, 1),
            sway=wrong(self.pose.sway, 0.4, 0.15),
            nod=wrong(self.pose.nod, 0.4, 0.15),
            tilt=wrong(self.pose.tilt, 0.02, 0.005),
        )
        paler = np.asarray(rng.uniform(0.5, 1.05, count), np.float32)
        return np.stack([render(self.scenes, pose.at((slice(None), t)), paler) for t in range(time)], axis=1)

    def subset(self, indices: Indices) -> FaceClips:
        """Return the chosen clips."""
        return FaceClips(
            self.scenes.subset(indices), self.heard_before[indices], self.actions[indices], self.pose.at(indices)
        )

    def frames(self) -> Float32Array:
        """Draw every frame: (N, T, 3, 64, 64) in [0, 1]."""
        return draw_frames(self, range(self.actions.shape[1]))


def make_clips(count: int, frames: int, seed: int) -> FaceClips:
    """Make clips of so many frames, the same for the same arguments."""
    rng = np.random.default_rng(seed)
    scenes = make_scenes(count, rng)
    speech = make_speech(count, BURN_IN + frames, rng)
    before, actions = speech[:, :BURN_IN], speech[:, BURN_IN:]
    return FaceClips(scenes, before, actions, animate(before, actions))


def make_scenes(count: int, rng: np.random.Generator) -> Scenes:
    """Draw people: head, skin, hair, lips, eyes, shirt and the wall behind."""
    brightness = rng.uniform(0.4, 1.0, (count, 1))
    skin = brightness * np.array([0.95, 0.74, 0.60]) + rng.uniform(-0.04, 0.04, (count, 3))
    hair = rng.uniform(0.03, 0.3, (count, 1)) * np.array([1.2, 0.9, 0.7]) + rng.uniform(0, 0.08, (count, 3))
    lips = skin * np.array([0.85, 0.5, 0.5])
    colours = {
        "skin": skin,
        "hair": hair,
        "lips": lips,
        "iris": rng.uniform(0.05, 0.4, (count, 3)),
        "shirt": rng.uniform(0.1, 0.8, (count, 3)),
        "wall": rng.uniform(0.25, 0.9, (count, 3)),
    }
    return Scenes(
        size=np.stack([rng.uniform(15, 18, count), rng.uniform(19, 22, count)], axis=-1).astype(np.float32),
        place=np.stack([rng.uniform(29, 35, count), rng.uniform(27, 31, count)], axis=-1).astype(np.float32),
        hair_line=rng.uniform(9, 13, count).astype(np.float32),
        **{name: np.clip(colour, 0, 1).astype(np.float32) for name, colour in colours.items()},
    )


def animate(heard_before: Float32Array, actions: Float32Array) -> Pose:
    """How faces that heard (N, B, 16) move to (N, T, 16): (N, T) each."""
    heard = listen(np.concatenate([heard_before, actions], axis=1))
    mouth = _follow(heard.loudness, 0.75)
    phrase = _follow(heard.loudness, 0.3)
    colour = _follow(_follow(heard.spread - 0.42, 0.45), 0.45)
    # The eyes shut when a voice that was there is gone, and open again as its memory fades.
    shut = _follow(np.clip((phrase - 2.5 * heard.loudness - 0.07) * 9, 0, 1), 0.85)
    whole = Pose(
        mouth_open=mouth,
        mouth_spread=_follow(heard.spread, 0.7),
        brows=_follow(heard.hiss, 0.7),
        eyes_open=np.clip(1 - shut, EYES_OPEN_LEAST, 1),
        sway=np.clip(2.2 * MAX_SWAY * colour, -MAX_SWAY, MAX_SWAY),
        nod=np.clip(MAX_NOD * (1.8 * phrase - 0.5), -MAX_NOD, MAX_NOD),
        tilt=np.clip(2.2 * MAX_TILT * colour, -MAX_TILT, MAX_TILT),
    )
    return whole.at((slice(None), slice(heard_before.shape[1], None)))  # type: ignore[arg-type]


def render(scenes: Scenes, pose: Pose, contrast: Float32Array | None = None) -> Float32Array:
    """Draw every face in its pose, (N,) each: (N, 3, 64, 64) in [0, 1].

    Args:
        scenes: N people.
        pose: of each.
        contrast: (N,) how strongly eyes, brows and mouth show on the skin; None is 1.
    """
    x, y = pixel_centres()
    count = len(scenes.size)
    shade = np.broadcast_to(1.0 - 0.25 * y / IMAGE_SIZE, (count, 1, IMAGE_SIZE, IMAGE_SIZE))
    picture = np.asarray(scenes.wall[:, :, None, None] * shade, np.float32)
    shoulders = _ellipse(x - scenes.place[:, 0, None, None], y - 70.0, 27.0, 16.0)
    picture = mix(picture, scenes.shirt, shoulders)
    u, v = face_coordinates(scenes, pose)
    half_width, half_height = scenes.size[:, 0, None, None], scenes.size[:, 1, None, None]
    picture = mix(picture, 0.85 * scenes.skin, _box(u, v - half_height, 5.5, 8.0))
    picture = mix(picture, scenes.hair, _ellipse(u, v + 3.0, half_width + 2.0, half_height + 1.0))
    picture = mix(picture, scenes.skin, _ellipse(u, v, half_width, half_height))
    fringe = np.clip(-v - scenes.hair_line[:, None, None] - 0.02 * u**2 + 0.5, 0, 1)
    picture = mix(picture, scenes.hair, fringe * _ellipse(u, v, half_width, half_height))
    plain = picture
    picture = _draw_features(scenes, pose, picture, u, v)
    if contrast is None:
        return np.clip(picture, 0, 1)
    return np.clip(plain + contrast[:, None, None, None] * (picture - plain), 0, 1)


def face_coordinates(scenes: Scenes, pose: Pose) -> tuple[Float32Array, Float32Array]:
    """Every pixel's place (N, 64, 64) to the right of and below the middle of the face, as the head is tilted."""
    x, y = pixel_centres()
    to_x = x - (scenes.place[:, 0] + pose.sway)[:, None, None]
    to_y = y - (scenes.place[:, 1] + pose.nod)[:, None, None]
    cos, sin = np.cos(pose.tilt)[:, None, None], np.sin(pose.tilt)[:, None, None]
    return np.asarray(cos * to_x + sin * to_y, np.float32), np.asarray(cos * to_y - sin * to_x, np.float32)


def _draw_features(scenes: Scenes, pose: Pose, picture: Float32Array, u: Float32Array, v: Float32Array) -> Float32Array:
    """Nose, eyes, brows and mouth over a plain face; u, v (N, 64, 64) are the face's own coordinates."""
    white, dark = np.full_like(scenes.skin, 0.95), np.full_like(scenes.skin, 0.08)
    picture = mix(picture, 0.8 * scenes.skin, _ellipse(u, v - 3.5, 1.6, 2.2))
    beside, eyes_open = np.abs(u) - EYE[0], pose.eyes_open[:, None, None]
    eye = _ellipse(beside, v - EYE[1], EYE_SIZE[0], EYE_SIZE[1] * eyes_open)
    picture = mix(picture, 0.7 * scenes.skin, _ellipse(beside, v - EYE[1], EYE_SIZE[0], 0.7))
    picture = mix(picture, white, eye)
    picture = mix(picture, scenes.iris, eye * _ellipse(beside, v - EYE[1], 1.7, 1.9))
    brow_height = EYE[1] - 4.2 - 2.2 * pose.brows[:, None, None]
    picture = mix(picture, scenes.hair, _box(beside, v - brow_height, 3.6, 0.9))
    half_width = 4.0 + 3.0 * pose.mouth_spread[:, None, None]
    half_height = 4.3 * pose.mouth_open[:, None, None]
    below = v - MOUTH[1]
    picture = mix(picture, scenes.lips, _ellipse(u, below, half_width + 1.3, half_height + 1.3))
    return mix(picture, dark, _ellipse(u, below, half_width, half_height) * np.clip(half_height, 0, 1))


def _ellipse(
    x: FloatArray, y: FloatArray, half_width: FloatArray | float, half_height: FloatArray | float
) -> Float32Array:
    """How much of every pixel an ellipse around the origin covers; half sizes of 0 and less cover nothing."""
    wide, high = np.maximum(half_width, 1e-3), np.maximum(half_height, 1e-3)
    level = np.sqrt((x / wide) ** 2 + (y / high) ** 2)
    slope = np.sqrt((x / wide**2) ** 2 + (y / high**2) ** 2) / np.maximum(level, 1e-6)
    return np.asarray(np.clip((1 - level) / np.maximum(slope, 1e-6) + 0.5, 0, 1), np.float32)


def _box(x: FloatArray, y: FloatArray, half_width: float, half_height: float) -> Float32Array:
    """How much of every pixel a box around the origin covers."""
    return np.asarray(
        np.clip(half_width - np.abs(x) + 0.5, 0, 1) * np.clip(half_height - np.abs(y) + 0.5, 0, 1), np.float32
    )


def _follow(values: Float32Array, share: float) -> Float32Array:
    """Values (N, T) that go `share` of the way to each target in one frame, from the first one."""
    followed = np.zeros_like(values)
    current = values[:, 0]
    for t in range(values.shape[1]):
        current = current + np.float32(share) * (values[:, t] - current)
        followed[:, t] = current
    return followed
