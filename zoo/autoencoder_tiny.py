"""AutoencoderTiny as diffusers stores it."""

from pathlib import Path

import torch
from diffusers import AutoencoderTiny

from zoo import Entry
from zoo.weights import randomise, write_json


def build_published(out: Path) -> None:
    """As `save_pretrained` writes it: diffusion_pytorch_model.safetensors and config.json."""
    model = AutoencoderTiny(
        encoder_block_out_channels=(12, 12, 12),
        decoder_block_out_channels=(12, 12, 12),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    )
    randomise(model, seed=2)
    with torch.no_grad():  # pictures around grey: what is clamped proves nothing
        last = model.decoder.layers[-1]
        last.weight.mul_(0.2)
        last.bias.add_(0.5)
    model.save_pretrained(out)
    write_json(out / "worldport.json", {"latent_height": 8, "latent_width": 12})


ENTRIES = (Entry("autoencoder-tiny", "autoencoder_tiny", "diffusers, one component's folder", build_published),)
