"""Emu3 as transformers stores it, in two shards with an index: text model, head, and vector-quantised autoencoder."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import Emu3Config, Emu3ForConditionalGeneration

from zoo import Entry
from zoo.weights import randomise, write_json, write_shards

CODES, FIRST_VISUAL, END_OF_LINE, END_OF_FRAME = 24, 20, 16, 17
SETTINGS = {"rows": 2, "columns": 3, "window": 2, "prompt_tokens": 5, "temperature": 1.0}
VOCABULARY = {
    **{f"<word {number}>": number for number in range(14)},
    "<image>": 14,
    "<|image token|>": 15,
    "<|extra_200|>": END_OF_LINE,
    "<|extra_201|>": END_OF_FRAME,
    **{f"<|visual token {code:06d}|>": FIRST_VISUAL + code for code in range(CODES)},
}
TEXT = {
    "vocab_size": FIRST_VISUAL + CODES, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}  # fmt: skip
PICTURES = {
    "codebook_size": CODES, "embed_dim": 4, "latent_channels": 4, "temporal_downsample_factor": 2, "base_channels": 32,
    "channel_multiplier": [1, 1], "num_res_blocks": 1, "attn_resolutions": [1], "hidden_size": 32,
}  # fmt: skip


def make_config() -> Emu3Config:
    """The published class at a size that ports in a minute."""
    return Emu3Config(text_config=dict(TEXT), vq_config=dict(PICTURES), vocabulary_map=VOCABULARY)


def make_model() -> Emu3ForConditionalGeneration:
    """The tiny model: which token follows hangs on the past, and pictures lie around grey."""
    model = Emu3ForConditionalGeneration(make_config())
    randomise(model, seed=31)
    generator = torch.Generator().manual_seed(32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("embed_tokens.weight", "embedding.weight")):  # tables, not matrices
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        model.model.vqmodel.decoder.conv_out.weight.mul_(0.3)
    return model.eval()


def build_published(out: Path) -> None:
    """As `save_pretrained` lays it out when there is more than one file."""
    write_published(out, dict(make_model().state_dict()))


def write_published(out: Path, tensors: dict[str, Tensor]) -> None:
    """These tensors, and the tiny model's config and settings."""
    config = make_config().to_diff_dict() | {"architectures": ["Emu3ForConditionalGeneration"]}
    write_shards(out, config, tensors, "model", 2)
    write_json(out / "worldport.json", SETTINGS)


ENTRIES = (Entry("emu3", "emu3", "transformers, two shards with an index", build_published),)
