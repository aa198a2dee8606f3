"""Weights as torch tensors, mapped from their files rather than copied; torch is imported when they are wanted."""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from porting.checkpoint.tensor_header import TensorHeader
from porting.errors import CheckpointError

if TYPE_CHECKING:
    import torch

CHUNK_ELEMENTS = 2**22
"""Values looked at at once when searching for NaN: 16 MB of float32."""


def load_safetensors(path: Path, names: Iterable[str]) -> dict[str, "torch.Tensor"]:
    """The named tensors, backed by the mapped file.

    Raises:
        CheckpointError: the library refuses the file.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as cause:
        raise CheckpointError(f"{path}: cannot be loaded ({cause}); copy it again") from cause


def load_torch(
    path: Path, names: Iterable[str], inside: str | None, sets: tuple[str, ...] = ()
) -> dict[str, "torch.Tensor"]:
    """The named tensors of a torch.save archive, backed by the mapped file.

    Args:
        path: the archive.
        names: of the tensors.
        inside: the key of their dict, None for the archive's own.
        sets: the keys of several dicts; a name then begins with its dict's key and a dot.

    Raises:
        CheckpointError: torch's `weights_only` loader refuses the file.
    """
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, ValueError, LookupError, TypeError, EOFError, OSError, pickle.UnpicklingError) as cause:
        first = str(cause).strip().split("\n")[0]
        raise CheckpointError(f"{path}: torch.load with weights_only refuses it ({first}); copy it again") from cause
    held = held if inside is None else held[inside]
    if sets:
        held = {f"{key}.{name}": tensor for key in sets for name, tensor in held[key].items()}
    return {name: held[name].detach() for name in names}


def check_loaded(
    files: Mapping[str, Path], headers: Mapping[str, TensorHeader], loaded: Mapping[str, "torch.Tensor"]
) -> None:
    """Refuse tensors that are not what their headers said.

    Raises:
        CheckpointError: names the file and the tensor.
    """
    for name, tensor in loaded.items():
        found = (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        if found != (headers[name].shape, headers[name].dtype):
            raise CheckpointError(
                f"{files[name]}: {name}: loads as {found}, its header says {headers[name].shape}"
                f" {headers[name].dtype}; save it again"
            )


def find_non_finite(tensor: "torch.Tensor") -> str | None:
    """The first NaN or infinity, as "nan at flat index 3", or None. Looks chunk by chunk, without a copy in memory."""
    if tensor.is_complex():
        return find_non_finite(tensor.real) or find_non_finite(tensor.imag)
    if not tensor.is_floating_point():
        return None
    flat = tensor.detach().reshape(-1)
    for start in range(0, flat.numel(), CHUNK_ELEMENTS):
        chunk = flat[start : start + CHUNK_ELEMENTS]
        if chunk.element_size() == 1:
            chunk = chunk.float()
        low, high = chunk.aminmax()
        if not (low.isfinite() and high.isfinite()):
            at = int((~chunk.isfinite()).nonzero()[0])
            return f"{chunk[at].item()} at flat index {start + at}"
    return None
