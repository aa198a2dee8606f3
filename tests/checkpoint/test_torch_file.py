"""Files that torch.save wrote: plain tensors are read without torch, everything else is refused and never run."""

import io
import os
import pickle
import random
import re
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from porting.checkpoint import TensorHeader, open_checkpoint
from porting.checkpoint.pickle_walk import InvalidPickleError, UnsafePickleError, walk
from porting.errors import CheckpointError, PortingError

# VmHWM rather than getrusage, which counts the parent's memory before exec as well.
MEASURE = """
import re, sys
from pathlib import Path
from porting.checkpoint import open_checkpoint
open_checkpoint(sys.argv[1])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(int(peak[1]) // 1024, "torch" in sys.modules)
"""


class Attack:
    """Pickles to a call of os.mkdir."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sentinel),)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


def rewrite(path: Path, edit: Any) -> None:
    """Write the archive anew, each entry as `edit(name, bytes)` returns it; None drops it."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            if (edited := edit(name, data)) is not None:
                archive.writestr(name, edited)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "m.pt"
    torch.save({"w": torch.arange(6.0).reshape(2, 3), "v": torch.ones(2, dtype=torch.bfloat16)}, path)
    return path


def test_every_way_of_holding_a_tensor_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    base = torch.arange(24.0).reshape(4, 6)
    state = OrderedDict(
        plain=base,
        view=base[1:3, ::2],
        turned=base.T,
        parameter=torch.nn.Parameter(base[0]),
        scalar=torch.tensor(3),
        empty=torch.zeros(0, 4),
        half=torch.ones(2, dtype=torch.float16),
        flag=torch.tensor([True]),
        small=torch.ones(3).to(torch.float8_e4m3fn),
        complex=torch.ones(2, dtype=torch.complex64),
        module=torch.nn.Linear(2, 2).state_dict()["weight"],
    )
    torch.save(state, path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.format == "torch"
    assert checkpoint.tensors == {
        name: TensorHeader(tuple(t.shape), str(t.dtype).removeprefix("torch."), t.numel() * t.element_size())
        for name, t in state.items()
    }
    loaded = checkpoint.load()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name].float(), state[name].detach().float()) for name in state if name != "complex")


def test_the_only_state_dict_inside_is_found(tmp_path: Path) -> None:
    linear = torch.nn.Linear(2, 3)
    module = torch.nn.Sequential(linear, torch.nn.BatchNorm1d(3))
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.99)}]}
    path = tmp_path / "m.ckpt"
    torch.save({"state_dict": module.state_dict(), "optimizer": optimizer, "epoch": 3}, path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.inside == "state_dict"
    assert checkpoint.tensors.keys() == module.state_dict().keys()
    assert torch.equal(checkpoint.load(["0.weight"])["0.weight"], linear.weight)


def test_several_dicts_of_tensors_are_told_apart_by_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"encoder": {"w": torch.ones(2)}, "predictor": {"w": torch.zeros(3)}, "epoch": 3}, path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.sets == ("encoder", "predictor")
    assert {name: header.shape for name, header in checkpoint.tensors.items()} == {
        "encoder.w": (2,),
        "predictor.w": (3,),
    }
    assert torch.equal(checkpoint.load(["predictor.w"])["predictor.w"], torch.zeros(3))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"w": torch.ones(1), "epoch": 3}, "no dict of tensors: 'epoch' (int)"),
        ({"w": torch.ones(1), "note": {1}}, "'note' (Other)"),
        ({}, "it is empty"),
        ([torch.ones(1)], "holds a list, not a dict of tensors"),
        (torch.ones(1), "holds a StoredTensor, not a dict of tensors"),
        ({("a", "b"): torch.ones(1)}, "a dict key of type tuple"),
        ({"model": {"w": torch.ones(1)}, "w": torch.ones(1)}, "'model' (dict)"),
    ],
)
def test_what_is_no_state_dict_is_refused_with_its_keys(tmp_path: Path, value: Any, words: str) -> None:
    path = tmp_path / "m.pth"
    torch.save(value, path)
    assert words in refusal(path)


