"""Oasis' tensors under the names of this implementation: as they are, but for the copies of two frequency tables.

Every block of the transformer refers to the same rotations. A torch.save archive holds them under every block's name
and under their own; a safetensors file under whichever name was kept; some files not at all.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from porting.adapters.names import strip_wrappers

FREQUENCIES = re.compile(r"(?:(?P<axis>spatial|temporal)_|blocks\.\d+\.(?P<short>[st])_attn\.)rotary_emb\.freqs")
AXES = {"s": "spatial", "t": "temporal"}


def find_axis(name: str) -> str | None:
    """Whose frequencies a tensor holds: "spatial", "temporal", or None where it holds something else."""
    found = FREQUENCIES.fullmatch(name)
    if found is None:
        return None
    return found["axis"] or AXES[found["short"]]


def convert_dit(tensors: dict[str, Tensor], computed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The transformer's tensors, each axis' frequencies once; `computed` ones where the file has none."""
    made = dict(computed)
    for name, tensor in strip_wrappers(tensors).items():
        axis = find_axis(name)
        made[name if axis is None else f"{axis}_rotary_emb.freqs"] = tensor
    return made
