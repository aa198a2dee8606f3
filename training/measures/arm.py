"""How well a rollout keeps to the simulated arm: picture, place of the tip, response to a command of one joint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.measures.model import MakeModel, Model
from training.measures.picture import Float64Array, PictureQuality, measure_pictures
from training.scenes.clips import IMAGE_SIZE, Float32Array, draw_frames
from training.scenes.robotics import JOINTS, ArmClips, follow, place_joints, render

TIP_PIXEL = 0.4  # least likeness to the tip's colour of a pixel that counts
LOST_BELOW = 0.4  # of the true tip's mass
RESPONSE_FRAMES = 6  # at which the tip is read
COMMAND_FRAMES = 4
RESPONSE_COMMAND = 0.7  # of a joint's full speed
MIN_TRUE_DISPLACEMENT_PX = 2.0  # a tip that hardly moves says nothing about the direction
RIGHT_WITHIN = np.cos(np.pi / 4)


@dataclass(frozen=True)
class ArmQuality:
    """A free rollout of H frames, and single-joint commands read some frames later; NaN passes no bar."""

    pictures: PictureQuality
    tip_error_px: Float64Array
    """(H,) median over clips; a lost tip counts with how far the true one is from where it was last seen."""
    copy_tip_error_px: Float64Array
    """(H,) median of how far the true tip is from where it was last seen."""
    lost_share: Float64Array
    """(H,) share of clips whose tip has less than 40 % of the true tip's mass."""
    commands: int
    """Single-joint commands that moved the true tip by more than 2 px; only these are judged."""
    right_direction_share: float
    """Whose tip moved within 45 degrees of the true way; a lost tip is a wrong way."""
    worst_joint_share: float
    """The same of the joint that is answered worst."""
    response_error_px: float
    """Median distance between the model's displacement and the true one."""
    true_displacement_px: float
    """Median."""

    def tip_error_at(self, frame: int) -> float:
        """The median error at a frame counted from 1; NaN past the horizon."""
        inside = 1 <= frame <= len(self.tip_error_px)
        return float(self.tip_error_px[frame - 1]) if inside else float("nan")

    def summary(self) -> dict[str, float]:
        """The figures that the bars are set on."""
        return {
            **self.pictures.summary(),
            "tip_error_px_at_10": self.tip_error_at(10),
            "tip_error_px_at_32": self.tip_error_at(32),
            "copy_tip_error_px": float(np.median(self.copy_tip_error_px)),
            "lost_share_at_end": float(self.lost_share[-1]),
            "commands": float(self.commands),
            "right_direction_share": self.right_direction_share,
            "worst_joint_share": self.worst_joint_share,
            "response_error_px": self.response_error_px,
            "true_displacement_px": self.true_displacement_px,
        }


def measure_arm(clips: ArmClips, make_model: MakeModel) -> ArmQuality:
    """Roll out under the clips' own commands, under another clip's, and under single-joint commands."""
    model = make_model(clips)
    start, end = model.context_frames, clips.actions.shape[1]
    frames = model.roll_out(clips.actions)
    others = clips.actions.copy()
    others[:, start:] = np.roll(clips.actions[:, start:], 1, axis=0)
    none = clips.actions.copy()
    none[:, start:] = 0
    last_seen = clips.frame(start - 1)
    pictures = measure_pictures(
        frames,
        draw_frames(clips, range(start, end)),
        {
            "copy": np.broadcast_to(last_seen[:, None], frames.shape),
            "another_command": model.roll_out(others),
            "no_command": model.roll_out(none),
        },
    )
    error, copied, lost = _follow_tip(frames, clips, start)
    return ArmQuality(pictures, error, copied, lost, *_measure_response(model, clips))


def locate_tip(
    frames: Float32Array, background: Float32Array, tip_colour: Float32Array
) -> tuple[Float64Array, Float64Array]:
    """Find each tip by how much nearer to its colour than the background a pixel is.

    Args:
        frames: (N, 3, 64, 64), finite or not; a NaN pixel is no tip.
        background: (N, 3, 64, 64) the scene without its arm.
        tip_colour: (N, 3).

    Returns:
        Centre (N, 2) in px, (0, 0) where no pixel is tip; and mass (N,) in pixels.
    """
    colour = tip_colour[:, :, None, None]
    away = np.sqrt(((frames - colour) ** 2).sum(axis=1))
    background_away = np.sqrt(((background - colour) ** 2).sum(axis=1))
    likeness = 1 - away / (background_away + 0.05)
    weight = np.where(likeness > TIP_PIXEL, likeness, 0.0).astype(np.float64)
    mass = weight.sum(axis=(1, 2))
    centres = np.arange(IMAGE_SIZE) + 0.5
    moments = np.stack([(weight.sum(axis=1) * centres).sum(axis=1), (weight.sum(axis=2) * centres).sum(axis=1)], -1)
    return moments / (mass[:, None] + 1e-6), mass