def test_a_whole_module_is_refused_by_the_name_of_its_class(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    message = refusal(path)
    assert "needs pickle code: asks for 'torch.nn.modules.linear.Linear'" in message
    assert "safetensors.torch.save_file" in message


def test_an_attack_is_named_and_not_run(tmp_path: Path) -> None:
    path, sentinel = tmp_path / "m.pt", tmp_path / "sentinel"
    torch.save({"w": torch.ones(1), "x": Attack(sentinel)}, path)
    assert f"asks for '{os.mkdir.__module__}.mkdir'" in refusal(path)
    assert not sentinel.exists()


def test_the_format_before_zip_is_refused_with_how_to_convert_it(tmp_path: Path) -> None:
    path, sentinel = tmp_path / "m.pt", tmp_path / "sentinel"
    torch.save({"w": Attack(sentinel)}, path, _use_new_zipfile_serialization=False)
    message = refusal(path)
    assert "a bare pickle" in message
    assert "save_file" in message
    assert not sentinel.exists()


def test_a_torchscript_program_is_refused(tmp_path: Path, saved: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("m/constants.pkl", b"")
    assert "a TorchScript program, which is code" in refusal(saved)


def test_another_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "no weights")
    assert "a zip archive that torch.save did not write" in refusal(path)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_truncated_archive_says_so(saved: Path, kept: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * kept)])
    assert "truncated or damaged torch.save archive" in refusal(saved)


def test_missing_values_name_their_tensor(saved: Path) -> None:
    rewrite(saved, lambda name, data: None if name == "m/data/0" else data)
    assert "w: its values (data/0) are not in the archive" in refusal(saved)


def test_cut_values_name_their_tensor(saved: Path) -> None:
    rewrite(saved, lambda name, data: data[:20] if name == "m/data/0" else data)
    assert "w: its values take 24 bytes, the archive has 20" in refusal(saved)


def test_a_view_beyond_its_storage_names_its_tensor(saved: Path) -> None:
    # The shape (2, 3) in the pickle: BININT1 2, BININT1 3, TUPLE2.
    rewrite(saved, lambda name, data: data.replace(b"K\x02K\x03\x86", b"K\x02K\x09\x86") if "pkl" in name else data)
    assert "w: shape (2, 9) reaches beyond its 24 bytes" in refusal(saved)


def test_an_archive_called_safetensors_is_told_to_be_renamed(saved: Path) -> None:
    renamed = saved.rename(saved.with_name("model.safetensors"))
    assert "is a torch.save or zip archive, not safetensors; rename it to .pt" in refusal(renamed)


def test_an_archive_without_a_suffix_is_read(saved: Path) -> None:
    checkpoint = open_checkpoint(saved.rename(saved.with_name("m")))
    assert checkpoint.load()["w"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_headers_are_read_without_torch_and_without_the_weights(tmp_path: Path, project_root: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"w": torch.zeros(25 * 2**20)}, path)
    command = [sys.executable, "-c", MEASURE, str(path)]
    ran = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=True)
    mebibytes, torch_imported = ran.stdout.split()
    assert int(mebibytes) < 80
    assert torch_imported == "False"


def test_random_damage_never_escapes_as_another_error(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        pickled = archive.read("m/data.pkl")
    generator = random.Random(0)
    refused = 0
    for _ in range(400):
        bad = bytearray(pickled)
        for _ in range(generator.randint(1, 3)):
            bad[generator.randrange(len(bad))] = generator.randrange(256)
        try:
            walk(bytes(bad))
        except (UnsafePickleError, InvalidPickleError):
            refused += 1
    assert refused > 100
    good = saved.read_bytes()
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(generator.randint(1, 3)):
            bad[generator.randrange(len(bad))] = generator.randrange(256)
        saved.write_bytes(bad)
        try:
            open_checkpoint(saved)
        except PortingError as error:
            refused += str(error).startswith(f"{saved}: ")
    assert refused > 150


@pytest.mark.parametrize("protocol", [0, 3, 4])
def test_other_protocols_are_refused(protocol: int) -> None:
    with pytest.raises(InvalidPickleError, match=r"is not one that torch\.save writes"):
        walk(pickle.dumps({"w": b"1", "v": 1.5}, protocol=protocol))


def test_nested_tuples_cost_nothing() -> None:
    """Sixty-four doublings: hashing, showing or copying the value would never end."""
    data = io.BytesIO()
    data.write(b"\x80\x02}")
    data.write(b")" + b"q\x00h\x00\x86" * 64)
    data.write(b"K\x01s.")
    with pytest.raises(InvalidPickleError, match="a dict key of type tuple"):
        walk(data.getvalue())


def test_the_documented_conversion_works(tmp_path: Path, project_root: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (project_root / "docs/checkpoints.md").read_text(), re.DOTALL)
    module = torch.nn.Linear(2, 3)
    torch.save({"state_dict": module.state_dict(), "arguments": Namespace(depth=3)}, tmp_path / "model.ckpt")
    assert "asks for 'argparse.Namespace'" in refusal(tmp_path / "model.ckpt")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert torch.equal(open_checkpoint(tmp_path / "model.safetensors").load()["weight"], module.weight)
