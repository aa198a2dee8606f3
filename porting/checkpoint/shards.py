"""Weights spread over several safetensors files, joined by an index that says which file holds which tensor."""

from pathlib import Path
from typing import Any

from porting.checkpoint.json_file import InvalidJsonError, read_object
from porting.checkpoint.kinds import recognise_file, refuse_special
from porting.checkpoint.safetensors_file import read_safetensors_header
from porting.checkpoint.tensor_header import TensorHeader
from porting.errors import CheckpointError

INDEX_LIMIT_BYTES = 32 * 2**20


def open_shards(index: Path) -> tuple[dict[str, Path], dict[str, TensorHeader]]:
    """Every tensor's file and header; index and shards must agree tensor by tensor.

    Raises:
        CheckpointError: a shard is missing or damaged, or holds other tensors than the index says; names both.
        OSError: a file cannot be read.
    """
    refuse_special(index)
    try:
        weight_map = read_object(index, INDEX_LIMIT_BYTES).get("weight_map")
    except InvalidJsonError as cause:
        raise CheckpointError(f"{index}: {cause}; copy it again") from cause
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: has no weight_map from tensors to files; copy it again")
    file_of = {name: _find_shard(index, name, shard) for name, shard in weight_map.items()}
    tensors: dict[str, TensorHeader] = {}
    for path in sorted(set(file_of.values())):
        if recognise_file(path) != "safetensors":
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
