"""Tiny checkpoints of every family: the real class, the real file layout and key names, seeded random weights.

Each module of this package has `ENTRIES`. `python -m zoo list` names them, `python -m zoo build NAME --out DIR` writes
one; the same versions write the same tensors.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One checkpoint that can be built."""

    name: str
    family: str
    """The family that recognises it."""
    layout: str
    """Whose file layout it has, in words."""
    build: Callable[[Path], None]
    """Writes it into an empty folder."""


def list_entries() -> dict[str, Entry]:
    """Every entry by its name, of every module of this package."""
    found: dict[str, Entry] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda entry: entry.name):
        if module.name not in {"__main__", "weights"}:
            for entry in importlib.import_module(f"{__name__}.{module.name}").ENTRIES:
                found[entry.name] = entry
    return found


def build(name: str, out: Path) -> Path:
    """Write the checkpoint of that name into a folder, made when missing; returns the folder."""
    entry = list_entries()[name]
    out.mkdir(parents=True, exist_ok=True)
    entry.build(out)
    return out
