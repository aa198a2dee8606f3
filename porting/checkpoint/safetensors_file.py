"""The header of a safetensors file, read and checked in pure Python: a 20 GB file answers as fast as a small one.

Source: https://github.com/huggingface/safetensors, README, "Format": 8 bytes little-endian header length, a JSON
object, then the tensors' bytes, without gaps.
"""

import math
import struct
from pathlib import Path
from typing import Any

from porting.checkpoint.json_file import InvalidJsonError, parse_object
from porting.checkpoint.tensor_header import ITEM_BYTES, TensorHeader
from porting.errors import CheckpointError

HEADER_LIMIT_BYTES = 32 * 2**20
"""More than two hundred thousand tensors; parsing this takes under 300 MB."""

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file that begins with `head` (9 bytes or more) means to be safetensors: a length, then a brace.

    The length itself is not judged here, so that a truncated file is still told apart from one of another kind.
    """
    return len(head) >= 9 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 2**40


def read_safetensors_header(path: Path) -> dict[str, TensorHeader]:
    """Every tensor's header, by name.

    Raises:
        CheckpointError: truncated, overlapping, with bytes that belong to no tensor, of an unknown dtype, or too large
            a header; names the file and the tensor.
        OSError: the file cannot be read.
    """
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if header_bytes > HEADER_LIMIT_BYTES:
            raise CheckpointError(
                f"{path}: says that its header has {header_bytes} bytes, the limit is {HEADER_LIMIT_BYTES};"
                " the file is damaged or no safetensors"
            )
        if 8 + header_bytes > file_bytes:
            raise CheckpointError(
                f"{path}: truncated: has {file_bytes} bytes, its header alone needs {8 + header_bytes}; copy it again"
            )
        text = file.read(header_bytes)
    try:
        table = parse_object(text)
    except InvalidJsonError as cause:
        raise CheckpointError(f"{path}: header {cause}; the file is damaged, copy it again") from cause
    table.pop("__metadata__", None)
    spans = {name: _parse_entry(path, name, entry) for name, entry in table.items()}
    _check_coverage(path, spans, file_bytes - 8 - header_bytes)
    return {name: header for name, (header, _) in spans.items()}


def _parse_entry(path: Path, name: str, entry: Any) -> tuple[TensorHeader, int]:
    """One tensor's header and the offset of its first byte; its span's length is the header's `nbytes`."""
    where = f"{path}: {name}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{where}: header entry is not (dtype, shape, data_offsets); write the file again")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(f"{where}: unknown dtype {dtype!r}; known are {', '.join(DTYPES)}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise CheckpointError(
            f"{where}: shape {shape!r} or data_offsets {offsets!r} is no list of sizes; write the file again"
        )
    name_of_torch = DTYPES[dtype]
    nbytes = math.prod(shape) * ITEM_BYTES[name_of_torch]
    first, last = offsets
    if last - first != nbytes:
        raise CheckpointError(
            f"{where}: {dtype} {tuple(shape)} needs {nbytes} bytes, data_offsets {offsets} span {last - first};"
            " the file is damaged, write it again"
        )
    return TensorHeader(tuple(shape), name_of_torch, nbytes), first


def _are_sizes(values: Any) -> bool:
    """A short list of sizes that 64 bits hold; more would only cost time to multiply."""
    return isinstance(values, list) and len(values) <= 64 and all(type(v) is int and 0 <= v < 2**63 for v in values)


def _check_coverage(path: Path, spans: dict[str, tuple[TensorHeader, int]], data_bytes: int) -> None:
    """Refuse gaps, overlaps and bytes beyond: each would be a place for what no reader shows."""
    end = 0
    for name, (header, first) in sorted(spans.items(), key=lambda item: (item[1][1], item[1][0].nbytes)):
        if first != end:
            problem = "overlaps the tensor before it" if first < end else "leaves a gap before it"
            raise CheckpointError(
                f"{path}: {name}: begins at byte {first}, which {problem} (byte {end}); write the file again"
            )
        if first + header.nbytes > data_bytes:
            raise CheckpointError(
                f"{path}: {name}: truncated: ends at byte {first + header.nbytes} of the tensors' bytes, the file has"
                f" {data_bytes}; copy it again"
            )
        end = first + header.nbytes
    if end != data_bytes:
        raise CheckpointError(
            f"{path}: {data_bytes - end} bytes after the last tensor belong to no tensor; write the file again"
        )
