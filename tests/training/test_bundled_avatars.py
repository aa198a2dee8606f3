"""The stored face has learned to speak: bars on 128 held-out scenes, 32 frames of free rollout each."""

import pytest

from tests.training.bundled import judge_stored
from training.measures.face import FaceQuality

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quality() -> FaceQuality:
    return judge_stored("avatars", FaceQuality)


def test_rollout_beats_every_model_that_does_not_listen(quality: FaceQuality) -> None:
    assert quality.pictures.clips == 128
    assert len(quality.pictures.psnr_db) == 32
    gains = {name: gain for name, gain in quality.summary().items() if name.startswith("gain_over_")}
    assert set(gains) == {"gain_over_copy_db", "gain_over_another_audio_db", "gain_over_silence_db"}
    assert min(gains.values()) >= 4.0, gains


def test_the_mouth_follows_the_sound(quality: FaceQuality) -> None:
    assert quality.mouth_correlation >= 0.95
    assert quality.silent_mouth_correlation < 0.5
    assert quality.opens_with_loudness_share >= 0.95
    assert quality.sways_with_vowel_share >= 0.95


def test_the_eyes_blink_when_they_should_and_only_then(quality: FaceQuality) -> None:
    assert quality.blinks > 300
    assert quality.blinks_shown_share >= 0.9
    assert quality.false_blink_share <= 0.1


def test_the_head_goes_where_it_should(quality: FaceQuality) -> None:
    figures = quality.summary()
    assert figures["head_error_px_at_end"] < 2.0
    assert figures["head_error_px"] < figures["copy_head_error_px"] / 2
