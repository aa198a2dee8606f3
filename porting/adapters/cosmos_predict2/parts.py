"""Predict 2's parts, found by what their configs and tensors say: diffusers' classes, also from the original layout.

Source of the original names: nvidia-cosmos/cosmos-predict2, cosmos_predict2/models/text2image_dit.py; of the sizes that
no tensor tells, diffusers' scripts/convert_cosmos_to_diffusers.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffusers.loaders.single_file_utils import convert_cosmos_transformer_checkpoint_to_diffusers
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from torch import Tensor

from porting.adapters.names import strip_wrappers
from porting.adapters.published import build_diffusers
from porting.adapters.wan.parts import find_part
from porting.checkpoint import Checkpoint
from porting.errors import CheckpointError, ConfigError

ORIGINAL = "blocks.0.self_attn.q_proj.weight"
PROJECTION = "crossattn_proj.0.weight"
"""Predict 2.5 takes the prompt as its text encoder's layers side by side, and narrows it."""
PATCH = (1, 2, 2)
NARROW = 2048
"""Width of the models of 2 billion parameters."""
ROPE_SCALE, WIDE_ROPE_SCALE = (1.0, 3.0, 3.0), (20 / 24, 2.0, 2.0)
"""How far positions in time, height and width are stretched; the wider one is Predict 2's of 14 billion."""


def name_parts(checkpoint: Checkpoint) -> tuple[str, str]:
    """The parts that are the transformer and the autoencoder: a pipeline's by name, loose files' by their tensors.

    Raises:
        CheckpointError: one is not there, or loose files leave a choice.
    """
    if any(name in checkpoint.parts for name in ("transformer", "vae")) or not checkpoint.parts:
        checkpoint.select(("transformer", "vae"))
        return "transformer", "vae"
    found = [name for name, part in checkpoint.parts.items() if ORIGINAL in strip_wrappers(part.tensors)]
    if len(found) != 1:
        raise CheckpointError(
            f"{checkpoint.path}: has {len(found)} parts that are a Predict 2 transformer, of its parts:"
            f" {', '.join(checkpoint.parts)}; give a folder with one transformer and one autoencoder"
        )
    return found[0], find_part(checkpoint, "autoencoder", "original autoencoder")


def build_transformer(part: Checkpoint) -> Any:
    """A `CosmosTransformer3DModel` without weights.

    Raises:
        CheckpointError: an original file lacks a tensor that tells a size.
        ConfigError: a value is impossible, or it takes more than a prompt and frames.
    """
    headers = strip_wrappers(part.tensors)
    if ORIGINAL in headers:
        sizes = measure_transformer({name: header.shape for name, header in headers.items()}, str(part.path))
        part = replace(part, config={**sizes, **part.config})
    transformer: Any = build_diffusers(CosmosTransformer3DModel, part)
    config = transformer.config
    if config.img_context_dim_in or config.controlnet_block_every_n:
        raise ConfigError(
            f"{part.config_path}: img_context_dim_in {config.img_context_dim_in}, controlnet_block_every_n"
            f" {config.controlnet_block_every_n}: it is Cosmos Transfer's, conditioned on more than frames and a"
            " prompt; give a Predict checkpoint"
        )
    if config.patch_size[0] != 1:
        raise ConfigError(f"{part.config_path}: patch_size {list(config.patch_size)}: the first must be 1; correct it")
    return transformer


def convert_transformer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of diffusers as they are; original ones through its own converter."""
    own = strip_wrappers(tensors)
    if ORIGINAL not in own:
        return own
    converted: dict[str, Tensor] = convert_cosmos_transformer_checkpoint_to_diffusers(dict(own))
    return converted


def measure_transformer(shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, Any]:
    """The sizes of an original transformer, which comes without a config, as diffusers' class takes them.

    Raises:
        CheckpointError: a tensor that tells one is not there; `where` stands in front.
    """
    area = PATCH[1] * PATCH[2]
    try:
        width, patched = shapes["x_embedder.proj.1.weight"]
        head = shapes["blocks.0.self_attn.q_norm.weight"][0]
        sizes = {
            "in_channels": patched // area - 1,
            "out_channels": shapes["final_layer.linear.weight"][0] // area,
            "num_attention_heads": width // head,
            "attention_head_dim": head,
            "num_layers": len({name.split(".")[1] for name in shapes if name.startswith("blocks.")}),
            "mlp_ratio": shapes["blocks.0.mlp.layer1.weight"][0] / width,
            "text_embed_dim": shapes["blocks.0.cross_attn.k_proj.weight"][1],
            "adaln_lora_dim": shapes["blocks.0.adaln_modulation_self_attn.1.weight"][0],
        }
    except (KeyError, ValueError, IndexError) as cause:
        raise CheckpointError(f"{where}: a size cannot be read off its tensors ({cause}); save every tensor") from cause
    projection = shapes.get(PROJECTION)
    projected = {
        "use_crossattn_projection": True,
        "encoder_hidden_states_channels": projection[0],
        "crossattn_proj_in_channels": projection[1],
    } if projection else {}  # fmt: skip
    return {
        **sizes,
        **projected,
        "patch_size": PATCH,
        "rope_scale": ROPE_SCALE if projection or width <= NARROW else WIDE_ROPE_SCALE,
        "concat_padding_mask": True,
        "extra_pos_embed_type": None,
    }
