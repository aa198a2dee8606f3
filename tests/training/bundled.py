"""The bundled checkpoints' files."""

from pathlib import Path

from porting import content


def folder_of(world: str) -> Path:
    """The stored checkpoint's folder."""
    return content.folder("checkpoints") / f"gwm-mini-{world}"


def size_of(world: str) -> int:
    """Bytes of every file of the stored checkpoint."""
    return sum(file.stat().st_size for file in folder_of(world).iterdir())
