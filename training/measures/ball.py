"""How well a rollout keeps to the simulated truth: picture, ball position, response to a push.

PSNR alone is a bad bar: a model that erases the ball beats one that puts it a few pixels
off. So every measure of the picture stands beside the share of lost balls and the position
error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.measures.model import MakeModel
from training.measures.picture import Float64Array, measure_psnr
from training.scenes.clips import IMAGE_SIZE, Float32Array
from training.scenes.worlds import BallClips, render, simulate

Respond = Callable[[Float32Array], Float32Array]

MEAN_SHADING = 0.85  # the ball is shaded from 1.0 at its centre to 0.65 at its rim
BALL_PIXEL = 0.4  # least share of the ball's colour in a pixel that counts
LOST_BELOW = 0.4  # of the true ball's mass
MIN_TRUE_DISPLACEMENT_PX = 2.0  # a blocked ball says nothing about the direction
PUSH_DIRECTIONS = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))


@dataclass(frozen=True)
class RolloutQuality:
    """Curves over the horizon's H frames; NaN is 'not measured' and passes no bar."""

    clips: int
    psnr_db: Float64Array
    """(H,) mean over clips, against the true frame."""
    copy_psnr_db: Float64Array
    """(H,) of the last context frame, held still."""
    erased_psnr_db: Float64Array
    """(H,) of the ball-erased rollout."""
    lost_share: Float64Array
    """(H,) share of clips whose ball has less than 40 % of the true ball's mass."""
    median_mass_ratio: Float64Array
    """(H,) ball mass over the true ball's mass: below 1 it fades, above 1 it swells."""
    median_position_error_px: Float64Array
    """(H,) a lost ball counts with how far the true ball is from where it was last seen."""

    @property
    def mean_psnr_db(self) -> float:
        """PSNR over all clips and frames."""
        return float(self.psnr_db.mean())

    @property
    def gain_over_copy_db(self) -> float:
        """Mean PSNR minus that of copying the last context frame."""
        return float((self.psnr_db - self.copy_psnr_db).mean())

    @property
    def gain_over_erased_db(self) -> float:
        """Mean PSNR minus that of the ball-erased rollout."""
        return float((self.psnr_db - self.erased_psnr_db).mean())

    @property
    def lost_share_at_end(self) -> float:
        """Share of clips, in [0, 1], whose ball is lost at the last frame."""
        return float(self.lost_share[-1])

    def position_error_px(self, frame: int) -> float:
        """Return the median error at a frame counted from 1; NaN past the horizon."""
        inside = 1 <= frame <= len(self.median_position_error_px)
        return float(self.median_position_error_px[frame - 1]) if inside else float("nan")

    def summary(self) -> dict[str, float]:
        """Return the figures that the bars are set on."""
        return {
            "clips": float(self.clips),
            "horizon": float(len(self.psnr_db)),
            "mean_psnr_db": self.mean_psnr_db,
            "gain_over_copy_db": self.gain_over_copy_db,
            "gain_over_erased_db": self.gain_over_erased_db,
            "lost_share_at_end": self.lost_share_at_end,
            "position_error_px_at_10": self.position_error_px(10),
            "position_error_px_at_32": self.position_error_px(32),
        }


@dataclass(frozen=True)
class PushResponse:
    """What four pushes did, compared with the same pushes in the simulator."""

    pushes: int
    """Pushes that moved the true ball by more than 2 px; only these are judged."""
    right_direction_share: float
    """In [0, 1]; a lost ball is a wrong direction. NaN when no push was judged."""
    mean_displacement_px: float
    """Along the push, against the same rollout without it; a lost ball moved 0."""
    true_displacement_px: float


@dataclass(frozen=True)
class BallQuality:
    """A free rollout, and four pushes read eight frames later."""

    rollout: RolloutQuality
    pushes: PushResponse

    def summary(self) -> dict[str, float]:
        """The figures that the bars are set on."""
        share = self.pushes.right_direction_share
        return {**self.rollout.summary(), "right_direction_share": share}


