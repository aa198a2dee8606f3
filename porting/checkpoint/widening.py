"""Weights of other floating dtypes in float32: in memory while they are few, else in a mapped file without a name.

A checkpoint in bfloat16 takes twice its bytes in float32. Memory that is mapped to a file can be given back to the
system at any time, so that a checkpoint larger than memory is ported whatever its dtype.
"""

import tempfile
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

IN_MEMORY_BYTES = 2**28
"""Converted weights up to this stay in memory."""
ALIGNMENT = 64
"""Where a tensor begins in the file: the start of a cache line."""


def widen_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, those of other floating dtypes as float32, the rest as they are.

    The file stands in the folder for temporary files (`TMPDIR`), takes four bytes a value, and is gone when the last
    tensor is.

    Raises:
        OSError: there is no room for the file.
    """
    widened = {n: t for n, t in tensors.items() if t.is_floating_point() and t.dtype is not torch.float32}
    if 4 * sum(tensor.numel() for tensor in widened.values()) <= IN_MEMORY_BYTES:
        return {name: tensor.to(torch.float32) if name in widened else tensor for name, tensor in tensors.items()}
    mapped = dict(zip(widened, _map(list(widened.values())), strict=True))
    return {name: mapped.get(name, tensor) for name, tensor in tensors.items()}


def _map(tensors: list[Tensor]) -> list[Tensor]:
    """Float32 copies in one file that has no name any more; a mapping keeps it."""
    starts, end = [], 0
    for tensor in tensors:
        starts.append(end)
        end += -(-4 * tensor.numel() // ALIGNMENT) * ALIGNMENT
    with tempfile.TemporaryFile(prefix="worldport-") as file:
        file.truncate(end)
        whole = np.memmap(file, dtype=np.uint8, mode="r+", shape=(end,))
    made = []
    for tensor, start in zip(tensors, starts, strict=True):
        own = torch.from_numpy(whole[start : start + 4 * tensor.numel()].view(np.float32)).view(tensor.shape)
        made.append(own.copy_(tensor))
    return made
