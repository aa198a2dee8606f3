"""CogVideoX as its diffusers pipeline is laid out: a folder a component, the scheduler's config, and an index."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler

from zoo import Entry
from zoo.weights import randomise, write_pipeline

SETTINGS = {
    "height": 8, "width": 8, "frames": 9, "steps": 2, "guidance_scale": 2.0, "prompt_tokens": 6,
}  # fmt: skip
CHANNELS = 4
PUBLISHED_SCHEDULER: dict[str, Any] = {
    "snr_shift_scale": 1.0, "clip_sample": False, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}  # fmt: skip
"""Of CogVideoX-5b."""


def make_transformer(**changes: Any) -> CogVideoXTransformer3DModel:
    """A transformer whose answers have the size of its input; rotary positions, like CogVideoX-5b's."""
    model = CogVideoXTransformer3DModel(
        **{
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "in_channels": CHANNELS,
            "out_channels": CHANNELS,
            "time_embed_dim": 24,
            "text_embed_dim": 24,
            "num_layers": 2,
            "sample_width": 6,
            "sample_height": 4,
            "sample_frames": 9,
            "temporal_compression_ratio": 2,
            "max_text_seq_length": 6,
            "use_rotary_positional_embeddings": True,
            **changes,
        }
    )
    randomise(model, seed=23)
    return model


def make_autoencoder() -> AutoencoderKLCogVideoX:
    """An autoencoder of two levels that makes pictures around grey."""
    model = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 2,
        up_block_types=("CogVideoXUpBlock3D",) * 2,
        block_out_channels=(8, 12),
        latent_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=2,
        sample_height=8,
        sample_width=12,
        scaling_factor=0.7,
    )
    randomise(model, seed=24)
    with torch.no_grad():  # what is clamped proves nothing
        model.decoder.conv_out.conv.weight.mul_(0.3)
    return model


def build_pipeline(out: Path) -> None:
    """Transformer, autoencoder and scheduler; the text encoder, which a session runs once, is not part of a port."""
    parts = {
        "transformer": make_transformer(),
        "vae": make_autoencoder(),
        "scheduler": CogVideoXDDIMScheduler(**PUBLISHED_SCHEDULER),
    }
    write_pipeline(out, "CogVideoXPipeline", parts, SETTINGS)


ENTRIES = (Entry("cogvideox", "cogvideox", "diffusers pipeline, a folder a component", build_pipeline),)
