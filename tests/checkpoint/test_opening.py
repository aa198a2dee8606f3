"""Checkpoint folders and files: what they are is decided from their content, and each bad one is one clear error."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from porting.checkpoint import Checkpoint, open_checkpoint
from porting.checkpoint.weights import check_loaded, find_non_finite
from porting.errors import CheckpointError, ConfigError, PortingError

A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(4, np.float16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    save_file({"a": A, "b": B}, made / "model.safetensors")
    (made / "config.json").write_text('{"family": "x"}')
    return made


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    made = tmp_path / "sharded"
    made.mkdir()
    save_file({"a": A}, made / "one.safetensors")
    save_file({"b": B}, made / "two.safetensors")
    write_index(made, {"a": "one.safetensors", "b": "two.safetensors"})
    return made


def write_index(folder: Path, weight_map: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def refusal(path: Path, kind: type[PortingError] = CheckpointError) -> str:
    with pytest.raises(kind) as error:
        open_checkpoint(path)
    return str(error.value)


def check_values(checkpoint: Checkpoint) -> None:
    loaded = checkpoint.load()
    assert loaded.keys() == checkpoint.tensors.keys() == {"a", "b"}
    assert torch.equal(loaded["a"], torch.from_numpy(A))
    assert torch.equal(loaded["b"], torch.from_numpy(B))


def test_a_folder_a_file_and_shards_hold_the_same(folder: Path, sharded: Path) -> None:
    for path in (folder, folder / "model.safetensors", sharded):
        check_values(open_checkpoint(path))
    checkpoint = open_checkpoint(folder)
    assert checkpoint.config == {"family": "x"}
    assert checkpoint.name == "model"
    assert checkpoint.files == (folder / "config.json", folder / "model.safetensors")
    assert open_checkpoint(sharded).config == {}


def test_only_what_is_asked_for_is_loaded(folder: Path, sharded: Path) -> None:
    for path in (folder, sharded):
        assert list(open_checkpoint(path).load(["b"])) == ["b"]
    with pytest.raises(CheckpointError, match=r"model: c: no such tensor"):
        open_checkpoint(folder).load(["c"])


@pytest.mark.parametrize("name", ["weights.bin", "m.pt", "m"])
def test_a_renamed_file_is_read_for_what_it_is(folder: Path, name: str) -> None:
    renamed = (folder / "model.safetensors").rename(folder / name)
    check_values(open_checkpoint(renamed))
    if "." in name:  # the folder's only weights file may have any name
        check_values(open_checkpoint(folder))
        return
    message = refusal(folder)
    assert "has no weights, neither model.safetensors nor diffusion_pytorch_model.safetensors nor " in message
    assert f" but: config.json, {name}; give the weights file itself" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"12345", "truncated: has 5 bytes"),
        (bytes(4096), "is no checkpoint: begins with b'\\x00"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"GGUF\x03\0\0\0\0\0\0", "a GGUF file"),
        (b"\x89HDF\r\n\x1a\n\0\0\0", "an HDF5 file"),
        (b"\x80\x04\x95\0\0\0\0\0\0\0\0.", "a bare pickle"),
        (b"just some text that is no checkpoint", "is no checkpoint: begins with b'just som'"),
    ],
)
def test_what_is_no_checkpoint_is_named(folder: Path, content: bytes, words: str) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(content)
    for asked in (folder, path):
        message = refusal(asked)
        assert message.startswith(f"{path}: ")
        assert words in message


@pytest.mark.parametrize("sharded", [False, True])
def test_original_repositories_put_torch_files_beside_the_name_of_diffusers(tmp_path: Path, sharded: bool) -> None:
    """Only there: a trainer's files beside a library's weights are no part of them."""
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({"a": A}, tmp_path / "shard.safetensors" if sharded else weights)
    if sharded:
        (tmp_path / f"{weights.name}.index.json").write_text(json.dumps({"weight_map": {"a": "shard.safetensors"}}))
    torch.save({"b": torch.from_numpy(B)}, tmp_path / "VAE.pth")
    (tmp_path / "config.json").write_text('{"dim": 4}')
    found = open_checkpoint(tmp_path)
    assert list(found.parts) == ["diffusion_pytorch_model", "VAE"]
    assert found.config == {"dim": 4}
    assert [part.config for part in found.parts.values()] == [{}, {}]
    assert found.load().keys() == {"diffusion_pytorch_model/a", "VAE/b"}
    (tmp_path / "VAE.pth").rename(tmp_path / "optimizer.pt")
    alone = open_checkpoint(tmp_path)
    assert (list(alone.tensors), alone.config) == (["a"], {"dim": 4})
    assert not alone.parts


def test_a_missing_path_an_empty_folder_and_a_pipe(tmp_path: Path) -> None:
    assert "no/such: there is no such file or folder" in refusal(tmp_path / "no/such")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty}: has no weights" in refusal(empty)
    os.mkfifo(tmp_path / "pipe")
    assert "pipe: is not a regular file" in refusal(tmp_path / "pipe")


def test_a_file_without_tensors_and_two_sets_of_weights(folder: Path) -> None:
    write_index(folder, {"a": "model.safetensors"})
    assert "holds both model.safetensors and model.safetensors.index.json" in refusal(folder)
    save_file({}, folder / "model.safetensors")
    assert "model.safetensors: holds no tensors" in refusal(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not valid JSON"),
        ('{"a": ', "is not valid JSON"),
        ("[1]", "holds a JSON list, not an object"),
        ('{"a": Infinity}', "Infinity is no JSON number"),
        ('{"a": 1, "a": 2}', "key 'a' stands there twice"),
        ('"' + "x" * 2**20 + '"', "is larger than 1048576 bytes"),
    ],
)
def test_a_broken_config_is_named(folder: Path, text: str, words: str) -> None:
    (folder / "config.json").write_text(text)
    message = refusal(folder, ConfigError)
    assert message.startswith(f"{folder / 'config.json'}: ")
    assert words in message


def test_a_config_that_is_no_file(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert "config.json: is not a regular file" in refusal(folder)


@pytest.mark.parametrize("shard", ["../one.safetensors", "/etc/passwd", "..", "a/b", "a\\b", "", 3, None, "a\0b"])
def test_an_index_reaches_no_other_folder(sharded: Path, shard: object) -> None:
    save_file({"a": A}, sharded.parent / "one.safetensors")
    write_index(sharded, {"a": shard, "b": "two.safetensors"})
    message = refusal(sharded)
    assert message.startswith(f"{sharded / 'model.safetensors.index.json'}: a: shard {shard!r} is no plain file name")


def test_shards_and_index_must_agree(sharded: Path) -> None:
    write_index(sharded, {"a": "one.safetensors", "b": "one.safetensors"})
    assert "one.safetensors: b: is missing, though model.safetensors.index.json names it" in refusal(sharded)
    save_file({"b": B, "c": A}, sharded / "two.safetensors")
    write_index(sharded, {"a": "one.safetensors", "b": "two.safetensors"})
    assert "two.safetensors: c: is in this shard, but not so in" in refusal(sharded)
    write_index(sharded, {"a": "one.safetensors", "b": "three.safetensors"})
    assert "three.safetensors: b: this shard is missing" in refusal(sharded)
    (sharded / "three.safetensors").write_bytes(b"")
    assert "three.safetensors: is empty" in refusal(sharded)
    write_index(sharded, [])
    assert "index.json: has no weight_map" in refusal(sharded)
    (sharded / "model.safetensors.index.json").write_text("{")
    assert "index.json: is not valid JSON" in refusal(sharded)


def test_a_shard_that_is_a_torch_archive_is_refused(sharded: Path) -> None:
    torch.save({"a": torch.ones(1)}, sharded / "one.bin")
    write_index(sharded, {"a": "one.bin", "b": "two.safetensors"})
    assert "one.bin: is not safetensors, as a shard must be" in refusal(sharded)


def test_a_shard_may_be_a_link(sharded: Path, tmp_path: Path) -> None:
    """As in the cache of a model hub, where a snapshot links to its blobs."""
    blob = (sharded / "one.safetensors").rename(tmp_path / "blob")
    (sharded / "one.safetensors").symlink_to(blob)
    check_values(open_checkpoint(sharded))


def test_the_digest_covers_config_and_weights_and_nothing_else(folder: Path) -> None:
    digest = open_checkpoint(folder).digest()
    assert len(digest) == 64
    (folder / "README.md").write_text("words")
    (folder / "model.safetensors").rename(folder / "m")
    assert open_checkpoint(folder / "m").digest() == digest
    (folder / "config.json").write_text('{"family":  "x"}')
    changed = open_checkpoint(folder / "m").digest()
    assert changed != digest
    save_file({"a": A, "b": B * 2}, folder / "m")
    assert open_checkpoint(folder / "m").digest() not in {digest, changed}


def test_a_file_that_vanished_has_no_digest(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        checkpoint.digest()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be loaded"):
        checkpoint.load()


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt"])
def test_weights_are_mapped_and_never_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".pt"):
        torch.save({"w": torch.ones(4096)}, path)
    else:
        save_file({"w": np.ones(4096, np.float32)}, path)
    checkpoint = open_checkpoint(path)
    before = checkpoint.digest()
    tensor = checkpoint.load()["w"]
    address = tensor.data_ptr()
    mappings = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(name)]
    spans = [[int(end, 16) for end in mapping[0].split("-")] for mapping in mappings]
    assert any(first <= address < last for first, last in spans)
    tensor.zero_()
    assert checkpoint.digest() == before


def test_a_tensor_that_is_not_what_its_header_said_is_refused(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    save_file({"a": A.T.copy(), "b": B}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: a: loads as \(\(3, 2\), 'float32'\), its header"):
        checkpoint.load()
    with pytest.raises(CheckpointError, match="a: loads as"):
        check_loaded(checkpoint.file_of, checkpoint.tensors, {"a": torch.from_numpy(A).half()})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_one_bad_value_is_found(dtype: torch.dtype, value: str) -> None:
    tensor = torch.ones(2, 5).to(dtype)
    assert find_non_finite(tensor) is None
    tensor.view(-1)[7] = torch.tensor(float(value)).to(dtype)
    assert find_non_finite(tensor) == f"{value} at flat index 7"


def test_a_bad_value_far_into_a_tensor_and_in_complex_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("porting.checkpoint.weights.CHUNK_ELEMENTS", 4)
    tensor = torch.ones(10)
    tensor[9] = torch.nan
    assert find_non_finite(tensor) == "nan at flat index 9"
    assert find_non_finite(torch.tensor([1, complex(0, float("inf"))])) == "inf at flat index 1"
    assert find_non_finite(torch.arange(3)) is None
    assert find_non_finite(torch.zeros(0)) is None
