"""Headers of safetensors files: right ones as the library reads them, every damage one error that names its place."""

import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from porting.checkpoint import TensorHeader, open_checkpoint
from porting.checkpoint.safetensors_file import HEADER_LIMIT_BYTES, read_safetensors_header
from porting.errors import CheckpointError, PortingError


def write(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_a_good_file_is_read_as_the_library_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    tensors: dict[str, npt.NDArray[Any]] = {
        "a": np.ones((2, 3), np.float16),
        "b.c": np.zeros((), np.int64),
        "empty": np.zeros((0, 4), np.float32),
    }
    save_file(tensors, path, metadata={"made": "here"})
    assert read_safetensors_header(path) == {
        "a": TensorHeader((2, 3), "float16", 12),
        "b.c": TensorHeader((), "int64", 8),
        "empty": TensorHeader((0, 4), "float32", 0),
    }


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        ({"w": entry()}, b"1234567", "w: truncated: ends at byte 8 of the tensors' bytes, the file has 7"),
        ({"w": entry()}, b"123456789", "1 bytes after the last tensor belong to no tensor"),
        ({"w": entry(), "v": entry()}, bytes(8), "v: begins at byte 0, which overlaps"),
        ({"w": entry(), "v": entry(offsets=(12, 20))}, bytes(20), "v: begins at byte 12, which leaves a gap"),
        ({"w": entry(offsets=(0, 4))}, bytes(4), "w: F32 (2,) needs 8 bytes, data_offsets [0, 4] span 4"),
        ({"w": entry(offsets=(8, 0))}, bytes(8), "span -8"),
        ({"w": entry("F31")}, bytes(8), "w: unknown dtype 'F31'; known are F64"),
        ({"w": entry(dtype=[])}, bytes(8), "w: unknown dtype []"),  # type: ignore[arg-type]
        ({"w": entry(shape=(-2,))}, bytes(8), "w: shape [-2]"),
        ({"w": entry(shape=(True, 2))}, bytes(8), "w: shape [True, 2]"),
        ({"w": entry(shape="2")}, bytes(8), "w: shape '2'"),
        ({"w": entry(shape=(1,) * 65)}, bytes(4), "w: shape ["),
        ({"w": entry(offsets=(0, 8, 8))}, bytes(8), "data_offsets [0, 8, 8]"),
        ({"w": {"dtype": "F32"}}, b"", "w: header entry is not"),
        ({"w": 3}, b"", "w: header entry is not"),
        (b'{"w": {}, "w": {}}', b"", "key 'w' stands there twice"),
        (b'{"w": NaN}', b"", "NaN is no JSON number"),
        (b"{" + b'"a":{' * 100_000, b"", "is not valid JSON"),
        (b'{"w"', b"", "is not valid JSON"),
        (b'{"\xff"}', b"", "is not valid JSON"),
    ],
)
def test_a_damaged_header_is_one_error_with_file_and_key(tmp_path: Path, header: Any, data: bytes, words: str) -> None:
    path = write(tmp_path / "model.safetensors", header, data)
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)


def test_a_header_longer_than_the_file_is_truncation(tmp_path: Path) -> None:
    path = write(tmp_path / "m", {"w": entry()}, bytes(8))
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(CheckpointError, match=r"m: truncated: has 30 bytes, its header alone needs"):
        open_checkpoint(path)


def test_a_huge_header_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(struct.pack("<Q", HEADER_LIMIT_BYTES + 1) + b"{")
    with pytest.raises(CheckpointError, match="m: says that its header has 33554433 bytes, the limit is 33554432"):
        open_checkpoint(path)


def test_a_header_is_never_a_list(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(struct.pack("<Q", 2) + b"[]")
    with pytest.raises(CheckpointError, match="holds a JSON list, not an object"):
        read_safetensors_header(path)


def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    path = tmp_path / "m"
    save_file({"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.int64)}, path)
    good = path.read_bytes()
    generator = random.Random(0)
    refused = 0
    for _ in range(400):
        bad = bytearray(good)
        for _ in range(generator.randint(1, 4)):
            bad[generator.randrange(len(bad))] = generator.randrange(256)
        path.write_bytes(bytes(bad[: generator.choice([len(bad), generator.randrange(len(bad))])]))
        try:
            open_checkpoint(path)
        except PortingError as error:
            refused += str(error).startswith(f"{path}: ")
    assert refused > 200
