"""What a weights file is, by its first bytes; its name decides nothing."""

import stat
from pathlib import Path
from typing import Literal

from porting.checkpoint.safetensors_file import looks_like_safetensors
from porting.checkpoint.torch_file import CONVERT
from porting.errors import CheckpointError

Format = Literal["safetensors", "torch"]

# What else people hand over, by its first bytes.
KNOWN_STRANGERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights", "fetch them with `git lfs pull`"),
    (b"\x80", "a bare pickle (torch's format before 1.6, or any Python object), which is code", CONVERT),
    (b"GGUF", "a GGUF file", "give the safetensors that it was made from"),
    (b"\x89HDF\r\n", "an HDF5 file", "save its tensors as safetensors"),
    (b"<", "a web page or XML", "download the file itself"),
)


def recognise_file(path: Path) -> Format:
    """What a weights file is.

    Raises:
        CheckpointError: it is none, or one that would run code.
        OSError: it cannot be read.
    """
    refuse_special(path)
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"{path}: is empty; copy it again")
    if head.startswith(b"PK\x03\x04"):
        if path.suffix == ".safetensors":
            # torch.load goes by this name and would take it for safetensors.
            raise CheckpointError(f"{path}: is a torch.save or zip archive, not safetensors; rename it to .pt")
        return "torch"
    if looks_like_safetensors(head):
        return "safetensors"
    for start, what, advice in KNOWN_STRANGERS:
        if head.startswith(start):
            raise CheckpointError(f"{path}: is {what}; {advice}")
    if len(head) < 9:
        raise CheckpointError(f"{path}: truncated: has {len(head)} bytes; copy it again")
    raise CheckpointError(
        f"{path}: is no checkpoint: begins with {head[:8]!r}; give safetensors or a torch.save file of tensors"
    )


def refuse_special(path: Path) -> None:
    """A pipe or a device would keep the reader waiting for ever.

    Raises:
        CheckpointError: the path is no regular file.
        OSError: there is nothing at the path.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise CheckpointError(f"{path}: is not a regular file; give a checkpoint's folder or weights file")