def measure_ball(clips: BallClips, make_model: MakeModel) -> BallQuality:
    """Roll out under the clips' own pushes, and under four single ones."""
    model = make_model(clips)
    erased = model.reconstruct(clips.background)
    rollout = measure_rollout(model.roll_out(clips.actions), clips, model.context_frames, erased)
    pushes = measure_push_response(lambda actions: model.roll_out(actions)[:, -1], clips, model.context_frames)
    return BallQuality(rollout, pushes)


def locate_ball(
    frames: Float32Array, background: Float32Array, ball_colour: Float32Array
) -> tuple[Float64Array, Float64Array]:
    """Find each ball by how far its pixels went from the background to the ball's colour.

    Args:
        frames: (N, 3, 64, 64), any finite or non-finite values; a NaN pixel is no ball.
        background: (N, 3, 64, 64) the true room without its ball.
        ball_colour: (N, 3).

    Returns:
        Centre (N, 2) in px, (0, 0) where no pixel is ball; and mass (N,) in pixels.
    """
    towards_ball = (MEAN_SHADING * ball_colour[:, :, None, None] - background).astype(np.float64)
    length = (towards_ball**2).sum(axis=1) + 1e-3  # walls of the ball's colour give no mass
    share = ((frames - background) * towards_ball).sum(axis=1) / length
    weight = np.where(share > BALL_PIXEL, np.clip(share, 0.0, 1.2), 0.0)
    mass = weight.sum(axis=(1, 2))
    pixel_centres = np.arange(IMAGE_SIZE) + 0.5
    moment_x = (weight.sum(axis=1) * pixel_centres).sum(axis=1)
    moment_y = (weight.sum(axis=2) * pixel_centres).sum(axis=1)
    return np.stack([moment_x, moment_y], axis=-1) / (mass[:, None] + 1e-6), mass


def measure_rollout(
    frames: Float32Array,
    clips: BallClips,
    context_frames: int,
    erased: Float32Array | None = None,
) -> RolloutQuality:
    """Compare a free rollout with the clips that it continues.

    Args:
        frames: (N, H, 3, 64, 64); frames[:, 0] answers clips.actions[:, context_frames].
        clips: N clips of at least context_frames + H frames.
        context_frames: true frames that the model was given, at least 1.
        erased: what the rollout would be had the model dropped the ball, (N, 3, 64, 64)
            or one picture a frame (N, H, 3, 64, 64). The bar is meant against the
            background passed through the model's own autoencoder; None takes the true
            background, which is a harder opponent.

    Raises:
        ValueError: shapes do not fit, or there is nothing to measure.
    """
    horizon = _check_rollout(frames, clips, context_frames)
    erased_frames = _expand_erased(clips.background if erased is None else erased, frames.shape)
    last_seen = clips.frame(context_frames - 1)
    last_position = clips.positions[:, context_frames - 1]
    curves = np.zeros((6, horizon))
    for step in range(horizon):
        t = context_frames + step
        truth = clips.frame(t)
        ratio, error = _compare_balls(frames[:, step], truth, clips)
        lost = ~(ratio >= LOST_BELOW)
        moved = np.linalg.norm(clips.positions[:, t] - last_position, axis=-1)
        curves[:, step] = (
            measure_psnr(frames[:, step], truth).mean(),
            measure_psnr(last_seen, truth).mean(),
            measure_psnr(erased_frames[:, step], truth).mean(),
            lost.mean(),
            np.median(ratio),
            np.median(np.where(lost, moved, error)),
        )
    return RolloutQuality(len(frames), *curves)


