"""Made-up speech as 16 mel-like features a frame: phrases of syllables with pauses between them.

It knows nothing of faces. A feature is a band's energy on a logarithmic scale, from 0 (silence) to about 1, low bands
first. A syllable has a vowel, whose two formants are bumps over the bands, and may begin with a hiss in the highest
bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.scenes.clips import Float32Array

BANDS = 16
HISS_BANDS = 4
"""The highest bands, where only hisses sound."""
VOICE_BANDS = BANDS - HISS_BANDS
LOUDNESS = (0.35, 1.0)
SYLLABLE_FRAMES = (3, 7)
"""End excluded."""
PHRASE_SYLLABLES = (3, 7)
PAUSE_FRAMES = (4, 9)
HISS_PROBABILITY = 0.35
FLOOR = 0.01
"""Of energy, in every band and frame: a room is never silent."""
FIRST_FORMANT = (1.0, 3.5)
"""Bands; from a closed vowel to an open one."""
SECOND_FORMANT = (4.5, 10.5)
"""Bands; from a rounded vowel ("oo") to a spread one ("ee")."""


def make_speech(count: int, frames: int, rng: np.random.Generator) -> Float32Array:
    """Features (N, T, 16) of N speakers, each somewhere in its speech at the first frame."""
    speech = np.zeros((count, frames, BANDS), np.float32)
    for speaker in range(count):
        skipped = int(rng.integers(0, 24))
        speech[speaker] = _speak(frames + skipped, rng)[skipped:]
    return speech


def silence(count: int, frames: int) -> Float32Array:
    """Features (N, T, 16) of rooms in which nobody speaks."""
    return np.full((count, frames, BANDS), _compress(np.array(FLOOR)), np.float32)


def steady_vowel(count: int, frames: int, loudness: float, spread: float) -> Float32Array:
    """Features (N, T, 16) of one vowel held at a loudness in [0, 1]; spread 0 is "oo", 1 "ee"."""
    energy = loudness * _vowel(spread) + FLOOR
    return np.broadcast_to(_compress(energy), (count, frames, BANDS)).astype(np.float32)


@dataclass(frozen=True)
class Heard:
    """What a listener makes of features (..., 16): (...,) each, about 0 to 1."""

    loudness: Float32Array
    spread: Float32Array
    """Of the lips: 0 for "oo", 1 for "ee", 0.5 in silence."""
    hiss: Float32Array


def listen(features: Float32Array) -> Heard:
    """Loudness, lip spread and hiss of features (..., 16)."""
    voice, upper = features[..., :VOICE_BANDS], features[..., 4:VOICE_BANDS]
    floor = _compress(np.array(FLOOR))
    loudness = np.clip((voice.mean(axis=-1) - floor) / 0.6, 0, 1)
    weight = np.clip(upper - 1.5 * floor, 0, None)
    band = np.arange(4, VOICE_BANDS)
    centre = (weight * band).sum(axis=-1) / (weight.sum(axis=-1) + 1e-6)
    spread = np.clip((centre - 5.2) / 4.2, 0, 1)
    voiced = np.clip(weight.sum(axis=-1) / 0.8, 0, 1)
    hiss = np.clip((features[..., VOICE_BANDS:].mean(axis=-1) - floor) / 0.6, 0, 1)
    return Heard(
        loudness.astype(np.float32), (0.5 + voiced * (spread - 0.5)).astype(np.float32), hiss.astype(np.float32)
    )


def _speak(frames: int, rng: np.random.Generator) -> Float32Array:
    """Features (T, 16) of one speaker, from the beginning of a pause or a phrase."""
    energy = np.full((frames + 64, BANDS), FLOOR)
    t = int(rng.integers(0, PAUSE_FRAMES[0]))
    while t < frames:
        for _ in range(rng.integers(*PHRASE_SYLLABLES)):
            length = int(rng.integers(*SYLLABLE_FRAMES))
            rise = np.sin(np.pi * (np.arange(length) + 0.7) / (length + 0.4)) ** 0.7
            loudness, spread = rng.uniform(*LOUDNESS), rng.uniform()
            energy[t : t + length] += loudness * rise[:, None] * _vowel(spread)
            if rng.random() < HISS_PROBABILITY:
                energy[t : t + 2, VOICE_BANDS:] += np.array([0.9, 0.4])[:, None]
            t += length
            if t >= frames:
                break
        t += int(rng.integers(*PAUSE_FRAMES))
    noisy = energy[:frames] * rng.uniform(0.85, 1.15, (frames, BANDS))
    return _compress(noisy)


def _vowel(spread: float) -> Float32Array:
    """Energy (16,) of a vowel at full loudness."""
    bands = np.arange(BANDS)
    first = FIRST_FORMANT[0] + (FIRST_FORMANT[1] - FIRST_FORMANT[0]) * (1 - abs(2 * spread - 1))
    second = SECOND_FORMANT[0] + (SECOND_FORMANT[1] - SECOND_FORMANT[0]) * spread
    shape = np.exp(-(((bands - first) / 1.6) ** 2)) + 0.6 * np.exp(-(((bands - second) / 1.3) ** 2))
    shape[VOICE_BANDS:] = 0.0
    return np.asarray(shape, np.float32)


def _compress(energy: npt.NDArray[np.floating]) -> Float32Array:
    """Energy to features: 0 for none, 1 for full loudness."""
    return np.asarray(np.log1p(30 * energy) / np.log(31), np.float32)
