"""Finds a checkpoint's files, decides from their content what they are, and reads their headers."""

import hashlib
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from porting.checkpoint.json_file import InvalidJsonError, read_object
from porting.checkpoint.safetensors_file import looks_like_safetensors, read_safetensors_header
from porting.checkpoint.tensor_header import TensorHeader
from porting.checkpoint.torch_file import CONVERT, read_torch_header
from porting.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import torch

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
CONFIG_LIMIT_BYTES = 2**20
INDEX_LIMIT_BYTES = 32 * 2**20
Format = Literal["safetensors", "torch"]

# What else people hand over, by its first bytes.
KNOWN_STRANGERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights", "fetch them with `git lfs pull`"),
    (b"\x80", "a bare pickle (torch's format before 1.6, or any Python object), which is code", CONVERT),
    (b"GGUF", "a GGUF file", "give the safetensors that it was made from"),
    (b"\x89HDF\r\n", "an HDF5 file", "save its tensors as safetensors"),
    (b"<", "a web page or XML", "download the file itself"),
)


@dataclass(frozen=True)
class Checkpoint:
    """Weights and config that someone else wrote; so far only their headers were read."""

    path: Path
    """What was asked for: a folder or a file."""
    name: str
    format: Format
    config: dict[str, Any]
    """Empty when there is no config file: whether one is needed is the adapter's business."""
    config_path: Path
    """Where the config is, or should be."""
    weight_files: tuple[Path, ...]
    tensors: dict[str, TensorHeader]
    file_of: dict[str, Path] = field(repr=False)
    """The file that holds each tensor."""
    inside: str | None = None
    """Key of the dict of tensors within a torch.save archive."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that the digest covers: the config, when there is one, then the weights."""
        return (*((self.config_path,) if self.config_path.is_file() else ()), *self.weight_files)

    def digest(self) -> str:
        """sha256 over the sha256 of config and weights, whatever the files are called. Reads every byte.

        Raises:
            CheckpointError: a file cannot be read.
        """
        total = hashlib.sha256()
        for path in self.files:
            try:
                with path.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as cause:
                raise CheckpointError(f"{path}: cannot be read ({cause.strerror}); make it readable") from cause
        return total.hexdigest()

    def load(self, names: "list[str] | None" = None) -> dict[str, "torch.Tensor"]:
        """The named tensors, all by default; mapped from the file, so that memory is taken as values are read.

        Raises:
            CheckpointError: a name is not there, or a file is not what its header said.
        """
        from porting.checkpoint import weights

        wanted = list(self.tensors) if names is None else names
        for name in wanted:
            if name not in self.tensors:
                raise CheckpointError(f"{self.path}: {name}: no such tensor; see `worldport inspect {self.path}`")
        loaded: dict[str, torch.Tensor] = {}
        for path in self.weight_files:
            own = [name for name in wanted if self.file_of[name] == path]
            if self.format == "torch":
                loaded |= weights.load_torch(path, own, self.inside)
            else:
                loaded |= weights.load_safetensors(path, own)
        weights.check_loaded(self.file_of, self.tensors, loaded)
        return {name: loaded[name] for name in wanted}


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read the headers of a weights file, or of a folder with model.safetensors (or its index) and config.json.

    Raises:
        CheckpointError: it is not there, damaged, unsafe to open, or no checkpoint; names the file and the tensor.
        ConfigError: config.json is no JSON object.
    """
    asked = Path(path)
    try:
        return _open(asked)
    except OSError as cause:
        where = cause.filename or asked
        raise CheckpointError(f"{where}: cannot be read ({cause.strerror}); make it readable") from cause


def _open(asked: Path) -> Checkpoint:
    if not asked.exists():
        raise CheckpointError(f"{asked}: there is no such file or folder; give a checkpoint's folder or weights file")
    folder = asked if asked.is_dir() else asked.parent
    index = _find_index(asked) if asked.is_dir() else None
    inside: str | None = None
    if index is not None:
        file_format: Format = "safetensors"
        file_of, tensors = _open_shards(index)
    else:
        weights_file = asked / WEIGHTS if asked.is_dir() else asked
        file_format = _recognise(weights_file)
        if file_format == "torch":
            header = read_torch_header(weights_file)
            tensors, inside = header.tensors, header.inside
        else:
            tensors = read_safetensors_header(weights_file)
        file_of = dict.fromkeys(tensors, weights_file)
    if not tensors:
        raise CheckpointError(f"{asked}: holds no tensors; give a checkpoint with weights")
    return Checkpoint(
        path=asked,
        name=asked.resolve().name if asked.is_dir() else asked.stem,
        format=file_format,
        config=_read_config(folder / CONFIG),
        config_path=folder / CONFIG,
        weight_files=tuple(sorted(set(file_of.values()))),
        tensors=tensors,
        file_of=file_of,
        inside=inside,
    )


def _find_index(folder: Path) -> Path | None:
    """The folder's shard index, None when it holds one weights file instead."""
    single, index = (folder / WEIGHTS).exists(), (folder / INDEX).exists()
    if single and index:
        raise CheckpointError(f"{folder}: holds both {WEIGHTS} and {INDEX}; remove the one that is not meant")
    if not single and not index:
        found = sorted(entry.name for entry in folder.iterdir())
        raise CheckpointError(
            f"{folder}: has no weights, neither {WEIGHTS} nor {INDEX}, but: {', '.join(found[:8]) or 'nothing'};"
            " give the weights file itself if it has another name"
        )
    return folder / INDEX if index else None


