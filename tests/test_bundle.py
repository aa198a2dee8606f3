import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from porting.bundle import LOCK, PARTIAL, Bundle, add_stage, digest_file, forget_stage, referenced_paths, stage_key
from porting.errors import BundleError
from porting.program import Program
from porting.record import CheckpointRecord, FileRecord, Host, PortRecord, StageRecord, TraceRecord

PROGRAM = Program.model_validate(
    {
        "components": [
            {
                "name": "decoder",
                "inputs": [{"name": "action", "shape": [1], "dtype": "float32"}],
                "outputs": [{"name": "frame", "shape": [1, 3, 2, 2], "dtype": "float32"}],
            }
        ],
        "inputs": [
            {"tensor": {"name": "action", "shape": [1], "dtype": "float32"}, "scope": "frame", "kind": "action"}
        ],
        "states": [],
        "prime": [],
        "frame": [
            {
                "component": "decoder",
                "inputs": {"action": {"kind": "input", "name": "action"}},
                "outputs": {"frame": {"kind": "value", "name": "frame"}},
            }
        ],
    }
)
HOST = Host(
    machine="x86_64", cpu="test", cores=1, memory_bytes=1, system="Linux", python="3.11", packages={}, threads=1
)
KEY = "0" * 64


def make_record() -> PortRecord:
    return PortRecord(
        worldport="0",
        created="2026-01-01T00:00:00+00:00",
        command="worldport port x",
        host=HOST,
        checkpoint=CheckpointRecord(name="x", family="gwm", digest=KEY, parameters=1, weight_bytes=4),
        program=PROGRAM,
    )


def put(bundle: Bundle, record: PortRecord, name: str, text: str, after: tuple[str, ...] = ()) -> PortRecord:
    """Run a stage `name` that writes <name>/file.txt."""
    with bundle.staging() as folder:
        (folder / name).mkdir()
        (folder / name / "file.txt").write_text(text)
        files = bundle.adopt(folder)
    stage = StageRecord(name=name, key=KEY, seconds=0.0, files=tuple(f.path for f in files), after=after)
    return add_stage(record, stage, files)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path / "bundle")


def test_a_record_comes_back_as_it_was_written(bundle: Bundle) -> None:
    with bundle.locked():
        record = put(bundle, make_record(), "trace", "frames")
        bundle.write_record(record)
    assert bundle.read_record() == record
    assert '\n  "schema_version": 1' in bundle.record_path.read_text()
    bundle.verify_files(record)


def test_a_folder_without_a_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no port\.json"):
        Bundle(tmp_path).read_record()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no record"),
        ('{"schema_version": 1', "is no record"),
        ("[1]", "is no record"),
        ("{}", "is no record"),
        ('{"schema_version": 2}', "schema_version is 2, this worldport reads 1; use the worldport that wrote it"),
        ('{"schema_version": 1}', "worldport: Field required"),
    ],
)
def test_an_unreadable_record_says_what_to_do(bundle: Bundle, text: str, words: str) -> None:
    bundle.path.mkdir()
    bundle.record_path.write_text(text)
    with pytest.raises(BundleError, match=r"port\.json") as caught:
        bundle.read_record()
    assert words in str(caught.value)
    assert ";" in str(caught.value)


def test_an_unknown_key_in_a_record_is_refused(bundle: Bundle) -> None:
    bundle.path.mkdir()
    bundle.record_path.write_text(make_record().model_dump_json().replace('"worldport":', '"extra": 1, "worldport":'))
    with pytest.raises(BundleError, match="extra"):
        bundle.read_record()


def test_writing_a_record_replaces_it_at_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with bundle.locked():
        bundle.write_record(make_record())
        before = bundle.record_path.read_bytes()

        def broken(source: object, place: object) -> None:
            raise OSError("no space")

        monkeypatch.setattr(os, "replace", broken)
        with pytest.raises(OSError, match="no space"):
            bundle.write_record(make_record().model_copy(update={"command": "other"}))
    assert bundle.record_path.read_bytes() == before


def change(path: Path) -> None:
    path.write_text("Frames")


