"""How well a rollout keeps to the simulated face: picture, mouth, eyes, head, response to loudness and to vowels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.measures.model import MakeModel, Model
from training.measures.picture import Float64Array, PictureQuality, measure_pictures
from training.scenes.avatars import EYE, EYE_SIZE, MOUTH, FaceClips, Pose, Scenes, animate, face_coordinates, render
from training.scenes.clips import IMAGE_SIZE, BoolArray, Float32Array, draw_frames
from training.scenes.speech import silence, steady_vowel

LIKE_PIXEL = 0.4  # least likeness to the sought colour of a pixel that counts
HEAD_PIXEL = 0.06  # least difference from the empty wall of a pixel that is head
SHUT_BELOW, OPEN_ABOVE = 0.4, 0.8  # of the eye
RESPONSE_FRAMES = 8
ANSWERED = 0.5  # least share of the true change of the mouth that counts as an answer
MIN_TRUE_SWAY_PX = 1.0


@dataclass(frozen=True)
class FaceQuality:
    """A free rollout of H frames, and steady sounds read some frames later; NaN passes no bar."""

    pictures: PictureQuality
    mouth_correlation: float
    """Between the area of the mouth's opening and the true one, over all clips and frames."""
    silent_mouth_correlation: float
    """The same of the rollout that hears silence: what a deaf model reaches."""
    blinks: int
    """Frames in which the true eyes are shut."""
    blinks_shown_share: float
    """Of those frames, in which the model's eyes show less than half the white of its own open ones."""
    false_blink_share: float
    """The same of the frames in which the true eyes are open."""
    head_error_px: Float64Array
    """(H,) median distance between the head's place and the true one, found in the pictures."""
    copy_head_error_px: Float64Array
    """(H,) the same of the last context frame."""
    opens_with_loudness_share: float
    """Of clips: a loud vowel opens the mouth, against silence, by at least half of what it truly does."""
    sways_with_vowel_share: float
    """Of clips: between "ee" and "oo" the head moves to the side that it truly moves to."""

    def summary(self) -> dict[str, float]:
        """The figures that the bars are set on."""
        return {
            **self.pictures.summary(),
            "mouth_correlation": self.mouth_correlation,
            "silent_mouth_correlation": self.silent_mouth_correlation,
            "blinks": float(self.blinks),
            "blinks_shown_share": self.blinks_shown_share,
            "false_blink_share": self.false_blink_share,
            "head_error_px": float(np.median(self.head_error_px)),
            "head_error_px_at_end": float(self.head_error_px[-1]),
            "copy_head_error_px": float(np.median(self.copy_head_error_px)),
            "opens_with_loudness_share": self.opens_with_loudness_share,
            "sways_with_vowel_share": self.sways_with_vowel_share,
        }


def measure_face(clips: FaceClips, make_model: MakeModel) -> FaceQuality:
    """Roll out under the clips' own audio, under another clip's, under silence, and under steady sounds."""
    model = make_model(clips)
    start, end = model.context_frames, clips.actions.shape[1]
    frames = model.roll_out(clips.actions)
    others = clips.actions.copy()
    others[:, start:] = np.roll(clips.actions[:, start:], 1, axis=0)
    quiet = clips.actions.copy()
    quiet[:, start:] = silence(len(quiet), end - start)
    deaf = model.roll_out(quiet)
    truth = draw_frames(clips, range(start, end))
    copied = np.broadcast_to(clips.frame(start - 1)[:, None], frames.shape)
    pictures = measure_pictures(
        frames, truth, {"copy": copied, "another_audio": model.roll_out(others), "silence": deaf}
    )
    mouth, deaf_mouth, true_mouth = (_mouths(clips, shown, start) for shown in (frames, deaf, truth))
    return FaceQuality(
        pictures,
        correlate(mouth, true_mouth),
        correlate(deaf_mouth, true_mouth),
        *_compare_blinks(clips, frames, start),
        head_error_px=_head_errors(clips, frames, truth),
        copy_head_error_px=_head_errors(clips, copied, truth),
        opens_with_loudness_share=_answer_loudness(model, clips),
        sways_with_vowel_share=_answer_vowels(model, clips),
    )


def mouth_area(frames: Float32Array, scenes: Scenes, pose: Pose) -> Float64Array:
    """Dark pixels (N,) where the mouths of frames (N, 3, 64, 64) are, if their heads are posed so."""
    u, v = face_coordinates(scenes, pose)
    near = ((u - MOUTH[0]) / 11.0) ** 2 + ((v - MOUTH[1]) / 8.0) ** 2 < 1
    return _like(frames, np.full_like(scenes.skin, 0.08), scenes.skin, near)


def eye_area(frames: Float32Array, scenes: Scenes, pose: Pose) -> Float64Array:
    """Pixels of eye white (N,) where the eyes of frames (N, 3, 64, 64) are, if their heads are posed so."""
    u, v = face_coordinates(scenes, pose)
    near = ((np.abs(u) - EYE[0]) / (EYE_SIZE[0] + 1.5)) ** 2 + ((v - EYE[1]) / (EYE_SIZE[1] + 1.5)) ** 2 < 1
    return _like(frames, np.full_like(scenes.skin, 0.95), scenes.skin, near)


