"""AnyFlow FAR as its diffusers pipeline is laid out: the causal transformer beside Wan 2.1's autoencoder."""

from pathlib import Path

import torch
from diffusers.models.transformers.transformer_anyflow_far import AnyFlowFARTransformer3DModel

from zoo import Entry
from zoo.wan import make_autoencoder
from zoo.weights import randomise, write_pipeline

PARTITION = (1, 2, 2, 2, 2)
"""Latent frames of the published clip's chunks; a session goes on past them."""
SETTINGS = {"height": 32, "width": 16, "steps": 2, "prompt_tokens": 6}
PROMPT_WIDTH = 24


def make_transformer() -> AnyFlowFARTransformer3DModel:
    """A transformer of two layers over latents of four channels."""
    model = AnyFlowFARTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=24,
        in_channels=4,
        out_channels=4,
        text_dim=PROMPT_WIDTH,
        freq_dim=32,
        ffn_dim=96,
        num_layers=2,
        rope_max_seq_len=64,
        chunk_partition=PARTITION,
    )
    randomise(model, seed=31)
    with torch.no_grad():  # each chunk must hang on what it attends to
        for block in model.blocks:
            block.attn1.norm_q.weight.mul_(3.0)
            block.attn1.to_out[0].weight.mul_(3.0)
    return model


def build_pipeline(out: Path) -> None:
    """The text encoder, which a session runs once, is not part of a port."""
    parts = {"transformer": make_transformer(), "vae": make_autoencoder()}
    write_pipeline(out, "AnyFlowFARPipeline", parts, SETTINGS)


ENTRIES = (Entry("anyflow-far", "anyflow_far", "diffusers pipeline, a folder a component", build_pipeline),)
