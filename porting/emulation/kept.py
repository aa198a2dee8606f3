"""Keeps what was found by content: a JSON file an answer, named by the digest of all that it depends on.

A file is written beside its place and renamed, and holds the digest of its own content, so that half a file or a
damaged one counts as none. Deleting any of it is always safe.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from porting.tensor_spec import Model

Answer = TypeVar("Answer", bound=Model)


def find_kept(folder: Path, key: str, kind: type[Answer]) -> Answer | None:
    """The answer that is kept under a key; None when there is none that is whole."""
    try:
        kept = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        text = kept["answer"]
        return kind.model_validate_json(text) if kept["sha256"] == _digest(text) else None
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None


def keep(folder: Path, key: str, answer: Model) -> None:
    """Keep an answer under a key, in place of an older one."""
    folder.mkdir(parents=True, exist_ok=True)
    text = answer.model_dump_json()
    handle, name = tempfile.mkstemp(dir=folder, prefix=".new-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"sha256": _digest(text), "answer": text}, file)
    Path(name).replace(folder / f"{key}.json")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
