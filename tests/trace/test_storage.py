"""A trace comes back bit for bit, or not at all."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from porting.errors import TraceError
from porting.trace.data import Trace
from porting.trace.storage import read_trace, write_trace
from tests.parity.tiny import trace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_trace(trace(), tmp_path / "trace")
    return tmp_path / "trace"


def assert_same(one: object, two: object) -> None:
    if isinstance(one, np.ndarray):
        assert isinstance(two, np.ndarray)
        assert (one.dtype, one.shape) == (two.dtype, two.shape)
        assert one.tobytes() == two.tobytes()
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(two, field.name))
    elif isinstance(one, dict):
        assert isinstance(two, dict)
        assert one.keys() == two.keys()
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, tuple):
        assert isinstance(two, tuple)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    else:
        assert one == two


def test_round_trip(folder: Path) -> None:
    assert_same(trace(), read_trace(folder))


def test_the_files_are_returned_and_the_same_every_time(tmp_path: Path) -> None:
    first = write_trace(trace(), tmp_path / "a")
    second = write_trace(read_trace(tmp_path / "a"), tmp_path / "b")
    assert sorted(p.name for p in first) == sorted(p.name for p in (tmp_path / "a").iterdir())
    assert first[-1].name == "trace.json"
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_bfloat16_survives(tmp_path: Path) -> None:
    session = trace().sessions[0]
    low = {name: array.astype(ml_dtypes.bfloat16) for name, array in session.primed_states.items()}
    bf16 = Trace((dataclasses.replace(session, primed_states=low),), trace().calls, "bf16", ("a: b: c",))
    write_trace(bf16, tmp_path)
    assert_same(bf16, read_trace(tmp_path))


@pytest.mark.parametrize("name", ["trace.json", "session_0.safetensors", "session_1.safetensors", "calls.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(TraceError, match=name):
        read_trace(folder)


@pytest.mark.parametrize("name", ["session_0.safetensors", "session_1.safetensors", "calls.safetensors"])
@pytest.mark.parametrize("where", [0, 1000, -1])
def test_one_flipped_bit_is_noticed_and_the_file_named(folder: Path, name: str, where: int) -> None:
    content = bytearray((folder / name).read_bytes())
    content[where] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(TraceError, match=rf"{name}: sha256"):
        read_trace(folder)


def test_a_truncated_file_is_named(folder: Path) -> None:
    path = folder / "session_1.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(TraceError, match=path.name):
        read_trace(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 2}'])
def test_a_broken_index_is_named(folder: Path, content: str) -> None:
    (folder / "trace.json").write_text(content)
    with pytest.raises(TraceError, match=r"trace\.json"):
        read_trace(folder)


def change_index(folder: Path, **changes: object) -> None:
    path = folder / "trace.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_index_that_does_not_fit_its_files_is_refused(folder: Path) -> None:
    index = json.loads((folder / "trace.json").read_text())
    change_index(folder, calls=index["calls"][1:])
    with pytest.raises(TraceError, match="calls"):
        read_trace(folder)
    change_index(folder, calls=index["calls"], sessions=[{**index["sessions"][0], "frames": 3}])
    with pytest.raises(TraceError, match="3 frames"):
        read_trace(folder)


def test_a_file_outside_the_trace_is_not_read(folder: Path) -> None:
    index = json.loads((folder / "trace.json").read_text())
    change_index(folder, sessions=[{**index["sessions"][0], "file": "../session_0.safetensors"}])
    with pytest.raises(TraceError, match=r"trace\.json"):
        read_trace(folder)


def test_a_session_without_frames_is_not_written(tmp_path: Path) -> None:
    empty = dataclasses.replace(trace().sessions[0], frames=())
    with pytest.raises(TraceError, match="no frames"):
        write_trace(dataclasses.replace(trace(), sessions=(empty,)), tmp_path)


def test_reading_and_measuring_need_no_torch(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\nimport porting.parity\nfrom porting.trace.storage import read_trace\n"
        f"assert read_trace(Path({str(folder)!r})).calls\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
