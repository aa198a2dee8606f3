"""What was compiled for the kernels of one component, as files of a bundle: a list of launches and Triton's own cache.

The archive holds of each launch what Triton needs to load instead of compile: the binary and its metadata, under the
key that Triton looks it up by. No path and no time is in it, so that every checkout makes the same bytes. It does not
know what a component is, nor who launches.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from porting.errors import KernelError
from porting.record import Sha256
from porting.tensor_spec import Model, Precision

CACHE_SUFFIX = ".cache.tar"
LIST_SUFFIX = ".launches.json"
BINARIES = (".cubin", ".hsaco")
GROUP = "__grp__"
"""Begins the name of the file that lists the others of an entry."""
MEMBER = re.compile(r"[A-Z2-7]{16,128}/[\w.-]{1,255}")
LARGEST_BYTES = 1 << 30


class CompiledLaunch(Model):
    """One specialisation of one kernel, and how often the component launches it in one call."""

    kernel: str
    variant: str
    launches: Annotated[int, Field(gt=0)]
    key: str
    """What Triton's cache finds it by."""
    symbol: str
    signature: dict[str, str]
    """Name -> Triton's type of every argument; "constexpr" for those that are compiled in."""
    constants: dict[str, str]
    """Their values, as text."""
    tuning: dict[str, int]
    grid: tuple[int, ...]
    warps: int
    shared_bytes: int
    binary_sha256: Sha256
    architecture_found: str
    """Read from the binary."""
    registers: int | None
    spill_store_bytes: int | None
    """None where the assembler said nothing of it."""


class LaunchList(Model):
    """Everything that a component's kernels were compiled with; a host that differs in it would compile anew."""

    schema_version: int = 1
    component: str
    architecture: str
    """As a kernel's tuning names it: "cuda:120", "hip:gfx950"."""
    precision: Precision
    triton: str
    environment: dict[str, str]
    """Variables that are part of every key."""
    kernels: dict[str, Sha256]
    """Name -> digest of the source."""
    launches: tuple[CompiledLaunch, ...]


def read_launches(path: Path) -> LaunchList:
    """Read a list of launches.

    Raises:
        KernelError: the file is not there or is none.
    """
    try:
        return LaunchList.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as cause:
        raise KernelError(f"{path}: is no list of launches ({cause}); compile the component again") from cause


def write_launches(launches: LaunchList, path: Path) -> None:
    """Write a list of launches."""
    path.write_text(json.dumps(launches.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")


def pack_cache(entries: Iterable[Path], archive: Path) -> None:
    """Put the entries of a Triton cache, each a folder named by its key, into an archive.

    Raises:
        KernelError: an entry holds no binary.
    """
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for entry in sorted(set(entries)):
            files = [path for path in sorted(entry.iterdir()) if path.suffix in (*BINARIES, ".json")]
            if not any(path.suffix in BINARIES for path in files):
                raise KernelError(f"{entry}: holds no binary; compile the kernel again")
            kept = {path.name for path in files}
            for path in files:
                content = path.read_bytes()
                if path.suffix == ".json":
                    content = _without_paths(path, json.loads(content), kept)
                member = tarfile.TarInfo(f"{entry.name}/{path.name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def install_cache(archive: Path, folder: Path) -> tuple[str, ...]:
    """Unpack an archive into a folder that then is a Triton cache; returns the keys.

    Raises:
        KernelError: the file is not there, is no archive, or holds what no cache holds.
    """
    keys: dict[str, None] = {}
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                if not member.isfile() or not MEMBER.fullmatch(member.name) or member.size > LARGEST_BYTES:
                    raise KernelError(f"{archive}: holds {member.name!r}, which no cache holds; compile it again")
                key, _, name = member.name.partition("/")
                entry = folder / key
                entry.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                content = b"" if source is None else source.read()
                if name.startswith(GROUP):
                    listed = json.loads(content)["child_paths"]
                    content = json.dumps({"child_paths": {file: str(entry / file) for file in listed}}).encode()
                (entry / name).write_bytes(content)
                keys[key] = None
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as cause:
        raise KernelError(f"{archive}: cannot be unpacked ({cause}); compile the component again") from cause
    return tuple(keys)


def _without_paths(path: Path, table: dict[str, Any], kept: set[str]) -> bytes:
    """A JSON file of an entry without any path of this machine."""
    if path.name.startswith(GROUP):
        table = {"child_paths": {name: name for name in sorted(table["child_paths"]) if name in kept}}
    elif table.get("extern_libs"):
        # Linked in already; only the digests of these files are part of the key.
        table = {**table, "extern_libs": [[name, Path(file).name] for name, file in table["extern_libs"]]}
    return (json.dumps(table, sort_keys=True, indent=1) + "\n").encode()