def _follow_tip(frames: Float32Array, clips: ArmClips, start: int) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Median tip error, median error of the last seen tip, and share of lost tips: (H,) each."""
    scenes, background = clips.scenes, clips.background
    seen, _ = locate_tip(clips.frame(start - 1), background, scenes.tip_colour)
    curves = np.zeros((3, frames.shape[1]))
    for step in range(frames.shape[1]):
        tip, mass = locate_tip(frames[:, step], background, scenes.tip_colour)
        true_tip, true_mass = locate_tip(clips.frame(start + step), background, scenes.tip_colour)
        lost = ~(mass >= LOST_BELOW * true_mass)
        moved = np.linalg.norm(true_tip - seen, axis=-1)
        error = np.where(lost, moved, np.linalg.norm(tip - true_tip, axis=-1))
        curves[:, step] = np.median(error), np.median(moved), lost.mean()
    return curves[0], curves[1], curves[2]


def _measure_response(model: Model, clips: ArmClips) -> tuple[int, float, float, float, float]:
    """Turn one joint at a time after the same context, towards its middle, and see where the tip goes."""
    start, count = model.context_frames, len(clips.actions)
    still = np.zeros((count, start + RESPONSE_FRAMES, JOINTS), np.float32)
    still[:, :start] = clips.actions[:, :start]
    rest, true_rest = _read_tip(model, still, clips)
    # Away from the nearer limit, so that the joint has room to turn.
    pose = clips.angles[:, start - 1]
    moved, true_moved = [], []
    for joint in range(JOINTS):
        turned = still.copy()
        way = np.where(pose[:, joint] > 0, -1.0, 1.0)
        turned[:, start : start + COMMAND_FRAMES, joint] = (RESPONSE_COMMAND * way)[:, None]
        tip, true_tip = _read_tip(model, turned, clips)
        moved.append(tip - rest)
        true_moved.append(true_tip - true_rest)
    return judge_displacements(np.stack(moved), np.stack(true_moved))


def judge_displacements(moved: Float64Array, true_moved: Float64Array) -> tuple[int, float, float, float, float]:
    """Judge displacements (joints, N, 2) against true ones; NaN is a lost tip.

    Returns:
        How many were judged, the share within 45 degrees, the worst joint's share, the median error in px, the median
        true displacement in px.
    """
    length = np.linalg.norm(true_moved, axis=-1)
    judged = length > MIN_TRUE_DISPLACEMENT_PX
    if not judged.any():
        return 0, float("nan"), float("nan"), float("nan"), float("nan")
    along = (moved * true_moved).sum(axis=-1)
    right = along >= RIGHT_WITHIN * np.linalg.norm(moved, axis=-1) * length
    right &= np.linalg.norm(moved, axis=-1) > 0
    shares = [right[joint][judged[joint]].mean() for joint in range(len(right)) if judged[joint].any()]
    error = np.linalg.norm(np.nan_to_num(moved) - true_moved, axis=-1)
    return (
        int(judged.sum()),
        float(right[judged].mean()),
        float(min(shares)),
        float(np.median(error[judged])),
        float(np.median(length[judged])),
    )


def _read_tip(model: Model, actions: Float32Array, clips: ArmClips) -> tuple[Float64Array, Float64Array]:
    """Where the model and where the truth has the tip after actions, (N, 2) each; NaN where the model's is lost."""
    scenes = clips.scenes
    angles = follow(scenes, actions)[:, -1]
    truth = render(scenes, clips.background, angles)
    tip, mass = locate_tip(model.roll_out(actions)[:, -1], clips.background, scenes.tip_colour)
    _, true_mass = locate_tip(truth, clips.background, scenes.tip_colour)
    lost = ~(mass >= LOST_BELOW * true_mass)
    return np.where(lost[:, None], np.nan, tip), place_joints(scenes, angles)[:, -1].astype(np.float64)