def place_head(frames: Float32Array, scenes: Scenes) -> Float64Array:
    """Middle (N, 2), in px, of all that is not wall in the upper three quarters of frames (N, 3, 64, 64)."""
    rows = 3 * IMAGE_SIZE // 4
    wall = frames[:, :, :rows, :1]  # the picture's own left edge: it fades from row to row, never from left to right
    other = (np.abs(frames[:, :, :rows] - wall).max(axis=1) > HEAD_PIXEL).astype(np.float64)
    mass = other.sum(axis=(1, 2)) + 1e-6
    x = (other.sum(axis=1) * (np.arange(IMAGE_SIZE) + 0.5)).sum(axis=1)
    y = (other.sum(axis=2) * (np.arange(rows) + 0.5)).sum(axis=1)
    return np.stack([x, y], axis=-1) / mass[:, None]


def correlate(shown: Float64Array, true: Float64Array) -> float:
    """Pearson's correlation over all entries; NaN where either never changes."""
    if not shown.std() > 0 or not true.std() > 0:
        return float("nan")
    return float(np.corrcoef(shown.ravel(), true.ravel())[0, 1])


def _like(frames: Float32Array, colour: Float32Array, skin: Float32Array, near: BoolArray) -> Float64Array:
    """How many pixels (N,) near a place are of a colour (N, 3) rather than of skin; a NaN pixel is not."""
    wanted = colour[:, :, None, None]
    between = np.sqrt(((skin - colour) ** 2).sum(axis=1))[:, None, None]
    likeness = 1 - np.sqrt(((frames - wanted) ** 2).sum(axis=1)) / between
    return np.asarray(np.where(near & (likeness > LIKE_PIXEL), likeness, 0.0).sum(axis=(1, 2)), np.float64)


def _mouths(clips: FaceClips, frames: Float32Array, start: int) -> Float64Array:
    """Mouth areas (N, H)."""
    poses = [clips.pose.at((slice(None), start + step)) for step in range(frames.shape[1])]
    return np.stack([mouth_area(frames[:, step], clips.scenes, pose) for step, pose in enumerate(poses)], axis=1)


def _compare_blinks(clips: FaceClips, frames: Float32Array, start: int) -> tuple[int, float, float]:
    """How many frames have shut eyes, the share of them that shows it, the share of open ones that shows it."""
    poses = [clips.pose.at((slice(None), start + step)) for step in range(frames.shape[1])]
    white = np.stack([eye_area(frames[:, step], clips.scenes, pose) for step, pose in enumerate(poses)], axis=1)
    open_white = np.quantile(white, 0.9, axis=1, keepdims=True)
    shown = ~(white >= 0.5 * open_white) | ~(open_white > 1.0)
    true_open = clips.pose.eyes_open[:, start : start + frames.shape[1]]
    shut, wide = true_open < SHUT_BELOW, true_open > OPEN_ABOVE
    return int(shut.sum()), _share(shown, shut), _share(shown, wide)


def _share(shown: BoolArray, chosen: BoolArray) -> float:
    return float(shown[chosen].mean()) if chosen.any() else float("nan")


def _head_errors(clips: FaceClips, frames: Float32Array, truth: Float32Array) -> Float64Array:
    """Median distance (H,) between the head's places."""
    errors = [
        np.linalg.norm(place_head(frames[:, t], clips.scenes) - place_head(truth[:, t], clips.scenes), axis=-1)
        for t in range(frames.shape[1])
    ]
    return np.median(np.stack(errors), axis=1)


def _hear(model: Model, clips: FaceClips, sound: Float32Array) -> tuple[Float32Array, Pose]:
    """The last frame (N, 3, 64, 64) after a sound (N, RESPONSE_FRAMES, 16), and the true pose."""
    actions = np.concatenate([clips.actions[:, : model.context_frames], sound], axis=1)
    pose = animate(clips.heard_before, actions).at((slice(None), -1))
    return model.roll_out(actions)[:, -1], pose


def _answer_loudness(model: Model, clips: FaceClips) -> float:
    count = len(clips.actions)
    loud, loud_pose = _hear(model, clips, steady_vowel(count, RESPONSE_FRAMES, 1.0, 0.5))
    quiet, quiet_pose = _hear(model, clips, silence(count, RESPONSE_FRAMES))
    scenes = clips.scenes
    opened = mouth_area(loud, scenes, loud_pose) - mouth_area(quiet, scenes, quiet_pose)
    truly = mouth_area(render(scenes, loud_pose), scenes, loud_pose) - mouth_area(
        render(scenes, quiet_pose), scenes, quiet_pose
    )
    return float((opened >= ANSWERED * truly).mean())


def _answer_vowels(model: Model, clips: FaceClips) -> float:
    count = len(clips.actions)
    spread, spread_pose = _hear(model, clips, steady_vowel(count, RESPONSE_FRAMES, 0.8, 1.0))
    rounded, rounded_pose = _hear(model, clips, steady_vowel(count, RESPONSE_FRAMES, 0.8, 0.0))
    went = place_head(spread, clips.scenes)[:, 0] - place_head(rounded, clips.scenes)[:, 0]
    truly = spread_pose.sway - rounded_pose.sway
    judged = np.abs(truly) > MIN_TRUE_SWAY_PX
    return float((np.sign(went) == np.sign(truly))[judged].mean()) if judged.any() else float("nan")
