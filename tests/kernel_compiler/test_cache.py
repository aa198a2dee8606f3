"""Answers by content: what is found again, and that nothing half written or damaged is."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from porting.kernel_compiler import request as requests
from porting.kernel_compiler.cache import default_cache_folder, find_answer, keep_answer
from porting.kernel_compiler.request import KernelAnswer, KernelRequest

REQUEST = KernelRequest(
    kernel="add",
    path=Path("/a/kernels/add.py"),
    source_digest="1" * 64,
    variant="float32",
    architecture="cuda:90",
    sizes=(512,),
    tuning={"BLOCK": 64},
    tensor_cores_claimed=False,
)
CONTENTS = {"add.cubin": b"binary", "add.json": b"{}"}


def make_answer(folder: Path, repeatable: bool = True) -> KernelAnswer:
    folder.mkdir(exist_ok=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    record = REQUEST.unfinished().model_copy(update={"files": tuple(CONTENTS), "registers": 14})
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
    return KernelAnswer(record=record, digests=digests, repeatable=repeatable)


def keep(folder: Path, **changes: Any) -> tuple[Path, KernelAnswer]:
    answer = make_answer(folder / "made", **changes)
    keep_answer(folder / "cache", REQUEST, answer, folder / "made")
    return folder / "cache", answer


def test_an_answer_is_found_again_with_its_files(tmp_path: Path) -> None:
    cache, answer = keep(tmp_path)
    found = find_answer(cache, REQUEST)
    assert found is not None
    assert found[0] == answer
    assert {name: (found[1] / name).read_bytes() for name in CONTENTS} == CONTENTS
    assert [path.name for path in cache.iterdir()] == [REQUEST.key]


def test_an_empty_cache_has_none(tmp_path: Path) -> None:
    assert find_answer(tmp_path / "nowhere", REQUEST) is None


@pytest.mark.parametrize(
    "change",
    [
        {"source_digest": "2" * 64},
        {"variant": "bfloat16"},
        {"architecture": "cuda:100"},
        {"sizes": (513,)},
        {"tuning": {"BLOCK": 128}},
        {"tensor_cores_claimed": True},
        {"kernel": "other"},
    ],
)
def test_another_request_has_another_answer(change: dict[str, Any], tmp_path: Path) -> None:
    cache, _ = keep(tmp_path)
    assert find_answer(cache, REQUEST.model_copy(update=change)) is None


@pytest.mark.parametrize("change", [{"path": Path("/b/add.py")}, {"timeout_seconds": 7.0}])
def test_where_the_file_lies_and_how_long_one_waits_change_nothing(change: dict[str, Any], tmp_path: Path) -> None:
    cache, _ = keep(tmp_path)
    assert find_answer(cache, REQUEST.model_copy(update=change)) is not None


def test_other_versions_and_options_have_other_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, _ = keep(tmp_path)
    with monkeypatch.context() as changed:
        changed.setattr(requests, "installed_version", lambda package: f"{package} 99")
        assert find_answer(cache, REQUEST) is None
    with monkeypatch.context() as changed:
        changed.setitem(requests.ENVIRONMENT, "TRITON_DEFAULT_FP_FUSION", "0")
        assert find_answer(cache, REQUEST) is None
    with monkeypatch.context() as changed:
        changed.setattr(requests, "_own_digest", lambda: "3" * 64)
        assert find_answer(cache, REQUEST) is None
    assert find_answer(cache, REQUEST) is not None


def damage_file(entry: Path) -> None:
    (entry / "add.cubin").write_bytes(b"binarY")


def lose_file(entry: Path) -> None:
    (entry / "add.cubin").unlink()


def cut_answer(entry: Path) -> None:
    text = (entry / "answer.json").read_text(encoding="utf-8")
    (entry / "answer.json").write_text(text[: len(text) // 2], encoding="utf-8")


def change_answer(entry: Path) -> None:
    kept = json.loads((entry / "answer.json").read_text(encoding="utf-8"))
    kept["answer"]["record"]["registers"] = 13
    (entry / "answer.json").write_text(json.dumps(kept), encoding="utf-8")


def lose_answer(entry: Path) -> None:
    (entry / "answer.json").unlink()


def answer_with_nonsense(entry: Path) -> None:
    (entry / "answer.json").write_text("[]", encoding="utf-8")


@pytest.mark.parametrize(
    "damage", [damage_file, lose_file, cut_answer, change_answer, lose_answer, answer_with_nonsense, shutil.rmtree]
)
def test_a_damaged_entry_counts_as_none_and_is_replaced(damage: Any, tmp_path: Path) -> None:
    cache, _ = keep(tmp_path)
    damage(cache / REQUEST.key)
    assert find_answer(cache, REQUEST) is None
    keep(tmp_path)
    assert find_answer(cache, REQUEST) is not None


def test_what_may_come_out_otherwise_is_not_kept(tmp_path: Path) -> None:
    cache, _ = keep(tmp_path, repeatable=False)
    assert find_answer(cache, REQUEST) is None
    assert not cache.exists()


def test_an_interrupted_write_leaves_no_entry(tmp_path: Path) -> None:
    answer = make_answer(tmp_path / "made")
    (tmp_path / "made" / "add.json").unlink()
    with pytest.raises(FileNotFoundError):
        keep_answer(tmp_path / "cache", REQUEST, answer, tmp_path / "made")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_user_may_say_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("WORLDPORT_CACHE", raising=False)
    assert default_cache_folder() == Path("/x/worldport/kernels")
    monkeypatch.setenv("WORLDPORT_CACHE", "/y")
    assert default_cache_folder() == Path("/y/kernels")
