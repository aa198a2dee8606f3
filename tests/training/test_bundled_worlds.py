"""The stored checkpoint has learned its world: bars on 128 held-out scenes, 32 frames of free rollout each."""

import pytest
import torch

from porting import content
from porting.adapters.gwm.autoencoder import DecoderSteady, Encoder
from porting.adapters.gwm.denoiser import Denoiser
from porting.adapters.registry import load_world_model
from training.quality import ModelQuality, ModelUnderTest


@pytest.fixture(scope="module")
def quality() -> ModelQuality:
    modules = load_world_model("bundled:gwm-mini-worlds").modules
    encoder, denoiser, decoder = (modules[name] for name in ("encoder", "denoiser", "decoder"))
    assert isinstance(encoder, Encoder)
    assert isinstance(denoiser, Denoiser)
    assert isinstance(decoder, DecoderSteady)
    with torch.no_grad():
        return ModelUnderTest(encoder, denoiser, decoder.decoder, scenes=128).measure()


def test_rollout_beats_copying_and_erasing(quality: ModelQuality) -> None:
    assert quality.rollout.clips == 128
    assert len(quality.rollout.psnr_db) == 32
    assert quality.rollout.gain_over_copy_db >= 3.5
    assert quality.rollout.gain_over_erased_db >= 2.5


def test_the_ball_stays_and_stays_where_it_should(quality: ModelQuality) -> None:
    assert quality.rollout.lost_share_at_end <= 0.05
    assert quality.rollout.position_error_px(10) < 1.5
    assert quality.rollout.position_error_px(32) < 3.5


def test_pushes_are_answered_in_the_right_direction(quality: ModelQuality) -> None:
    assert quality.pushes.pushes > 300
    assert quality.pushes.right_direction_share >= 0.95


def test_checkpoint_is_small_enough_to_ship() -> None:
    folder = content.folder("checkpoints") / "gwm-mini-worlds"
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 6_000_000
