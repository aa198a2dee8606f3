"""The measures tell a perfect rollout from a frozen, an erased and a reversed one."""

import numpy as np
import pytest

from training.measures.ball import (
    Respond,
    locate_ball,
    measure_push_response,
    measure_rollout,
)
from training.scenes.clips import Float32Array
from training.scenes.worlds import BallClips, make_clips, render, simulate

CONTEXT = 4
HORIZON = 32


@pytest.fixture(scope="module")
def clips() -> BallClips:
    return make_clips(48, CONTEXT + HORIZON, seed=21)


def truth_of(clips: BallClips) -> Float32Array:
    return np.stack([clips.frame(CONTEXT + step) for step in range(HORIZON)], axis=1)


def still(picture: Float32Array) -> Float32Array:
    return np.repeat(picture[:, None], HORIZON, axis=1)


def test_a_perfect_rollout_reaches_every_bar(clips: BallClips) -> None:
    quality = measure_rollout(truth_of(clips), clips, CONTEXT)
    assert quality.clips == 48
    assert quality.mean_psnr_db == pytest.approx(60)
    assert quality.gain_over_copy_db > 20
    assert quality.gain_over_erased_db > 20
    assert not quality.lost_share.any()
    assert quality.position_error_px(10) == quality.position_error_px(32) == 0
    np.testing.assert_allclose(quality.median_mass_ratio, 1)


def test_copying_the_last_frame_gains_nothing(clips: BallClips) -> None:
    quality = measure_rollout(still(clips.frame(CONTEXT - 1)), clips, CONTEXT)
    moved = np.linalg.norm(clips.positions[:, CONTEXT + 31] - clips.positions[:, CONTEXT - 1], axis=-1)
    assert quality.gain_over_copy_db == 0
    assert quality.position_error_px(32) == pytest.approx(np.median(moved), abs=0.5)


def test_an_erased_ball_is_lost_and_counts_as_not_followed(clips: BallClips) -> None:
    quality = measure_rollout(still(clips.background), clips, CONTEXT)
    moved = np.linalg.norm(clips.positions[:, CONTEXT + 9] - clips.positions[:, CONTEXT - 1], axis=-1)
    assert quality.lost_share_at_end == 1
    assert quality.gain_over_erased_db == 0
    assert quality.position_error_px(10) == pytest.approx(np.median(moved))


def test_erased_frames_may_be_one_picture_or_a_rollout(clips: BallClips) -> None:
    blurred = np.clip(clips.background + 0.05, 0, 1)
    truth = truth_of(clips)
    one = measure_rollout(truth, clips, CONTEXT, erased=blurred)
    many = measure_rollout(truth, clips, CONTEXT, erased=still(blurred))
    assert one.gain_over_erased_db == many.gain_over_erased_db
    assert one.gain_over_erased_db > measure_rollout(truth, clips, CONTEXT).gain_over_erased_db


def test_a_ball_drawn_beside_its_place_has_that_error(clips: BallClips) -> None:
    aside = clips.positions + np.array([1.5, -2.0], np.float32)
    frames = [render(clips.scenes, clips.background, aside[:, CONTEXT + step]) for step in range(HORIZON)]
    quality = measure_rollout(np.stack(frames, axis=1), clips, CONTEXT)
    assert quality.position_error_px(10) == pytest.approx(2.5, abs=0.2)


def test_frames_that_are_not_numbers_pass_no_bar(clips: BallClips) -> None:
    frames = truth_of(clips)
    frames[:, -1] = np.nan
    quality = measure_rollout(frames, clips, CONTEXT)
    assert quality.lost_share_at_end == 1
    assert not quality.gain_over_copy_db >= 0


def test_a_short_rollout_has_no_error_at_frame_32(clips: BallClips) -> None:
    quality = measure_rollout(truth_of(clips)[:, :12], clips, CONTEXT)
    assert quality.position_error_px(10) == 0
    assert np.isnan(quality.summary()["position_error_px_at_32"])


@pytest.mark.parametrize(
    ("shape", "context", "message"),
    [
        ((48, 0, 3, 64, 64), 4, "nothing to measure"),
        ((48, 4, 3, 64, 64), 0, "nothing to measure"),
        ((47, 4, 3, 64, 64), 4, "48 clips"),
        ((48, 4, 1, 64, 64), 4, "shape"),
        ((48, 33, 3, 64, 64), 4, "pass the clips' 36"),
    ],
)
def test_a_rollout_that_does_not_fit_is_refused(
    clips: BallClips, shape: tuple[int, ...], context: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure_rollout(np.zeros(shape, np.float32), clips, context)


def test_the_locator_finds_the_ball_where_it_is(clips: BallClips) -> None:
    centre, mass = locate_ball(clips.frame(9), clips.background, clips.scenes.ball_colour)
    error = np.linalg.norm(centre - clips.positions[:, 9], axis=-1)
    assert error.max() < 0.6
    np.testing.assert_allclose(mass, np.pi * clips.scenes.radius**2, rtol=0.25)


def responder(clips: BallClips, gain: float) -> Respond:
    """A world whose pushes move the ball gain times as far as in truth."""

    def respond(actions: Float32Array) -> Float32Array:
        assert actions.shape == (len(clips.actions), CONTEXT + 8, 2)
        np.testing.assert_array_equal(actions[:, :CONTEXT], clips.actions[:, :CONTEXT])
        idle = actions.copy()
        idle[:, CONTEXT:] = 0
        rest = simulate(clips.scenes, idle)[:, -1]
        place = rest + gain * (simulate(clips.scenes, actions)[:, -1] - rest)
        return render(clips.scenes, clips.background, place.astype(np.float32))

    return respond


def test_a_perfect_world_answers_every_push(clips: BallClips) -> None:
    response = measure_push_response(responder(clips, 1.0), clips, CONTEXT)
    assert response.right_direction_share == 1
    assert response.pushes > 100
    assert 5 < response.true_displacement_px < 8
    assert response.mean_displacement_px == pytest.approx(response.true_displacement_px, abs=0.1)


@pytest.mark.parametrize("gain", [-1.0, 0.0])
def test_a_reversed_and_a_deaf_world_answer_none(clips: BallClips, gain: float) -> None:
    response = measure_push_response(responder(clips, gain), clips, CONTEXT)
    assert response.right_direction_share == 0


def test_a_lost_ball_is_a_wrong_answer(clips: BallClips) -> None:
    response = measure_push_response(lambda actions: clips.background, clips, CONTEXT)
    assert response.right_direction_share == 0
    assert response.mean_displacement_px == 0


def test_pushes_that_move_nothing_are_not_measured(clips: BallClips) -> None:
    response = measure_push_response(responder(clips, 1.0), clips, CONTEXT, magnitude=0.0)
    assert response.pushes == 0
    assert np.isnan(response.right_direction_share)
