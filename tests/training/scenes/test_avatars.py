"""The face does what the audio says, and is drawn where its pose says."""

from dataclasses import fields

import numpy as np
import pytest

from training.scenes.avatars import BURN_IN, EYES_OPEN_LEAST, FaceClips, Pose, animate, make_clips, render
from training.scenes.clips import IMAGE_SIZE, Float32Array
from training.scenes.speech import VOICE_BANDS, silence, steady_vowel


@pytest.fixture(scope="module")
def clips() -> FaceClips:
    return make_clips(60, 24, seed=3)


def settle(sound: Float32Array) -> Pose:
    """The pose (N,) of faces that heard only this sound (N, T, 16)."""
    return animate(sound[:, :1], sound).at((slice(None), -1))


def rest(count: int) -> Pose:
    """Faces (N,) that have heard nothing for long, their heads upright in their place."""
    pose = settle(silence(count, 40))
    nothing = np.zeros(count, np.float32)
    return Pose(**{**vars(pose), "sway": nothing, "nod": nothing, "tilt": nothing})


def test_loudness_opens_the_mouth_and_silence_closes_it() -> None:
    openings = [settle(steady_vowel(1, 20, loudness, 0.5)).mouth_open.item() for loudness in (0.1, 0.4, 1.0)]
    assert openings == sorted(openings)
    assert openings[2] > 0.6
    assert settle(silence(1, 20)).mouth_open.item() < 1e-4


def test_vowels_move_lips_and_head_to_their_sides() -> None:
    spread, rounded = settle(steady_vowel(1, 20, 0.8, 1.0)), settle(steady_vowel(1, 20, 0.8, 0.0))
    assert spread.mouth_spread.item() > 0.9
    assert rounded.mouth_spread.item() < 0.1
    assert spread.sway.item() > 2
    assert rounded.sway.item() < -2
    assert spread.tilt.item() > 0.05 > rounded.tilt.item()


def test_a_phrase_lowers_the_head() -> None:
    assert settle(steady_vowel(1, 20, 1.0, 0.5)).nod.item() > settle(silence(1, 20)).nod.item() + 3


def test_a_hiss_raises_the_brows() -> None:
    hissing = silence(1, 4)
    hissing[..., VOICE_BANDS:] = 0.9
    assert settle(hissing).brows.item() > 0.8
    assert settle(steady_vowel(1, 4, 1.0, 0.5)).brows.item() < 0.05


def test_eyes_blink_where_a_voice_falls_silent_and_only_there() -> None:
    sound = np.concatenate([steady_vowel(1, 20, 0.8, 0.5), silence(1, 12)], axis=1)
    eyes = animate(sound[:, :10], sound[:, 10:]).eyes_open[0]
    assert (eyes[:10] > 0.95).all()
    assert eyes[10:14].min() == pytest.approx(EYES_OPEN_LEAST, abs=0.1)
    assert eyes[-1] > 0.9


def test_consecutive_frames_differ_visibly(clips: FaceClips) -> None:
    change = np.abs(np.diff(clips.frames(), axis=1)).mean(axis=(2, 3, 4))
    assert (change > 0.003).mean() > 0.7


def test_clips_are_the_same_for_a_seed_and_others_for_another() -> None:
    first, again, other = (make_clips(6, 5, seed=seed) for seed in (11, 11, 12))
    np.testing.assert_array_equal(first.frames(), again.frames())
    np.testing.assert_array_equal(first.actions, again.actions)
    assert np.abs(first.frames() - other.frames()).max() > 0.2


def test_audio_leads_to_the_clip_again_also_for_a_subset(clips: FaceClips) -> None:
    few = clips.subset(np.array([7, 2]))
    assert few.heard_before.shape == (2, BURN_IN, 16)
    again = animate(few.heard_before, few.actions)
    for part in fields(Pose):
        np.testing.assert_array_equal(getattr(again, part.name), getattr(clips.pose, part.name)[[7, 2]])
    np.testing.assert_array_equal(few.frame(5), clips.frame(5)[[7, 2]])


def test_pictures_have_their_range(clips: FaceClips) -> None:
    frames = clips.frames()
    assert frames.shape == (60, 24, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert frames.dtype == np.float32
    assert frames.min() >= 0
    assert frames.max() <= 1


@pytest.mark.parametrize(("part", "value"), [("sway", 3.0), ("nod", 3.0)])
def test_the_head_is_drawn_where_it_is(clips: FaceClips, part: str, value: float) -> None:
    pose = rest(60)
    before = render(clips.scenes, pose)
    moved = render(clips.scenes, Pose(**{**vars(pose), part: np.full(60, value, np.float32)}))
    axis = 3 if part == "sway" else 2
    # Rows 20 to 40 and columns 24 to 40 are face in every scene, before and after.
    shifted = np.roll(before, int(value), axis=axis)
    np.testing.assert_allclose(moved[:, :, 20:40, 24:40], shifted[:, :, 20:40, 24:40], atol=1e-4)
    assert np.abs(moved - before).mean() > 0.005


@pytest.mark.parametrize(
    ("part", "low", "high"), [("mouth_open", 0.0, 0.9), ("eyes_open", 0.1, 1.0), ("brows", 0.0, 1.0)]
)
def test_what_a_part_changes_is_mostly_counted_as_moving(clips: FaceClips, part: str, low: float, high: float) -> None:
    scenes = clips.scenes.subset(slice(0, 1))
    pose = rest(1)
    poses = [Pose(**{**vars(pose), part: np.full(1, value, np.float32)}) for value in (low, high)]
    one, other = (render(scenes, pose) for pose in poses)
    differs = (np.abs(one - other) > 0.01).any(axis=1)[0]
    assert differs.sum() > 8
    one_frame = Pose(**{name: values[:, None] for name, values in vars(pose).items()})
    clip = FaceClips(scenes, clips.heard_before[:1], clips.actions[:1], one_frame)
    assert clip.moving(0, one)[0, 0][differs].mean() > 0.75
    assert clip.moving(0, one).mean() < 0.1


def test_a_drifted_face_is_elsewhere_and_the_wall_is_as_it_was(clips: FaceClips) -> None:
    drifted = clips.drifted(np.random.default_rng(1))
    assert np.abs(drifted - clips.frames()).mean() > 0.002
    np.testing.assert_array_equal(drifted[:, :, :, 0, 0], clips.frames()[:, :, :, 0, 0])
