"""Made-up speech has phrases and pauses, and says what a listener hears in it."""

import numpy as np
import pytest

from training.scenes.speech import BANDS, VOICE_BANDS, listen, make_speech, silence, steady_vowel


def test_features_are_the_same_for_a_seed_and_in_their_range() -> None:
    first, again, other = (make_speech(20, 50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.3
    assert first.shape == (20, 50, BANDS)
    assert first.dtype == np.float32
    assert first.min() > 0
    assert 0.9 < first.max() < 1.15


def test_there_is_speech_and_there_are_pauses_in_most_clips() -> None:
    loudness = listen(make_speech(100, 60, np.random.default_rng(3))).loudness
    assert ((loudness > 0.3).any(axis=1) & (loudness < 0.05).any(axis=1)).mean() > 0.95
    assert 0.1 < (loudness < 0.05).mean() < 0.45


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_a_louder_vowel_is_heard_louder(spread: float) -> None:
    heard = [listen(steady_vowel(1, 1, loudness, spread)).loudness.item() for loudness in (0.1, 0.4, 1.0)]
    assert heard == sorted(heard)
    assert heard[2] > heard[0] + 0.2


def test_a_spread_vowel_is_heard_spread() -> None:
    heard = [listen(steady_vowel(1, 1, 0.8, spread)).spread.item() for spread in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert heard == sorted(heard)
    assert heard[0] < 0.1
    assert heard[-1] > 0.9


def test_silence_is_heard_as_nothing() -> None:
    heard = listen(silence(2, 3))
    assert np.abs(heard.loudness).max() < 1e-6
    assert np.abs(heard.hiss).max() < 1e-6
    np.testing.assert_allclose(heard.spread, 0.5)


def test_a_hiss_is_no_voice() -> None:
    hissing = silence(1, 1)
    hissing[..., VOICE_BANDS:] = 0.9
    heard = listen(hissing)
    assert heard.hiss.item() > 0.9
    assert heard.loudness.item() < 1e-6
