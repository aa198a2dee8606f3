"""Cosmos Predict 1, video to world, as its diffusers pipeline is laid out: a folder a component and an index."""

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_cosmos import AutoencoderKLCosmos
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel

from zoo import Entry
from zoo.weights import randomise, write_pipeline

CHANNELS = 4
"""Of a latent."""
LATENT_FRAMES = 4
TIME_SCALE, SPACE_SCALE = 4, 8


def make_transformer() -> CosmosTransformer3DModel:
    """A transformer whose answers have the size of its input."""
    model = CosmosTransformer3DModel(
        in_channels=CHANNELS + 1,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=24,
        num_layers=2,
        text_embed_dim=24,
        adaln_lora_dim=16,
        max_size=(16, 16, 16),
        mlp_ratio=2.0,
    )
    randomise(model, seed=8)
    return model


def make_autoencoder() -> AutoencoderKLCosmos:
    """An autoencoder of two levels that makes pictures around grey."""
    model = AutoencoderKLCosmos(
        latent_channels=CHANNELS,
        encoder_block_out_channels=(8, 8, 12, 12),
        decode_block_out_channels=(8, 8, 12, 12),
        attention_resolutions=(8,),
        resolution=32,
        num_layers=1,
        patch_size=2,
        spatial_compression_ratio=SPACE_SCALE // 2,
        temporal_compression_ratio=TIME_SCALE,
        latents_mean=[0.1 * (i % 3) for i in range(CHANNELS * LATENT_FRAMES)],
        latents_std=[0.8 + 0.1 * (i % 3) for i in range(CHANNELS * LATENT_FRAMES)],
    )
    # What a chunk is off by, the next one neither forgets nor doubles: above this gain rollouts of noise diverge.
    randomise(model, seed=9, gain=0.9)
    with torch.no_grad():  # what is clamped proves nothing
        model.decoder.conv_out.conv_t.weight.mul_(0.2)
    return model


def build_pipeline(out: Path) -> None:
    """Transformer and autoencoder; the text encoder, which a session runs once, is not part of a port."""
    parts = {"transformer": make_transformer(), "vae": make_autoencoder()}
    settings = {
        "height": 32, "width": 32, "frames": 13, "context_frames": 5, "steps": 2, "guidance_scale": 1.5,
        "prompt_tokens": 6, "sigma_max": 8.0,
    }  # fmt: skip
    write_pipeline(out, "CosmosVideoToWorldPipeline", parts, settings, {"safety_checker": [None, None]})


ENTRIES = (Entry("cosmos-predict", "cosmos_predict", "diffusers pipeline, a folder a component", build_pipeline),)