def _recognise(path: Path) -> Format:
    """What a weights file is, by its first bytes."""
    _refuse_special(path)
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"{path}: is empty; copy it again")
    if head.startswith(b"PK\x03\x04"):
        if path.suffix == ".safetensors":
            # torch.load goes by this name and would take it for safetensors.
            raise CheckpointError(f"{path}: is a torch.save or zip archive, not safetensors; rename it to .pt")
        return "torch"
    if looks_like_safetensors(head):
        return "safetensors"
    for start, what, advice in KNOWN_STRANGERS:
        if head.startswith(start):
            raise CheckpointError(f"{path}: is {what}; {advice}")
    if len(head) < 9:
        raise CheckpointError(f"{path}: truncated: has {len(head)} bytes; copy it again")
    raise CheckpointError(
        f"{path}: is no checkpoint: begins with {head[:8]!r}; give safetensors or a torch.save file of tensors"
    )


def _refuse_special(path: Path) -> None:
    """A pipe or a device would keep the reader waiting for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise CheckpointError(f"{path}: is not a regular file; give a checkpoint's folder or weights file")


def _open_shards(index: Path) -> tuple[dict[str, Path], dict[str, TensorHeader]]:
    """Every tensor's file and header; index and shards must agree tensor by tensor."""
    _refuse_special(index)
    try:
        weight_map = read_object(index, INDEX_LIMIT_BYTES).get("weight_map")
    except InvalidJsonError as cause:
        raise CheckpointError(f"{index}: {cause}; copy it again") from cause
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: has no weight_map from tensors to files; copy it again")
    file_of = {name: _find_shard(index, name, shard) for name, shard in weight_map.items()}
    tensors: dict[str, TensorHeader] = {}
    for path in sorted(set(file_of.values())):
        if _recognise(path) != "safetensors":
            raise CheckpointError(f"{path}: is not safetensors, as a shard must be; copy it again")
        headers = read_safetensors_header(path)
        for name in headers:
            if file_of.get(name) != path:
                raise CheckpointError(f"{path}: {name}: is in this shard, but not so in {index.name}; copy both again")
        tensors |= headers
    for name in file_of.keys() - tensors.keys():
        raise CheckpointError(f"{file_of[name]}: {name}: is missing, though {index.name} names it; copy it again")
    return file_of, tensors


def _find_shard(index: Path, name: str, shard: Any) -> Path:
    """The shard's path: a plain file name beside the index, so that no index reaches out of its folder."""
    if not isinstance(shard, str) or not shard or shard in {".", ".."} or any(c in shard for c in "/\\\0"):
        raise CheckpointError(f"{index}: {name}: shard {shard!r} is no plain file name; correct the index")
    path = index.parent / shard
    if not path.exists():
        raise CheckpointError(f"{path}: {name}: this shard is missing; copy it beside {index.name}")
    return path


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    _refuse_special(path)
    try:
        return read_object(path, CONFIG_LIMIT_BYTES)
    except InvalidJsonError as cause:
        raise ConfigError(f"{path}: {cause}; correct it") from cause
