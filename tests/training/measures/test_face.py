"""The measures tell a face that hears from one that is deaf, frozen or moves the wrong way."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.training.measures.simulated import CONTEXT, Draw, SimulatedModel
from training.measures.face import FaceQuality, correlate, eye_area, measure_face, mouth_area, place_head
from training.scenes.avatars import FaceClips, Pose, animate, make_clips, render
from training.scenes.clips import Float32Array
from training.scenes.speech import silence


@pytest.fixture(scope="module")
def clips() -> FaceClips:
    return make_clips(24, CONTEXT + 16, seed=21)


def draw_with(clips: FaceClips, distort: Callable[[Pose], Pose] = lambda pose: pose) -> Draw:
    def draw(actions: Float32Array) -> Float32Array:
        pose = distort(animate(clips.heard_before, actions))
        return np.stack([render(clips.scenes, pose.at((slice(None), t))) for t in range(actions.shape[1])], axis=1)

    return draw


def quality_of(clips: FaceClips, draw: Draw, change: Draw = lambda actions: actions) -> FaceQuality:
    return measure_face(clips, lambda _: SimulatedModel(draw, change))


def test_the_true_face_reaches_every_bar(clips: FaceClips) -> None:
    quality = quality_of(clips, draw_with(clips))
    assert quality.pictures.psnr_db.mean() == pytest.approx(60)
    assert min(map(quality.pictures.gain_over_db, ("copy", "another_audio", "silence"))) > 20
    assert quality.mouth_correlation == pytest.approx(1)
    assert quality.silent_mouth_correlation < 0.6
    assert quality.blinks > 10
    assert quality.blinks_shown_share > 0.95
    assert quality.false_blink_share < 0.02
    assert not quality.head_error_px.any()
    assert np.median(quality.copy_head_error_px) > 1
    assert quality.opens_with_loudness_share == 1
    assert quality.sways_with_vowel_share == 1


def test_a_deaf_face_gains_nothing_over_silence(clips: FaceClips) -> None:
    def hear_nothing(actions: Float32Array) -> Float32Array:
        rest = silence(len(actions), actions.shape[1] - CONTEXT)
        return np.concatenate([actions[:, :CONTEXT], rest], axis=1)

    quality = quality_of(clips, draw_with(clips), hear_nothing)
    assert quality.pictures.gain_over_db("silence") == 0
    assert quality.pictures.gain_over_db("another_audio") == 0
    assert quality.mouth_correlation == quality.silent_mouth_correlation
    assert quality.opens_with_loudness_share < 0.1
    assert quality.sways_with_vowel_share == 0


def test_a_frozen_face_answers_nothing_and_never_blinks(clips: FaceClips) -> None:
    last = clips.frame(CONTEXT - 1)
    quality = quality_of(clips, lambda actions: np.repeat(last[:, None], actions.shape[1], axis=1))
    assert quality.pictures.gain_over_db("copy") == 0
    assert quality.sways_with_vowel_share == 0
    np.testing.assert_array_equal(quality.head_error_px, quality.copy_head_error_px)


def test_a_face_that_closes_its_mouth_when_it_should_open_it_is_noticed(clips: FaceClips) -> None:
    def distort(pose: Pose) -> Pose:
        return replace(pose, mouth_open=0.8 - pose.mouth_open)

    quality = quality_of(clips, draw_with(clips, distort))
    assert quality.mouth_correlation < -0.5
    assert quality.opens_with_loudness_share == 0


def test_a_face_that_sways_to_the_other_side_is_noticed(clips: FaceClips) -> None:
    quality = quality_of(clips, draw_with(clips, lambda pose: replace(pose, sway=-pose.sway)))
    assert quality.sways_with_vowel_share == 0
    assert np.median(quality.head_error_px) > 1


def test_eyes_that_never_shut_show_no_blink(clips: FaceClips) -> None:
    quality = quality_of(clips, draw_with(clips, lambda pose: replace(pose, eyes_open=np.ones_like(pose.eyes_open))))
    assert quality.blinks_shown_share < 0.1


def test_areas_grow_with_what_they_measure(clips: FaceClips) -> None:
    pose = clips.pose.at((slice(None), 5))
    for part, area in (("mouth_open", mouth_area), ("eyes_open", eye_area)):
        areas = []
        for value in (0.1, 0.5, 0.9):
            shown = replace(pose, **{part: np.full(24, value, np.float32)})
            areas.append(area(render(clips.scenes, shown), clips.scenes, shown))
        assert (np.diff(np.stack(areas), axis=0) > 0).all()


def test_the_head_is_found_where_it_goes(clips: FaceClips) -> None:
    nothing = np.zeros(24, np.float32)
    pose = replace(clips.pose.at((slice(None), 5)), sway=nothing, tilt=nothing)
    moved = replace(pose, sway=nothing + 3)
    went = place_head(render(clips.scenes, moved), clips.scenes) - place_head(render(clips.scenes, pose), clips.scenes)
    # Shoulders and neck stay, so the middle of all that is not wall goes less far.
    assert (went[:, 0] > 1.2).all()


def test_what_never_changes_correlates_with_nothing() -> None:
    assert np.isnan(correlate(np.ones((2, 3)), np.arange(6.0).reshape(2, 3)))
