"""The header of a file that torch.save wrote: names, shapes and dtypes, without torch and without reading a weight."""

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porting.checkpoint.pickle_walk import InvalidPickleError, StoredTensor, UnsafePickleError, walk
from porting.checkpoint.tensor_header import ITEM_BYTES, TensorHeader
from porting.errors import CheckpointError

PICKLE_LIMIT_BYTES = 16 * 2**20
"""About a hundred thousand tensors; walking this takes some seconds."""
CONVERT = (
    "where you trust its origin, load it there and save its tensors with safetensors.torch.save_file"
    " (docs/checkpoints.md)"
)


@dataclass(frozen=True)
class TorchHeader:
    """A torch.save archive: its tensors, and where in it they are."""

    tensors: dict[str, TensorHeader]
    inside: str | None
    """Key of the dict that holds them; None for the archive itself, and for several dicts."""
    sets: tuple[str, ...] = ()
    """Keys of several dicts, in whose tensors' names they stand in front: "encoder.blocks.0.weight"."""


def read_torch_header(path: Path) -> TorchHeader:
    """Every tensor's header, of a dict of tensors or of the dicts of tensors inside the archive's dict.

    Raises:
        CheckpointError: damaged, not tensors, or needs pickle code; names the file and the key.
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _list_entries(path, archive)
            root = _find_root(path, entries)
            pickled = _read_pickle(path, archive, f"{root}/data.pkl")
    except (zipfile.BadZipFile, struct.error, zlib.error, ValueError, RuntimeError, EOFError, OverflowError) as cause:
        raise CheckpointError(f"{path}: truncated or damaged torch.save archive ({cause}); copy it again") from cause
    sets, tensors = _find_tensors(path, _walk(path, pickled))
    headers = {}
    for name, tensor in tensors.items():
        entry = entries.get(f"{root}/data/{tensor.storage.key}")
        headers[name] = _check_tensor(f"{path}: {name}", tensor, entry)
    return TorchHeader(headers, sets[0] if len(sets) == 1 else None, sets if len(sets) > 1 else ())


def _list_entries(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    if len(entries) < len(archive.infolist()):
        raise CheckpointError(f"{path}: an archive with two entries of one name; save it again with torch.save")
    return entries


def _find_root(path: Path, entries: dict[str, zipfile.ZipInfo]) -> str:
    roots = [name.removesuffix("/data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise CheckpointError(
            f"{path}: a zip archive that torch.save did not write (no <name>/data.pkl);"
            " give safetensors or a torch.save file of tensors"
        )
    if f"{roots[0]}/constants.pkl" in entries:
        raise CheckpointError(f"{path}: a TorchScript program, which is code; save its state_dict() as safetensors")
    return roots[0]


def _read_pickle(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    nbytes = archive.getinfo(name).file_size
    if nbytes > PICKLE_LIMIT_BYTES:
        raise CheckpointError(
            f"{path}: {name} has {nbytes} bytes, the limit is {PICKLE_LIMIT_BYTES}; save the tensors as safetensors"
        )
    return archive.read(name)


def _walk(path: Path, pickled: bytes) -> Any:
    try:
        return walk(pickled)
    except UnsafePickleError as cause:
        raise CheckpointError(f"{path}: needs pickle code: asks for {cause.name!r}, not loaded; {CONVERT}") from cause
    except InvalidPickleError as cause:
        raise CheckpointError(f"{path}: holds no plain tensors ({cause}); {CONVERT}") from cause


def _find_tensors(path: Path, value: Any) -> tuple[tuple[str, ...], dict[str, StoredTensor]]:
    """The tensors, and the keys of the dicts that hold them; of several, each name begins with its dict's key."""
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: holds a {type(value).__name__}, not a dict of tensors; {CONVERT}")
    if _is_state_dict(value):
        return (), value
    inside = [key for key, entry in value.items() if isinstance(key, str) and _is_state_dict(entry)]
    loose = [key for key, entry in value.items() if isinstance(entry, StoredTensor)]
    if len(inside) == 1 and not loose:
        return (inside[0],), value[inside[0]]
    if inside and not loose:
        # A model and its average, or a model's components: which is wanted is the adapter's business.
        return tuple(inside), {f"{key}.{name}": tensor for key in inside for name, tensor in value[key].items()}
    odd = [f"{key!r} ({type(entry).__name__})" for key, entry in value.items() if not isinstance(entry, StoredTensor)]
    raise CheckpointError(f"{path}: holds no dict of tensors: {', '.join(odd[:5]) or 'it is empty'}; {CONVERT}")


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(entry, StoredTensor) for key, entry in value.items())
    )


def _check_tensor(where: str, tensor: StoredTensor, entry: zipfile.ZipInfo | None) -> TensorHeader:
    """The tensor's header; it must lie within its storage, and the storage, uncompressed, within the archive."""
    if tensor.dtype not in ITEM_BYTES:
        raise CheckpointError(f"{where}: unknown dtype {tensor.dtype!r}; known are {', '.join(ITEM_BYTES)}")
    if entry is None:
        raise CheckpointError(f"{where}: its values (data/{tensor.storage.key}) are not in the archive; copy it again")
    item_bytes = ITEM_BYTES[tensor.dtype]
    stored_bytes = tensor.storage.elements * ITEM_BYTES.get(tensor.storage.dtype, 1)
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != stored_bytes:
        raise CheckpointError(
            f"{where}: its values take {stored_bytes} bytes, the archive has {entry.file_size}, or has them packed;"
            " save it again"
        )
    header = TensorHeader(tensor.shape, tensor.dtype, 0)
    last = sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True))
    if header.elements and (tensor.offset + last + 1) * item_bytes > stored_bytes:
        raise CheckpointError(f"{where}: shape {tensor.shape} reaches beyond its {stored_bytes} bytes; save it again")
    return TensorHeader(tensor.shape, tensor.dtype, header.elements * item_bytes)
