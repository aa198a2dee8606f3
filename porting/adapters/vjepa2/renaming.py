"""V-JEPA 2's tensors under the names of transformers: as they are, or from the names of the original repository.

Source of the original names: facebookresearch/vjepa2, src/models/vision_transformer.py and predictor.py.
"""

import re

import torch
from torch import Tensor

from porting.adapters.names import inside, strip_wrappers

ENCODER = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.proj."),
    (r"^blocks\.", "layer."),
    (r"^norm\.", "layernorm."),
)
PREDICTOR = (
    (r"^predictor_embed\.", "embeddings.predictor_embeddings."),
    (r"^predictor_blocks\.", "layer."),
    (r"^predictor_norm\.", "layernorm."),
    (r"^predictor_proj\.", "proj."),
)
LAYER = ((r"\.attn\.proj\.", ".attention.proj."),)
QKV = re.compile(r"(.*)\.attn\.qkv\.(weight|bias)")
MASK_TOKEN = re.compile(r"mask_tokens\.(\d+)")


def convert_model(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Both halves of a checkpoint, each from whichever names it has; a video classifier's heads fall away."""
    found = inside(tensors, "vjepa2.") or tensors
    encoder = convert_encoder(strip_wrappers(inside(found, "encoder.")))
    predictor = convert_predictor(strip_wrappers(inside(found, "predictor.")))
    return {f"encoder.{name}": tensor for name, tensor in encoder.items()} | {
        f"predictor.{name}": tensor for name, tensor in predictor.items()
    }


def convert_encoder(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """An encoder's tensors; fixed positions, which rotations replace, are left out."""
    return {name: t for name, t in _split_qkv(_rename(tensors, ENCODER + LAYER)).items() if name != "pos_embed"}


def convert_predictor(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A mask predictor's tensors; its mask tokens, stored one by one, become one tensor."""
    renamed = _split_qkv(_rename(tensors, PREDICTOR + LAYER))
    tokens = {int(found[1]): renamed.pop(name) for name in list(renamed) if (found := MASK_TOKEN.fullmatch(name))}
    renamed.pop("predictor_pos_embed", None)
    if tokens:
        renamed["embeddings.mask_tokens"] = torch.stack([tokens[index] for index in sorted(tokens)])
    return renamed


def _rename(tensors: dict[str, Tensor], rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def _split_qkv(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """One matrix for query, key and value becomes three."""
    split = {}
    for name, tensor in tensors.items():
        found = QKV.fullmatch(name)
        if found is None:
            split[name] = tensor
            continue
        for kind, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            split[f"{found[1]}.attention.{kind}.{found[2]}"] = third
    return split
