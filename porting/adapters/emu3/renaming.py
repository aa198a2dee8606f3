"""Emu3's tensors under the names of transformers, from either of the two sets of names that its files have had.

Source: transformers, conversion_mapping.py, "emu3".
"""

import re

from torch import Tensor

from porting.adapters.names import strip_wrappers

RULES = (
    (r"^text_model\.lm_head\.", "lm_head."),
    (r"^text_model\.(?:model\.)?", "model.text_model."),
    (r"^vqmodel\.", "model.vqmodel."),
)
UNUSED = ("model.vqmodel.encoder.*", "model.vqmodel.quant_conv.*")
"""The half of the autoencoder that makes tokens of pictures."""


def convert(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the names that `Emu3ForConditionalGeneration` has now."""
    renamed = {}
    for name, tensor in strip_wrappers(tensors).items():
        for pattern, replacement in RULES:
            if re.match(pattern, name):
                name = re.sub(pattern, replacement, name, count=1)
                break
        renamed[name] = tensor
    return renamed
