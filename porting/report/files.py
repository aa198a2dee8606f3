"""Reading the files that a record names, and no others."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from porting.record import PortRecord


@dataclass(frozen=True)
class Missing:
    """Evidence that cannot be shown, and why."""

    reason: str


def read_named(record: PortRecord, bundle: Path, name: str) -> bytes | Missing:
    """Bytes of the file `name`, a path relative to the bundle; why not, when it is not to be trusted.

    A path that leaves the bundle, a file that is not there, and one that is not the recorded one are all refused.
    """
    root = bundle.resolve()
    path = (root / name).resolve()
    if not name or not path.is_relative_to(root) or path == root:
        return Missing(f"{name!r} lies outside the bundle")
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as cause:
        return Missing(f"{name}: cannot be read ({type(cause).__name__})")
    recorded = {file.path: file.sha256 for file in record.files}.get(name)
    if recorded is not None and recorded != hashlib.sha256(content).hexdigest():
        return Missing(f"{name}: was changed after it was recorded")
    return content
