"""SANA-WM's refiner as its diffusers pipeline is laid out: LTX-2's tensors, those for sound among them."""

from pathlib import Path

from diffusers.models.transformers.transformer_sana_wm_refiner import SanaWMLTX2RefinerTransformer3DModel

from zoo import Entry
from zoo.weights import randomise, write_pipeline

SETTINGS = {
    "height": 96, "width": 64, "block": 2, "window": 4, "sigmas": [0.9, 0.5, 0.0], "prompt_tokens": 5,
}  # fmt: skip
CHANNELS, PROMPT_WIDTH = 6, 24


def make_transformer(rope_type: str = "split", *, gated: bool = False) -> SanaWMLTX2RefinerTransformer3DModel:
    """A transformer of two layers; 15 of its 16 pairs turn."""
    model = SanaWMLTX2RefinerTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        base_height=256,
        base_width=256,
        gated_attn=gated,
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=8,
        audio_cross_attention_dim=16,
        num_layers=2,
        caption_channels=PROMPT_WIDTH,
        rope_theta=100.0,
        rope_type=rope_type,
    )
    randomise(model, seed=41)
    return model


def build_pipeline(out: Path) -> None:
    """The text encoder and its connectors, which a session runs once, are not part of a port."""
    parts = {"transformer": make_transformer()}
    write_pipeline(out, "SanaWMLTX2Refiner", parts, SETTINGS)


ENTRIES = (Entry("sana-wm-refiner", "sana_wm_refiner", "diffusers pipeline, a folder a component", build_pipeline),)
