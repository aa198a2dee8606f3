"""Keeps answers by content: a folder an answer, named by the digest of everything that it depends on.

An entry is written beside its place and renamed, and every byte of it is checked when it is read, so that half an entry
or a damaged one counts as none. Deleting any of it is always safe.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from pydantic import ValidationError

from porting.host import user_cache
from porting.kernel_compiler.request import KernelAnswer, KernelRequest

ANSWER = "answer.json"


def default_cache_folder() -> Path:
    """Where answers are kept when the caller names no folder: WORLDPORT_CACHE, else the user's cache."""
    return user_cache("kernels")


def find_answer(cache_dir: Path, request: KernelRequest) -> tuple[KernelAnswer, Path] | None:
    """The answer that is kept for a request, with the folder of its files; None when there is none that is whole."""
    folder = cache_dir / request.key
    try:
        kept = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
        answer = KernelAnswer.model_validate(kept["answer"])
        if kept["sha256"] != _digest(answer.model_dump_json().encode()):
            return None
        for name, digest in answer.digests.items():
            if _digest((folder / name).read_bytes()) != digest:
                return None
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    return answer, folder


def keep_answer(cache_dir: Path, request: KernelRequest, answer: KernelAnswer, files: Path) -> None:
    """Keep an answer whose files lie in a folder; one that may come out otherwise next time is not kept."""
    if not answer.repeatable:
        return
    cache_dir.mkdir(parents=True, exist_ok=True)
    place = cache_dir / request.key
    new = Path(tempfile.mkdtemp(dir=cache_dir, prefix=".new-"))
    try:
        for name in answer.digests:
            shutil.copyfile(files / name, new / name)
        text = answer.model_dump_json()
        kept = {"sha256": _digest(text.encode()), "answer": json.loads(text)}
        (new / ANSWER).write_text(json.dumps(kept), encoding="utf-8")
        # What stands there was not whole, or another process was quicker with the same.
        shutil.rmtree(place, ignore_errors=True)
        try:
            new.rename(place)
        except OSError:
            if find_answer(cache_dir, request) is None:
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
