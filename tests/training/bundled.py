"""The bundled checkpoints' files."""

from pathlib import Path
from typing import TypeVar

from porting import content
from training.judge import judge

SCENES = 128
"""Held out, for every bar."""
Quality = TypeVar("Quality")


def folder_of(world: str) -> Path:
    """The stored checkpoint's folder."""
    return content.folder("checkpoints") / f"gwm-mini-{world}"


def size_of(world: str) -> int:
    """Bytes of every file of the stored checkpoint."""
    return sum(file.stat().st_size for file in folder_of(world).iterdir())


def judge_stored(world: str, kind: type[Quality]) -> Quality:
    """What the stored checkpoint reaches on the held-out scenes, as that world's figures."""
    judged = judge(world, SCENES)
    assert isinstance(judged, kind)
    return judged