def measure_push_response(
    respond: Respond,
    clips: BallClips,
    context_frames: int,
    push_frames: int = 3,
    read_frame: int = 8,
    magnitude: float = 1.0,
) -> PushResponse:
    """Push every ball to four sides after the same context and see where it goes.

    Args:
        respond: takes actions (N, context_frames + read_frame, 2), whose context part is
            the clips' own, and returns the last frame of the rollout (N, 3, 64, 64).
        clips: give the context and the scenes to simulate the truth from.
        context_frames: true frames that the model is given.
        push_frames: frames that the push lasts; no action after it.
        read_frame: frames after the context at which the ball is read.
        magnitude: of the push, px a frame.

    Raises:
        ValueError: the context is empty or longer than the clips, or no push is read.
    """
    if not 1 <= context_frames <= clips.actions.shape[1] or not 1 <= push_frames <= read_frame:
        raise ValueError(
            f"context of {context_frames} frames from clips of {clips.actions.shape[1]},"
            f" push of {push_frames} read at {read_frame}: nothing to measure"
        )
    still = np.zeros((len(clips.actions), context_frames + read_frame, 2), np.float32)
    still[:, :context_frames] = clips.actions[:, :context_frames]
    rest, true_rest = _read_ball(respond, still, clips)
    along_push, true_along_push = [], []
    for direction in PUSH_DIRECTIONS:
        pushed = still.copy()
        pushed[:, context_frames : context_frames + push_frames] = np.multiply(direction, magnitude)
        place, true_place = _read_ball(respond, pushed, clips)
        along_push.append((place - rest) @ np.array(direction))
        true_along_push.append((true_place - true_rest) @ np.array(direction))
    return _judge_pushes(np.concatenate(along_push), np.concatenate(true_along_push))


def _read_ball(respond: Respond, actions: Float32Array, clips: BallClips) -> tuple[Float64Array, Float64Array]:
    """Return where the model and where the simulator has the ball after actions, (N, 2) each.

    The model's is NaN where its ball is lost.
    """
    true_position = simulate(clips.scenes, actions)[:, -1]
    truth = render(clips.scenes, clips.background, true_position)
    colour = clips.scenes.ball_colour
    position, mass = locate_ball(respond(actions), clips.background, colour)
    _, true_mass = locate_ball(truth, clips.background, colour)
    lost = ~(mass >= LOST_BELOW * true_mass)
    return np.where(lost[:, None], np.nan, position), true_position.astype(np.float64)


def _judge_pushes(along_push: Float64Array, true_along_push: Float64Array) -> PushResponse:
    """Compare displacements along each push; NaN in the model's is a lost ball."""
    judged = np.abs(true_along_push) > MIN_TRUE_DISPLACEMENT_PX
    if not judged.any():
        return PushResponse(0, float("nan"), float("nan"), float("nan"))
    model = np.nan_to_num(along_push[judged], nan=0.0)
    true = true_along_push[judged]
    return PushResponse(
        pushes=int(judged.sum()),
        right_direction_share=float((np.sign(model) == np.sign(true)).mean()),
        mean_displacement_px=float(model.mean()),
        true_displacement_px=float(true.mean()),
    )


def _compare_balls(frames: Float32Array, truth: Float32Array, clips: BallClips) -> tuple[Float64Array, Float64Array]:
    """Return ball mass over true mass and distance in px, (N,) each.

    The true ball is located in its frame too, so that both have the locator's bias.
    """
    colour = clips.scenes.ball_colour
    position, mass = locate_ball(frames, clips.background, colour)
    true_position, true_mass = locate_ball(truth, clips.background, colour)
    return mass / true_mass, np.linalg.norm(position - true_position, axis=-1)


def _expand_erased(erased: Float32Array, shape: tuple[int, ...]) -> Float32Array:
    """Return erased as one picture a frame, of the rollout's shape."""
    if erased.shape == (shape[0], *shape[2:]):
        return np.broadcast_to(erased[:, None], shape)
    if erased.shape != shape:
        raise ValueError(f"erased has shape {erased.shape}; the rollout has {shape}")
    return erased


def _check_rollout(frames: Float32Array, clips: BallClips, context_frames: int) -> int:
    """Return the horizon H of a rollout that fits the clips."""
    count, clip_frames = clips.positions.shape[:2]
    picture = (3, IMAGE_SIZE, IMAGE_SIZE)
    if frames.ndim != 5 or frames.shape[0] != count or frames.shape[2:] != picture:
        raise ValueError(f"rollout has shape {frames.shape}; {count} clips need (N, H, 3, 64, 64)")
    horizon = int(frames.shape[1])
    if count == 0 or horizon == 0 or context_frames < 1:
        raise ValueError(f"{count} clips, {horizon} frames, {context_frames} context frames: nothing to measure")
    if context_frames + horizon > clip_frames:
        raise ValueError(f"{context_frames} context frames and {horizon} more pass the clips' {clip_frames} frames")
    return horizon
