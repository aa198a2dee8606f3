"""Cosmos 3 Omni with actions, as its diffusers pipeline is laid out: a policy, and forward dynamics."""

from pathlib import Path
from typing import Any

from diffusers.models.transformers.transformer_cosmos3 import Cosmos3OmniTransformer

from zoo import Entry
from zoo.wan import make_autoencoder
from zoo.weights import randomise, write_pipeline

SETTINGS: dict[str, Any] = {
    "height": 16, "width": 16, "actions": 4, "action_width": 3, "domain": 2, "fps": 12, "steps": 3,
    "guidance_scale": 1.5, "prompt_tokens": 5, "sigma_max": 8.0,
}  # fmt: skip


def make_transformer() -> Cosmos3OmniTransformer:
    """A transformer of two pathways whose answers have the size of its input."""
    model = Cosmos3OmniTransformer(
        hidden_size=32,
        intermediate_size=48,
        head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_hidden_layers=2,
        vocab_size=40,
        latent_channel=6,
        latent_patch_size=2,
        patch_latent_dim=24,
        rope_axes_dim=(4, 2, 2),
        unified_3d_mrope_temporal_modality_margin=20,
        action_gen=True,
        action_dim=8,
        num_embodiment_domains=4,
    )
    randomise(model, seed=15)
    return model


def build_policy(out: Path) -> None:
    """Actions are made with the pictures; the tokenizer of words is not part of a port."""
    _build_pipeline(out, {})


def build_dynamics(out: Path) -> None:
    """Pictures after actions that are given."""
    _build_pipeline(out, {"mode": "forward_dynamics", "guidance_scale": 1.0})


def _build_pipeline(out: Path, settings: dict[str, Any]) -> None:
    parts = {"transformer": make_transformer(), "vae": make_autoencoder(residual=True)}
    write_pipeline(out, "Cosmos3OmniPipeline", parts, {**SETTINGS, **settings}, {"enable_safety_checker": True})


ENTRIES = (
    Entry("cosmos3-policy", "cosmos3_omni", "diffusers pipeline, a folder a component", build_policy),
    Entry("cosmos3-dynamics", "cosmos3_omni", "diffusers pipeline, a folder a component", build_dynamics),
)