def truncate(path: Path) -> None:
    path.write_text("fra")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [(change, "was changed after it was written"), (truncate, "has 3 bytes, 6 were written"), (remove, "is missing")],
)
def test_a_damaged_file_is_refused_by_name(bundle: Bundle, damage: Callable[[Path], None], words: str) -> None:
    with bundle.locked():
        record = put(bundle, make_record(), "trace", "frames")
        damage(bundle.path / "trace/file.txt")
        with pytest.raises(BundleError, match=rf"trace/file\.txt: {words}"):
            bundle.verify_files(record)
        assert not bundle.reusable(record, "trace", KEY)


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "link/secret"])
def test_a_file_outside_the_bundle_is_refused_and_never_removed(bundle: Bundle, path: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    bundle.path.mkdir()
    (bundle.path / "link").symlink_to(tmp_path)
    file = FileRecord(path=path, sha256=digest_file(secret), nbytes=1)
    record = make_record().model_copy(update={"files": (file,)})
    with pytest.raises(BundleError, match="lies outside the bundle"):
        bundle.verify_files(record)
    bundle.remove_files(record.files)
    assert secret.exists()


def test_a_file_that_is_named_but_not_listed_is_refused(bundle: Bundle) -> None:
    trace = TraceRecord(path="trace", sessions=1, frames=1, precision="fp32", gold="fp64", seed=0, source="x")
    with bundle.locked():
        record = put(bundle, make_record(), "trace", "frames").model_copy(update={"trace": trace})
        bundle.verify_files(record)
        assert list(referenced_paths(record)) == ["trace", "trace/file.txt"]
        moved = record.model_copy(update={"trace": trace.model_copy(update={"path": "trac"})})
        with pytest.raises(BundleError, match=r"'trac': is named by port\.json but has no digest"):
            bundle.verify_files(moved)
        with pytest.raises(BundleError, match="'trace'"):
            bundle.verify_files(record.model_copy(update={"files": ()}))


def test_a_stage_is_reused_only_with_its_key_and_files(bundle: Bundle) -> None:
    with bundle.locked():
        record = put(bundle, make_record(), "trace", "frames")
        assert bundle.reusable(record, "trace", KEY)
        assert not bundle.reusable(record, "trace", "1" * 64)
        assert not bundle.reusable(record, "other", KEY)
        unlisted = record.model_copy(update={"files": ()})
        assert not bundle.reusable(unlisted, "trace", KEY)
        broken = record.stages[0].model_copy(update={"error": "Traceback"})
        assert not bundle.reusable(record.model_copy(update={"stages": (broken,)}), "trace", KEY)


def test_forgetting_a_stage_forgets_what_was_built_on_it(bundle: Bundle) -> None:
    with bundle.locked():
        record = put(bundle, make_record(), "export", "a")
        record = put(bundle, record, "compile", "b", after=("export",))
        record = put(bundle, record, "parity", "c", after=("compile",))
        record = put(bundle, record, "other", "d")
    left = forget_stage(record, "export")
    assert [stage.name for stage in left.stages] == ["other"]
    assert [file.path for file in left.files] == ["other/file.txt"]


def test_the_key_depends_on_every_input_and_not_on_their_order() -> None:
    key = stage_key({"opset": 20, "versions": {"torch": None, "onnx": "1"}})
    assert key == stage_key({"versions": {"onnx": "1", "torch": None}, "opset": 20})
    assert key != stage_key({"opset": 21, "versions": {"torch": None, "onnx": "1"}})
    assert key != stage_key({"opset": 20, "versions": {"torch": "2", "onnx": "1"}})
    with pytest.raises(TypeError):
        stage_key({"path": Path()})


def test_a_link_is_not_adopted(bundle: Bundle, tmp_path: Path) -> None:
    with bundle.locked(), bundle.staging() as folder:
        (folder / "link").symlink_to(tmp_path)
        with pytest.raises(BundleError, match="no plain file"):
            bundle.adopt(folder)


def test_a_folder_of_other_files_is_not_taken_for_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(BundleError, match="choose an empty folder"), Bundle(tmp_path).locked():
        pass
    with pytest.raises(BundleError, match="is a file"), Bundle(tmp_path / "thesis.txt").locked():
        pass
    assert (tmp_path / "thesis.txt").exists()


HOLD = """
import sys, time
from pathlib import Path
from porting.bundle import Bundle
with Bundle(Path(sys.argv[1])).locked():
    with Bundle(Path(sys.argv[1])).staging() as folder:
        (folder / "half").write_text("half")
        print("held", flush=True)
        time.sleep(60)
"""


def test_one_writer_at_a_time_and_a_killed_one_leaves_nothing_behind(bundle: Bundle) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(bundle.path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BundleError, match="another worldport is writing"), bundle.locked():
            pass
        assert len(list((bundle.path / PARTIAL).glob("*/half"))) == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with bundle.locked():
        assert not (bundle.path / PARTIAL).exists()
    assert (bundle.path / LOCK).exists()


def _hold_and_fail(path: Path) -> None:
    with Bundle(path).locked():
        raise BundleError("x")


def test_the_lock_is_free_after_an_error(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="x"):
        _hold_and_fail(bundle.path)
    with bundle.locked():
        pass
