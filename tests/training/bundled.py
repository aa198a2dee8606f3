"""The bundled checkpoints as their recipes judge them."""

from pathlib import Path

import torch

from porting import content
from porting.adapters.gwm.autoencoder import DecoderSteady, Encoder
from porting.adapters.gwm.denoiser import Denoiser
from porting.adapters.registry import load_world_model
from training.measures.model import Quality
from training.quality import GwmParts
from training.recipes import RECIPES


def judge(world: str, scenes: int) -> Quality:
    """What the stored checkpoint reaches on so many held-out scenes, 32 frames of free rollout each."""
    modules = load_world_model(f"bundled:gwm-mini-{world}").modules
    encoder, denoiser, decoder = (modules[name] for name in ("encoder", "denoiser", "decoder"))
    assert isinstance(encoder, Encoder)
    assert isinstance(denoiser, Denoiser)
    assert isinstance(decoder, DecoderSteady)
    with torch.no_grad():
        return RECIPES[world].judge(GwmParts(encoder, denoiser, decoder.decoder).open, scenes)


def folder_of(world: str) -> Path:
    """The stored checkpoint's folder."""
    return content.folder("checkpoints") / f"gwm-mini-{world}"


def size_of(world: str) -> int:
    """Bytes of every file of the stored checkpoint."""
    return sum(file.stat().st_size for file in folder_of(world).iterdir())
