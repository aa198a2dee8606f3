"""Helios as its diffusers pipeline is laid out."""

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_helios import HeliosTransformer3DModel

from zoo import Entry
from zoo.wan import tame
from zoo.weights import randomise, write_pipeline

SETTINGS = {
    "height": 16, "width": 16, "frames": 3, "history": [4, 2, 1], "steps": 3, "guidance_scale": 2.0, "prompt_tokens": 5,
}  # fmt: skip
PROMPT_WIDTH = 24


def make_transformer() -> HeliosTransformer3DModel:
    """A transformer whose answers hang on the history as much as on the noise."""
    model = HeliosTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=24,
        in_channels=4,
        out_channels=4,
        text_dim=PROMPT_WIDTH,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        rope_dim=(8, 8, 8),
        is_amplify_history=True,
    )
    randomise(model, seed=41)
    return model


def make_autoencoder() -> AutoencoderKLWan:
    """Wan's, with two levels."""
    model = AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2],
        temperal_downsample=[True],
        num_res_blocks=1,
        latents_mean=[0.1, 0.0, -0.1, 0.2],
        latents_std=[0.8, 0.9, 1.0, 1.1],
        scale_factor_spatial=2,
        scale_factor_temporal=2,
    )
    return tame(model)


def build_pipeline(out: Path) -> None:
    """The text encoder, which a session runs once, is not part of a port."""
    with torch.no_grad():
        parts = {"transformer": make_transformer(), "vae": make_autoencoder()}
    write_pipeline(out, "HeliosPipeline", parts, SETTINGS)


ENTRIES = (Entry("helios", "helios", "diffusers pipeline, a folder a component", build_pipeline),)
