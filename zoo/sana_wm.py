"""SANA-WM's first stage as its diffusers pipeline is laid out: a block of delta rules, then one of softmax."""

from pathlib import Path

import torch
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel

from zoo import Entry
from zoo.weights import randomise, write_pipeline

SETTINGS = {
    "height": 96, "width": 64, "frames": 17, "steps": 2, "guidance_scale": 2.0, "prompt_tokens": 5,
}  # fmt: skip
CHANNELS, RAY_CHANNELS, PROMPT_WIDTH = 6, 12, 24


def make_transformer() -> SanaWMTransformer3DModel:
    """A transformer of two layers, one of each kind."""
    model = SanaWMTransformer3DModel(
        in_channels=CHANNELS,
        num_layers=2,
        hidden_size=48,
        num_attention_heads=2,
        softmax_every_n=2,
        linear_head_dim=24,
        chunk_plucker_channels=RAY_CHANNELS,
        caption_channels=PROMPT_WIDTH,
        mlp_ratio=2.0,
    )
    randomise(model, seed=51)
    with torch.no_grad():  # states must outlast a frame
        for block in model.blocks:
            block.attn.A_log.add_(-1.0)
    return model


def build_pipeline(out: Path) -> None:
    """The text encoder and the autoencoder, which this stage is not made of, are not part of a port."""
    parts = {"transformer": make_transformer()}
    write_pipeline(out, "SanaWMPipeline", parts, SETTINGS)


ENTRIES = (Entry("sana-wm", "sana_wm", "diffusers pipeline, a folder a component", build_pipeline),)
