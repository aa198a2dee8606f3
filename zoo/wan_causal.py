"""Causal Wan as Self-Forcing stores it: a torch.save file of a generator and its average, and Wan's autoencoder."""

from pathlib import Path

import torch

from zoo import Entry
from zoo.wan import (
    PROMPT_WIDTH,
    make_original_autoencoder,
    make_transformer,
    original_autoencoder,
    original_transformer,
)
from zoo.weights import write_json

CHANNELS = 16
SETTINGS = {
    "height": 8, "width": 8, "chunk": 2, "window": 8, "sink": 2, "denoising_steps": [1000, 500], "prompt_tokens": 6,
}  # fmt: skip
"""A ring of three chunks, the first of which stays."""
CONFIG = {
    "_class_name": "CausalWanModel", "model_type": "t2v", "dim": 48, "eps": 1e-6, "ffn_dim": 96, "freq_dim": 32,
    "in_dim": CHANNELS, "num_heads": 2, "num_layers": 2, "out_dim": CHANNELS, "text_len": 512,
    "text_dim": PROMPT_WIDTH,
}  # fmt: skip


def build_original(out: Path) -> None:
    """The average is what the generator is sampled with; the generator itself has other weights."""
    sets = {
        name: {f"model.{key}": t for key, t in original_transformer(make_transformer(CHANNELS, s).state_dict()).items()}
        for name, s in (("generator", 14), ("generator_ema", 11))
    }
    torch.save(sets, out / "self_forcing_dmd.pt")
    torch.save(original_autoencoder(make_original_autoencoder().state_dict()), out / "Wan2.1_VAE.pth")
    write_json(out / "config.json", CONFIG)
    write_json(out / "worldport.json", SETTINGS)


ENTRIES = (Entry("wan-causal", "wan_causal", "guandeh17/Self-Forcing, torch.save of two sets", build_original),)
